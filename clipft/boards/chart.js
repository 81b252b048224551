// Pictures that Python draws: a figure for each choice in its menus, painted and chosen from in the page.

// Plotly styles its charts by rules in the page's head, which do not reach into a shadow tree, where
// marimo puts its widgets.
function styleShadow(node) {
  const root = node.getRootNode();
  if (!(root instanceof ShadowRoot) || root.querySelector(".clipft-plotly-style")) return;
  const sheets = [...document.querySelectorAll("style[id^='plotly.js-style']")].map(({sheet}) => sheet);
  const rules = sheets.flatMap(({cssRules}) => [...cssRules]).map(({cssText}) => cssText);
  root.append(element("style", {className: "clipft-plotly-style"}, rules.join("\n")));
}

// A figure in a place; told: as Painter wants it.
class Chart {
  constructor(board, host, told = {}) {
    Object.assign(this, {board, host, told, text: null});
    board.until(board.store.on("alpha", () => this.painter?.move(board.store.get("alpha"))));
  }

  async paint(figure, moves = null) {
    this.text = figure;
    const Plotly = await this.board.plotly();
    if (this.text !== figure || this.board.closed) return; // another one meanwhile
    this.painter ??= new Painter(Plotly, this.host, this.told);
    this.painter.alpha = this.board.store.get("alpha");
    await this.painter.paint(figure, moves?.t ? moves : null);
    styleShadow(this.host);
  }

  choose(id) {
    if (!this.painter || this.painter.chosen === id) return;
    this.painter.chosen = id;
    this.painter.mark();
  }

  close() {
    this.painter?.close();
  }
}

// What Python says below a picture: {heading, paragraphs, table}, or a list of these.
function saidParts(said) {
  return [said ?? []].flat().flatMap(({heading, paragraphs = [], table: rows}) => [
    heading ? element("h4", {}, heading) : null,
    ...paragraphs.map((text) => paragraph(text)),
    rows ? table(rows.columns, rows.rows) : null,
  ]).filter(Boolean);
}

// A picture with menus beside it, as board.charts[name] has them: {menus: [{name, title, options,
// many}], runs: ids in the order of the points' numbers}. What is chosen in it is a run.
class ChartView {
  constructor(board, host, name) {
    Object.assign(this, {board, name});
    this.about = board.charts[name];
    for (const one of this.about.menus) this.begin(one);
    this.menus = this.about.menus.map((one) => this.menu(one)).filter(Boolean);
    this.note = element("div", {className: `clipft-note clipft-${this.about.note ?? "note"}`, "aria-live": "polite"});
    this.place = element("div");
    const controls = element("div", {className: "clipft-controls"}, ...this.menus, this.note);
    host.append(element("div", {className: "clipft-beside"}, controls,
      element("div", {className: "clipft-pictures"}, this.place)));
    this.chart = new Chart(board, this.place, {choose: (number) => this.chose(number)});
    const names = this.about.menus.map((one) => one.name);
    board.until(board.store.on([...names, "rows"].join(" "), () => this.draw()));
    board.until(board.store.on("run", () => this.mark()));
    this.draw();
  }

  // What is no trait of a widget begins here: with all methods, and what a saved page has, too.
  begin({name, options, many, saved}) {
    if (this.board.store.get(name) !== undefined) return;
    const values = options.map(([, value]) => value);
    this.board.store.set(name, many ? values : saved?.[0] ?? values[0]);
  }

  // A saved page offers what it can answer: not every set of methods, and of measures a few.
  menu({name, title, options, many, saved}) {
    const {board} = this;
    if (many) return board.live ? manyMenu(board, name, title, options) : null;
    const offered = board.live || !saved ? options : options.filter(([, value]) => saved.includes(value));
    return menu(board, name, title, offered);
  }

  question() {
    const chosen = {};
    for (const {name} of this.about.menus) chosen[name] = this.board.store.get(name);
    return {what: "figure", name: this.name, ...chosen};
  }

