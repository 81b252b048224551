// The views of one run along alpha: its WiSE curve and what flips, and its calibration. Where images
// are selected, the same of these alone.

// Say of the traces of a figure what they are of some images; change(trace) -> its new values.
function ofSelection({figure, moves}, change) {
  const changed = JSON.parse(figure);
  const still = moves?.t ? {...moves, traces: moves.traces.map((one) => ({...one, keys: {...one.keys}}))} : null;
  changed.data.forEach((trace, place) => {
    const now = change(trace, place);
    if (!now) return;
    const {at, ...values} = now; // at: property -> its value at each scored alpha
    Object.assign(trace, values);
    const moving = still?.traces.find((one) => one.place === place);
    if (moving && at) Object.assign(moving.keys, at);
  });
  return {figure: changed, moves: still};
}

// A picture of the run that is shown; selected(answer, rows) makes of it that of some images.
class RunPicture {
  // told: where it is said that there is no picture
  async paintOf(question, told) {
    const {sweep, rows} = this.board;
    this.asked = question;
    const isOver = () => this.asked !== question || sweep !== this.board.sweep; // another one meanwhile
    try {
      const answer = await this.board.ask(question);
      if (isOver()) return;
      const {figure, moves} = rows ? this.selected(answer, rows) : answer;
      await this.chart.paint(figure, moves);
    } catch (error) {
      if (isOver()) return;
      told.replaceChildren(paragraph(error.message));
      await this.chart.paint("");
    }
  }

  close() {
    this.chart.close();
  }
}

