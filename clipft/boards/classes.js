// Which classes lost, and what is taken for what, before and after. A click on a class, or on a pair,
// selects its images in every view.

class ListView {
  constructor(board, host, {label, columns, sortBy, hint, extra = []}) {
    this.board = board;
    this.said = paragraph(hint);
    this.where = paragraph("", "clipft-where");
    this.splits = menu(board, "split", "split", [["every split", ""]]);
    this.pool = board.rows; // images that were selected elsewhere: the table is of these
    this.table = new SortedTable(columns, {label, sortBy, chosen: (line) => this.chose(line),
      isChosen: (line) => this.isChosen(line)});
    host.append(element("div", {className: "clipft-beside"},
      element("div", {className: "clipft-controls"}, this.splits, board.hasBar ? null : slider(board), this.said),
      // What a click adds stands beside the table: above it the rows would move away under the mouse.
      element("div", {className: "clipft-pictures"}, this.where,
        element("div", {className: "clipft-side"}, this.table.node, ...extra))));
    board.until(board.store.on("rows", () => {
      if (!this.isChoosing) this.pool = board.rows;
    }));
    board.until(board.store.on("rows alpha split", () => this.draw()));
  }

  // A click marks its line; the table stays as it is.
  chose(line) {
    this.isChoosing = true;
    this.board.select(this.rowsOf(line));
    this.isChoosing = false;
  }

  // The images that are looked at: those selected elsewhere, or all, of one split or of every one.
  looked() {
    const {sweep, store} = this.board;
    const rows = this.pool ?? sweep.everyRow;
    const split = sweep.splits.indexOf(store.get("split"));
    return split < 0 ? rows : rows.filter((row) => sweep.split[row] === split);
  }

  draw() {
    const {sweep, store} = this.board;
    if (!sweep) {
      this.where.textContent = "";
      return this.table.fill([]);
    }
    this.splits.fill([["every split", ""], ...sweep.splits.map((name) => [name, name])]);
    const nearest = sweep.alphas[sweep.nearest(store.get("alpha"))].toFixed(2);
    const split = store.get("split") || "every split";
    const whose = this.pool ? `, of ${plural(this.pool.length, "selected image")}` : "";
    this.where.textContent = `${sweep.title}, ${split} at alpha ${nearest}${whose}`;
    this.chosen = new Set(this.board.rows ?? []);
    this.table.fill(this.lines(store.get("alpha"), this.looked()));
  }

  isChosen(line) {
    const rows = this.rowsOf(line);
    return rows.length > 0 && rows.length === this.chosen.size && rows.every((row) => this.chosen.has(row));
  }

  close() {}
}

VIEWS.classes = class extends ListView {
  constructor(board, host) {
    const points = (value) => signed(value);
    const alike = element("div", {className: "clipft-alike", "aria-live": "polite"});
    super(board, host, {
      label: "classes", sortBy: {column: 4, down: false}, extra: [alike],
      hint: "Click a class, or press Enter: its images are selected, most moved first.",
      columns: [
        {title: "class", value: ({name}) => name},
        {title: "images", value: ({images}) => images, text: String},
        {title: "zero-shot %", value: ({before}) => before, text: percent},
        {title: "here %", value: ({now}) => now, text: percent},
        {title: "change", value: ({change}) => change, text: points},
        {title: "energy gap", value: ({gap}) => gap, text: (gap) => (Number.isNaN(gap) ? "" : gap.toFixed(2))},
      ],
    });
    this.alike = alike;
    this.draw();
  }

  lines(alpha, rows) {
    this.byLabel = null;
    return this.board.sweep.byClass(alpha, rows);
  }

  rowsOf({label}) {
    const {sweep} = this.board;
    if (!this.byLabel) {
      this.byLabel = new Map();
      for (const row of this.looked()) {
        const own = sweep.label[row];
        if (!this.byLabel.has(own)) this.byLabel.set(own, []);
        this.byLabel.get(own).push(row);
      }
    }
    return this.byLabel.get(label) ?? [];
  }

  draw() {
    super.draw();
    this.compare();
  }

  // Which classes are called alike, beside the one that is chosen.
  async compare() {
    const {board} = this;
    const {sweep, rows} = board;
    this.alike.replaceChildren();
    if (!sweep || !rows || !board.similar) return;
    const labels = new Set([...rows].map((row) => sweep.label[row]));
    if (labels.size !== 1) return;
    const [label] = labels;
    let similar;
    try {
      ({similar} = await board.ask({what: "similar", run: sweep.run}));
    } catch (error) {
      return void this.alike.replaceChildren(paragraph(error.message));
    }
    if (sweep !== board.sweep || rows !== board.rows) return;
    const lines = (similar[label] ?? []).map(([other, cosine]) => [sweep.name(other), cosine.toFixed(2)]);
    this.alike.replaceChildren(element("h4", {}, `Most similar to ${sweep.name(label)}, by name`),
      table(["class", "cosine"], lines));
  }
};

VIEWS.confusions = class extends ListView {
  constructor(board, host) {
    super(board, host, {
      label: "confusions", sortBy: {column: 3, down: true},
      hint: "Click a pair, or press Enter: the images of the class that are taken for the other, before or here, are selected.",
      columns: [
        {title: "class", value: ({name}) => name},
        {title: "taken for", value: ({takenFor}) => takenFor},
        {title: "zero-shot", value: ({before}) => before, text: String},
        {title: "here", value: ({now}) => now, text: String},
        {title: "change", value: ({change}) => change, text: (change) => (change > 0 ? `+${change}` : String(change))},
      ],
    });
    this.draw();
  }

  lines(alpha, rows) {
    const {sweep} = this.board;
    const here = sweep.prediction(sweep.nearest(alpha));
    const start = sweep.prediction(0);
    this.byPair = new Map();
    for (const row of rows) {
      for (const taken of new Set([here[row], start[row]])) {
        const key = `${sweep.label[row]} ${taken}`;
        if (!this.byPair.has(key)) this.byPair.set(key, []);
        this.byPair.get(key).push(row);
      }
    }
    return sweep.confusions(alpha, rows);
  }

  rowsOf({label, taken}) {
    return this.byPair.get(`${label} ${taken}`) ?? [];
  }
};