  async draw() {
    const turn = {};
    this.turn = turn;
    if (!this.answer) this.note.replaceChildren(paragraph("The picture is being made …"));
    try {
      const answer = await this.changed(await this.board.ask(this.question()));
      if (this.turn !== turn) return; // another choice meanwhile
      this.answer = answer;
      this.mark();
      await this.chart.paint(answer.figure, answer.moves);
      this.mark();
    } catch (error) {
      if (this.turn !== turn) return;
      this.answer = null;
      this.note.replaceChildren(paragraph(error.message));
      await this.chart.paint("");
    }
  }

  // What a selection of images changes in it.
  async changed(answer) {
    return answer;
  }

  chose(number) {
    // Where other views show the run, too, there is always one.
    if (!this.about.runs || (number < 0 && this.board.hasBar)) return;
    this.board.store.set("run", this.about.runs[number] ?? "");
  }

  // The run that is shown: its point has a ring, and its numbers stand beside.
  mark() {
    const run = this.board.store.get("run");
    if (this.about.runs) this.chart.choose(this.about.runs.indexOf(run));
    const {said, of_run: ofRun, hint = ""} = this.answer ?? {};
    const own = ofRun ? {paragraphs: ofRun[run] ?? [hint]} : {};
    this.note.replaceChildren(...saidParts([said ?? {}, own]));
  }

  close() {
    this.chart.close();
  }
}

// A menu of which several entries are chosen.
function manyMenu(board, name, title, options) {
  const select = element("select", {multiple: true, size: Math.min(8, options.length)},
    ...options.map(([text]) => element("option", {}, text)));
  select.setAttribute("data-lm-suppress-shortcuts", "true");
  const follow = () => {
    const chosen = new Set(board.store.get(name));
    options.forEach(([, value], i) => (select.options[i].selected = chosen.has(value)));
  };
  select.onchange = () =>
    board.store.set(name, options.filter((_, i) => select.options[i].selected).map(([, value]) => value));
  board.until(board.store.on(name, follow));
  follow();
  return element("label", {className: `clipft-menu clipft-${name}`}, title, " ", select);
}

VIEWS.distortion = class extends ChartView {
  constructor(board, host) {
    super(board, host, "distortion");
  }
};

VIEWS.figure = class extends ChartView {
  constructor(board, host) {
    super(board, host, "figure");
  }
};

// How a run was trained.
VIEWS.training = class {
  constructor(board, host) {
    this.board = board;
    this.place = element("div");
    this.note = element("div");
    host.append(this.note, this.place);
    this.chart = new Chart(board, this.place);
    board.until(board.store.on("run", () => this.draw()));
    this.draw();
  }

  async draw() {
    const run = this.board.store.get("run");
    let answer;
    if (!this.note.hasChildNodes()) this.note.replaceChildren(paragraph("The picture is being made …"));
    try {
      answer = await this.board.ask({what: "figure", name: "training", run});
    } catch (error) {
      answer = {figure: "", said: {paragraphs: [error.message]}};
    }
    if (run !== this.board.store.get("run")) return;
    this.note.replaceChildren(...saidParts(answer.said));
    await this.chart.paint(answer.figure);
  }

  close() {
    this.chart.close();
  }
};