VIEWS.wise = class extends RunPicture {
  constructor(board, host) {
    super();
    this.board = board;
    this.place = element("div");
    const kinds = [["lost (right to wrong)", "lost"], ["gained (wrong to right)", "gained"], ["all flips", "all"]];
    this.splits = menu(board, "split", "split", [["every split", ""]]);
    const exact = board.live ? button("exact here", () => this.exact(), "clipft-exact-here") : null;
    if (exact) exact.title = "score this alpha on some images of each split";
    this.note = element("div", {className: "clipft-exact", "aria-live": "polite"});
    this.tiles = new Tiles(board, {places: () => {
      const {sweep, store} = board;
      return [sweep.nearest(store.get("against")), sweep.nearest(store.get("alpha"))];
    }});
    this.tiles.node.classList.add("clipft-flips");
    this.counts = element("div", {className: "clipft-counts"});
    const controls = (...parts) => element("div", {className: "clipft-controls"}, ...parts);
    const beside = (left, right) => element("div", {className: "clipft-beside"}, left,
      element("div", {className: "clipft-pictures"}, right));
    host.append(
      beside(controls(...(board.hasBar ? [] : [board.runMenu(), slider(board)])), this.place),
      beside(controls(
        menu(board, "against", "against", [["zero-shot", 0], ["tuned", 1]]),
        menu(board, "kind", "images", kinds), this.splits, exact, this.note,
      ), this.tiles.node), this.counts);
    this.chart = new Chart(board, this.place, {choose: (number) => this.chose(number)});
    board.until(board.store.on("rows", () => this.draw()));
    board.until(board.store.on("run", () => this.note.replaceChildren()));
    board.until(board.store.on("alpha against kind split", () => this.tell()));
    this.draw();
  }

  draw() {
    const {sweep} = this.board;
    if (!sweep) return this.clear();
    this.splits.fill([["every split", ""], ...sweep.splits.map((name) => [name, name])]);
    this.tell();
    return this.paintOf({what: "figure", name: "wise", run: sweep.run}, this.counts);
  }

  clear() {
    this.counts.replaceChildren();
    this.tiles.show([]);
    return this.chart.paint("");
  }

  // The n-th thin curve was clicked: its run is shown.
  chose(number) {
    if (number < 1) return;
    const others = this.board.runs.map(([, run]) => run).filter((run) => run !== this.board.sweep.run);
    this.board.store.set("run", others[number - 1]);
  }

  selected(answer, rows) {
    const {sweep} = this.board;
    const bySplit = sweep.bySplit(rows);
    const places = [...sweep.alphas.keys()];
    const accuracy = places.map((place) => bySplit.map((own) => 100 * sweep.accuracy(place, own)));
    const shiftOf = (values) => {
      const some = sweep.counted.map((split) => values[split]).filter((value) => !Number.isNaN(value));
      return some.reduce(add, 0) / some.length;
    };
    // Without shifts, or without reference images, the curve goes over alpha.
    const both = accuracy.every((values) => !Number.isNaN(values[0]) && !Number.isNaN(shiftOf(values)));
    const x = both ? accuracy.map((values) => values[0]) : places.map((place) => 100 * sweep.alphas[place]);
    const y = both ? accuracy.map(shiftOf) : places.map((place) => 100 * sweep.accuracy(place, rows));
    const flipped = (against) => places.map((place) => sweep.flips(sweep.alphas[place], against, rows).all.length);
    const flips = {"against zero-shot": flipped(0), "against tuned": flipped(1)};
    // A split without such images has no bar: plotly would write 0.0 where there is none.
    const kept = (values) => values.filter((_, split) => bySplit[split].length);
    const bars = accuracy.map(kept);
    const last = places.length - 1;

    const {figure, moves} = ofSelection(answer, (trace, place) => {
      if (trace.type === "bar") {
        const ends = {"zero-shot": bars[0], tuned: bars[last]};
        return {x: kept(trace.x), y: ends[trace.name] ?? bars[0], at: {y: bars}};
      }
      if (place === 0) return {x, y};
      if (trace.meta?.id !== undefined) return {visible: false}; // other runs, of all images
      if (flips[trace.name]) return {y: flips[trace.name]};
      if (trace.mode === "markers+text") {
        const count = places.map((i) => [flips["against zero-shot"][i], flips["against tuned"][i]]);
        const text = count.map(([zero, tuned]) => [`zero-shot: ${zero}`, `tuned: ${tuned}`]);
        return {y: count[0], text: text[0], at: {y: count, text}};
      }
      const end = {"zero-shot": 0, tuned: last}[trace.name];
      if (end !== undefined) return {x: [x[end]], y: [y[end]]};
      if (trace.name === "at alpha") return {at: {x: x.map((v) => [v]), y: y.map((v) => [v])}};
      return null;
    });
    const {layout} = figure;
    layout.title.text = `${asText(sweep.title)}<br><sub>run ${sweep.run}, ${plural(rows.length, "selected image")}, plain accuracy</sub>`;
    layout.xaxis.title.text = both ? "reference accuracy (%)" : "100 alpha";
    layout.yaxis.title.text = both ? `mean ${sweep.made ? "made " : ""}shift accuracy (%)` : "accuracy of the selection (%)";
    layout.yaxis2.range = [0, 112];
    layout.yaxis3.range = [0, 1.25 * Math.max(1, ...flips["against zero-shot"], ...flips["against tuned"])];
    return {figure: JSON.stringify(figure), moves};
  }

  // The table of the splits, and the images that flip.
  tell() {
    const {board} = this;
    const {sweep, store} = board;
    if (!sweep) return;
    const alpha = store.get("alpha");
    const rows = board.rows ?? sweep.everyRow;
    const nearest = sweep.alphas[sweep.nearest(alpha)];
    const exact = Math.abs(nearest - alpha) < 1e-9;
    const where = exact ? `alpha ${alpha.toFixed(2)}, scored on every image` : `alpha ${alpha.toFixed(2)}: `
      + `accuracy on the line between scored alphas, images as at ${nearest.toFixed(2)}`;
    const whose = board.rows ? `; of ${plural(rows.length, "selected image")}` : "";
    this.counts.replaceChildren(paragraph(where + whose), table(...this.flipTable(alpha, rows)));
    this.tiles.show(this.flipped(rows));
  }

  flipTable(alpha, rows) {
    const {sweep} = this.board;
    const places = [...sweep.alphas.keys()];
    const columns = ["split", "images", `${this.board.rows ? "accuracy" : sweep.metric} %`, "against zero-shot",
      "flips from zero-shot", "gained", "lost", "flips from tuned"];
    const lines = sweep.bySplit(rows).map((own, i) => {
      // Of all images by the data set's own metric, which Python knows.
      const along = this.board.rows ? places.map((place) => sweep.accuracy(place, own))
        : sweep.accuracies.map((values) => values[i]);
      const here = sweep.between(along, alpha);
      const from = sweep.flips(alpha, 0, own);
      return [sweep.splits[i], own.length, percent(here), signed(here - along[0]),
        from.all.length, from.gained.length, from.lost.length, sweep.flips(alpha, 1, own).all.length];
    });
    return [columns, lines.filter(([, images]) => images)];
  }

  // The images that the menus ask for, most confident first.
  flipped(rows) {
    const {sweep, store} = this.board;
    const alpha = store.get("alpha");
    const split = sweep.splits.indexOf(store.get("split"));
    const found = sweep.flips(alpha, store.get("against"), rows)[store.get("kind")]
      .filter((row) => split < 0 || sweep.split[row] === split);
    const confidence = sweep.confidence(sweep.nearest(alpha));
    return largestFirst(found, confidence);
  }

  async exact() {
    const {sweep} = this.board;
    const alpha = this.board.store.get("alpha");
    const isOver = () => sweep !== this.board.sweep;
    this.note.replaceChildren(paragraph(`scoring alpha ${alpha.toFixed(2)} ...`));
    try {
      const {said} = await this.board.ask({what: "exact", run: sweep.run, alpha});
      if (!isOver()) this.note.replaceChildren(...saidParts(said));
    } catch (error) {
      if (!isOver()) this.note.replaceChildren(paragraph(`exact here is not possible: ${error.message}`));
    }
  }
};