// Energy gap against robustness, a point per run; where images are selected, of these alone.
VIEWS.gap = class extends ChartView {
  constructor(board, host) {
    super(board, host, "gap");
    this.told = element("div", {className: "clipft-controls clipft-about"});
    this.curve = element("div");
    this.moved = new Tiles(board, {gap: true, places: () => [0, board.sweep.alphas.length - 1]});
    this.moved.node.hidden = true;
    host.append(element("div", {className: "clipft-beside"}, this.told,
      element("div", {className: "clipft-pictures"}, this.curve, this.moved.node)));
    this.curveChart = new Chart(board, this.curve);
    board.until(board.store.on("run", () => this.tell()));
    board.until(board.store.on("sweep run shift", () => this.showMoved()));
    this.tell();
    this.showMoved();
  }

  async tell() {
    const run = this.board.store.get("run");
    let parts = []; // none of the run before
    try {
      const {said} = await this.board.ask({what: "about", run});
      if (run !== this.board.store.get("run")) return;
      parts = saidParts(said);
      this.told.replaceChildren(...parts);
      this.curve.hidden = !run || !this.about.curves;
      if (this.curve.hidden) return;
      const {figure, moves} = await this.board.ask({what: "figure", name: "curve", run});
      if (run === this.board.store.get("run")) await this.curveChart.paint(figure, moves);
    } catch (error) {
      if (run !== this.board.store.get("run")) return;
      this.told.replaceChildren(...parts, paragraph(error.message));
      await this.curveChart.paint("");
    }
  }

  // The images of the shift whose energies moved most from zero-shot to tuned.
  showMoved() {
    const {sweep, store} = this.board;
    const isHere = this.about.curves && sweep && sweep.run === store.get("run");
    this.moved.node.hidden = !isHere;
    if (!isHere) return;
    const split = sweep.splits.indexOf(store.get("shift"));
    const rows = sweep.gap ? sweep.everyRow.filter((row) => sweep.split[row] === split) : [];
    this.moved.show(largestFirst(rows, sweep.gap));
    this.moved.count.textContent = sweep.gap ? "Most moved images: energy gap, zero-shot prediction, tuned prediction."
      : "no energy gap of single images: an ensemble has none";
  }

  close() {
    super.close();
    this.curveChart.close();
  }

  async changed(answer) {
    const {rows, sweep} = this.board;
    this.menus.forEach((one) => (one.querySelector("select").disabled = Boolean(rows)));
    if (!rows) return answer;
    this.note.replaceChildren(paragraph(`Every run is asked about ${plural(rows.length, "selected image")} …`));
    const {runs, arrays, count, scales} = await this.board.ask({what: "every run", run: sweep.run});
    const of = new Map(runs.map((run, i) => [run, ofImages(arrays, i, count, scales[i], rows)]));
    const figure = JSON.parse(answer.figure);
    figure.data = figure.data.filter(({meta}) => Array.isArray(meta?.id))
      .map((trace) => this.ofSelected(trace, of)).filter(({x}) => x.length);
    const {layout} = figure;
    layout.title.text = `${plural(rows.length, "selected image")}<br><sub>${figure.data.flatMap(({x}) => x).length}`
      + " runs; mean energy gap and accuracy of these images, tuned models</sub>";
    layout.annotations = [];
    layout.xaxis.title.text = "energy gap (squared logits)";
    layout.yaxis.title.text = "accuracy (fraction)";
    for (const axis of [layout.xaxis, layout.yaxis]) {
      delete axis.range;
      axis.autorange = true;
    }
    delete layout.uirevision;
    const said = {paragraphs: [`Of ${plural(rows.length, "selected image")}, of whatever split, gap and accuracy; `
      + "the menus count again when none is selected. Runs that were scored on other images are left out."]};
    return {figure: JSON.stringify(figure), said};
  }

  ofSelected(trace, of) {
    const keep = trace.meta.id.map((id, i) => [this.about.runs[id], i]).filter(([run]) => of.has(run));
    const at = (values) => (Array.isArray(values) ? keep.map(([, i]) => values[i]) : values);
    const {error_x: _, error_y: __, ...rest} = trace;
    const points = keep.map(([run]) => of.get(run));
    return {
      ...rest, x: points.map(({gap}) => gap), y: points.map(({right}) => right),
      meta: {...trace.meta, id: at(trace.meta.id), to: at(trace.meta.to)}, text: at(trace.text),
      marker: {...trace.marker, size: at(trace.marker.size)},
      customdata: points.map(({gap, right}, i) => [numbers(trace.customdata)[keep[i][1]].split("<br>").slice(0, 2).join("<br>"),
        `energy gap ${gap.toFixed(3)}`, `accuracy ${right.toFixed(3)}`].join("<br>")),
    };
  }
};

// Mean gap and accuracy of some images, of the i-th run.
function ofImages({right, gap}, i, count, scale, rows) {
  let sum = 0;
  let hits = 0;
  for (const row of rows) {
    sum += gap[i * count + row] * scale;
    hits += right[i * count + row];
  }
  return {gap: sum / rows.length, right: hits / rows.length};
}