VIEWS.reliability = class extends RunPicture {
  constructor(board, host) {
    super();
    this.board = board;
    this.splits = menu(board, "shown_split", "split", []);
    this.place = element("div");
    this.note = element("div", {className: "clipft-ece"});
    const controls = element("div", {className: "clipft-controls"}, this.splits, board.hasBar ? null : slider(board), this.note);
    host.append(element("div", {className: "clipft-beside"}, controls,
      element("div", {className: "clipft-pictures"}, this.place)));
    this.chart = new Chart(board, this.place);
    board.until(board.store.on("rows shown_split", () => this.draw()));
    board.until(board.store.on("alpha", () => this.tell()));
    this.draw();
  }

  get split() {
    const {sweep, store} = this.board;
    const asked = store.get("shown_split");
    return sweep.splits.includes(asked) ? asked : sweep.splits.at(-1);
  }

  // The images of the split, of the selected ones where there are any.
  get rows() {
    const {sweep, rows} = this.board;
    return sweep.bySplit(rows ?? sweep.everyRow)[sweep.splits.indexOf(this.split)];
  }

  draw() {
    const {sweep} = this.board;
    if (!sweep) return this.clear();
    this.splits.fill(sweep.splits.map((name) => [name, name]));
    this.splits.querySelector("select").selectedIndex = sweep.splits.indexOf(this.split); // none was asked for
    this.tell();
    const question = {what: "figure", name: "reliability", run: sweep.run, split: this.split};
    return this.paintOf(question, this.note);
  }

  clear() {
    this.note.replaceChildren();
    return this.chart.paint("");
  }

  selected(answer) {
    const {sweep} = this.board;
    const {bins} = answer;
    const {rows} = this;
    const diagrams = [...sweep.alphas.keys()].map((place) => sweep.reliability(place, rows, bins));
    const last = diagrams.length - 1;
    const curve = (diagram) => ({x: diagram.map(({confidence}) => confidence), y: diagram.map(({accuracy}) => accuracy),
      customdata: diagram.map(({images}) => images)});
    const bars = (diagram) => ({y: diagram.map(({images}) => images || null)});
    const {figure, moves} = ofSelection(answer, (trace) => {
      const values = trace.type === "bar" ? bars : curve;
      const end = {"zero-shot": 0, tuned: last}[trace.legendgroup];
      if (end !== undefined) return values(diagrams[end]);
      if (trace.legendgroup !== "at alpha") return null;
      const at = {};
      for (const key of Object.keys(values(diagrams[0]))) at[key] = diagrams.map((diagram) => values(diagram)[key]);
      return {...values(diagrams[0]), at};
    });
    const most = Math.max(1, ...diagrams.flatMap((diagram) => diagram.map(({images}) => images)));
    figure.layout.yaxis2.range = [0, 1.05 * most];
    figure.layout.title.text = `Reliability on ${asText(this.split)}<br><sub>${plural(rows.length, "selected image")}</sub>`;
    return {figure: JSON.stringify(figure), moves};
  }

  // The ECE of each model that is drawn.
  tell() {
    const {sweep, store} = this.board;
    if (!sweep) return;
    const here = sweep.nearest(store.get("alpha"));
    const models = [["zero-shot", 0], [`at alpha ${sweep.alphas[here].toFixed(2)}`, here], ["tuned", sweep.alphas.length - 1]];
    const {rows} = this;
    const lines = models.map(([name, place]) => [name, percent(sweep.ece(place, rows)), rows.length]);
    this.note.replaceChildren(table(["model", "ECE %", "images"], lines));
  }
};
