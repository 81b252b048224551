// Hundreds of runs: a table to filter, sort, group and tick; a click opens a run, ticks compare some.
// The table is DataTables' (board.datatables()); what stands in it is text, never HTML.
const RUNS_PAGE = 25; // rows
const RUNS_MENU = {lengthMenu: [RUNS_PAGE, 100, {label: "all", value: -1}], text: "_MENU_ rows a page"};
const SHORTEST = 0.5; // seconds between two looks by itself
const OF_RECIPE = ["recipe", "seeds", "method", "lr", "steps"]; // a recipe without these says nothing

// --- what the words of a filter find; its language ---

const QUERY_NUMBER = "\\d*\\.?\\d+(?:e[-+]?\\d+)?";
const QUERY_NAMED = ["lr", "steps", "seed"]; // the settings that a run's name on pictures has
const QUERY_SETTING = new RegExp(`\\b(${QUERY_NAMED.join("|")}) (${QUERY_NUMBER})(?!\\S)`, "g");
const QUERY_STEPS = new RegExp(`(?<!\\S)(${QUERY_NUMBER}) steps\\b`, "g");
const ID_LETTERS = 4; // a shorter number is a setting's, never the beginning of an id

// The words of a query or a name, in small letters; `lr 0.001` is one word, `lr=0.001`.
function queryWords(text) {
  return text.toLowerCase().replace(/[,;:()+\s]+/g, " ").replace(/ ?= ?/g, "=")
    .replace(QUERY_SETTING, "$1=$2").replace(QUERY_STEPS, "steps=$1").split(" ").filter(Boolean);
}

// The number that this is, or that this text says; or null.
function queryNumber(value) {
  const text = String(value);
  return new RegExp(`^(?:${QUERY_NUMBER})$`).test(text) ? Number(Number(text).toPrecision(12)) : null; // 3 * 0.00005 is 0.00015
}

function settingText(value) {
  if (value === null) return "none";
  return (typeof value === "object" ? JSON.stringify(value) : String(value)).toLowerCase();
}

// A run, as a filter looks at it: its id, what it is called, its settings.
class Findable {
  constructor(id, names, settings) {
    Object.assign(this, {id, settings});
    this.names = names.map((name) => name.toLowerCase());
    this.words = [...queryWords(names.join(" ")), "run", ...QUERY_NAMED, id];
  }

  // words: of queryWords; every one of them has to fit
  fits(words) {
    return words.every((word) => this.has(word));
  }

  has(word) {
    const cut = word.indexOf("=");
    if (cut >= 0) return this.isSet(word.slice(0, cut), word.slice(cut + 1));
    const number = queryNumber(word);
    if (number === null) return this.words.some((name) => name.startsWith(word));
    const isId = word.length >= ID_LETTERS && this.id.startsWith(word);
    return isId || QUERY_NAMED.some((key) => number === queryNumber(this.settings[key]));
  }

  isSet(key, value) {
    if (key === "method") return this.names.some((name) => name.startsWith(value));
    if (!Object.hasOwn(this.settings, key)) return false;
    const text = settingText(this.settings[key]);
    if (key === "tags") return text.split(/\s+/).filter(Boolean).includes(value);
    const number = queryNumber(value);
    return number === null ? text.startsWith(value) : number === queryNumber(this.settings[key]);
  }
}

// --- cells ---

// A number as Python's `g` has it, which pictures use: 1e-05, 0.001.
function general(value) {
  if (value === 0) return "0";
  const short = Number(value.toPrecision(6));
  const power = Math.floor(Math.log10(Math.abs(short)));
  if (power >= -4 && power < 6) return String(short);
  const [digits, by] = short.toExponential().split("e");
  return `${digits}e${by[0]}${by.slice(1).padStart(2, "0")}`;
}

// A cell of a column as the page shows it; what is not known is blank.
function cellText(column, value) {
  if (column.kind === "text") return String(value ?? "");
  const shown = (number) => (column.digits === null ? general(number) : number.toFixed(column.digits));
  const [mean, deviation] = Array.isArray(value) ? value : [value, null];
  if (mean === null || mean === undefined) return "";
  return deviation === null ? shown(mean) : `${shown(mean)} ± ${shown(deviation)}`;
}

const cellNumber = (value) => (Array.isArray(value) ? value[0] : value);

// What is not known stands last, whichever way a column is sorted.
function numbersLast(way) {
  return (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return way * (a - b);
  };
}

VIEWS.runs = class {
  constructor(board, host) {
    Object.assign(this, {board, host, brushed: null, turns: 0});
    host.classList.add("clipft-runs");
    this.parts();
    const {store} = board;
    this.ends = [
      store.on("query grouped range", () => this.follow()),
      store.on("columns", () => this.showColumns()),
      store.on("run", () => this.mark()),
      store.on("compared", () => {
        this.mark();
        this.compare();
      }),
      store.on("every", () => this.clock()),
    ];
    this.ready = this.begin();
  }

  close() {
    this.closed = true;
    for (const end of this.ends) end();
    clearInterval(this.timer);
    this.drop();
    for (const painter of [this.curves, this.picture]) painter?.close();
    this.host.replaceChildren();
  }

  // --- the elements ---

  parts() {
    const {store} = this.board;
    const typed = (name, looks, put) => {
      const field = element("input", {autocomplete: "off", spellcheck: false, ...looks});
      field.oninput = () => put(field.value);
      // A notebook would take letters and arrows for its own.
      field.setAttribute("data-lm-suppress-shortcuts", "true");
      field.addEventListener("keydown", (event) => event.stopPropagation());
      this[name] = field;
      return field;
    };
    const words = {type: "search", placeholder: "e.g. lipsum lr 1e-3", className: "clipft-find"};
    const query = typed("query", words, (text) => store.set("query", text));
    const limits = {type: "number", step: "any", className: "clipft-limit"};
    const limit = () => this.setRange();
    const low = typed("low", {...limits, "aria-label": "at least", placeholder: "min"}, limit);
    const high = typed("high", {...limits, "aria-label": "at most", placeholder: "max"}, limit);
    this.ranged = element("select", {"aria-label": "column that is limited", onchange: limit});
    const group = () => store.set("grouped", this.grouped.checked);
    this.grouped = element("input", {type: "checkbox", onchange: group});
    this.info = element("p", {className: "clipft-info", role: "status"});
    this.choices = element("div", {className: "clipft-choices"});
    this.place = element("div", {className: "clipft-runs-table"});
    // Keys of a table are its own; a notebook's would go to another cell.
    this.place.setAttribute("data-lm-suppress-shortcuts", "true");
    this.place.addEventListener("keydown", (event) => event.stopPropagation());
    this.untick = button("untick all", () => store.set("compared", []));
    this.comparison = element("div", {className: "clipft-comparison"});
    this.drawn = element("div");
    this.parallel = element("details", {ontoggle: () => this.paintLines()},
      element("summary", {}, "parallel coordinates"), this.drawn);

    this.host.replaceChildren(
      element("div", {className: "clipft-bar"},
        element("label", {className: "clipft-query"}, "filter ", query),
        element("span", {className: "clipft-range", role: "group", "aria-label": "limits of a column"},
          this.ranged, " from ", low, " to ", high),
        element("label", {}, this.grouped, " group by recipe"),
        button("save table as CSV", () => this.save()),
        this.board.live ? this.refreshing(typed) : null),
      element("details", {}, element("summary", {}, "columns"), this.choices),
      element("div", {className: "clipft-bar"}, this.info, this.untick),
      this.place, this.comparison, this.parallel);
  }

  refreshing(typed) {
    const put = (text) => {
      const seconds = Math.max(0, Number(text) || 0);
      this.board.store.set("every", seconds && Math.max(SHORTEST, seconds));
    };
    const every = typed("every", {type: "number", min: 0, step: "any", className: "clipft-seconds"}, put);
    every.onblur = () => (every.value = this.board.store.get("every") ?? 0);
    this.clock();
    this.again = element("span", {className: "clipft-refresh"}, button("refresh", () => this.refresh()),
      element("label", {}, "every ", every, " s (0: only by hand)"));
    return this.again;
  }

  clock() {
    if (!this.board.live) return;
    const every = this.board.store.get("every") ?? 0;
    if (!this.every.matches(":focus")) this.every.value = every;
    clearInterval(this.timer);
    if (every > 0) this.timer = setInterval(() => document.hidden || this.refresh(), 1000 * every);
  }

  // --- the runs ---

  async begin() {
    this.info.textContent = "The runs are being read …";
    try {
      const {board} = this;
      const [DataTable, answer] = await Promise.all([board.datatables(), board.ask({what: "runs"})]);
      if (this.closed) return;
      this.DataTable = DataTable;
      const order = DataTable.ext.type.order; // shared by the page's tables: a name of our own
      order["clipft-number-asc"] ??= numbersLast(1);
      order["clipft-number-desc"] ??= numbersLast(-1);
      this.take(answer);
      this.build();
      this.compare();
    } catch (error) {
      this.info.textContent = error.message;
    }
  }

  // Look again; sort, page, filter, ticks and scroll stay. Nothing is asked before the last answer.
  async refresh() {
    if (!this.table) return this.begin();
    if (this.asking || this.answer.refreshable === false) return;
    this.asking = true;
    try {
      const answer = await this.board.ask({what: "runs", again: true});
      if (this.closed || JSON.stringify(answer) === this.text) return;
      const before = this.names();
      this.take(answer);
      this.board.forget();
      if (this.names() === before) this.fill();
      else this.build();
      this.compare(true); // one of them may be scored again
      this.paintLines(true);
    } catch (error) {
      if (!this.closed) this.info.textContent = error.message;
    } finally {
      this.asking = false;
    }
  }

  take(answer) {
    this.answer = answer;
    this.text = JSON.stringify(answer);
    if (this.again) this.again.hidden = answer.refreshable === false; // a table of no folder
    this.placeOf = new Map(); // run id -> its place in the rows
    const place = answer.columns.findIndex(({name}) => name === "run");
    answer.rows.forEach((row, i) => this.placeOf.set(row[place], i));
    this.findable = new Map();
    for (const {run, names, settings} of answer.findable) {
      this.findable.set(run, new Findable(run, names, {...answer.common, ...settings}));
    }
    this.brushed = null;
  }

  names() {
    return JSON.stringify(this.shown().columns);
  }

  get isGrouped() {
    return Boolean(this.board.store.get("grouped")) && Boolean(this.answer.recipes);
  }

  // What the table shows: {columns, rows}, of runs or of recipes.
  shown() {
    return this.isGrouped ? this.answer.recipes : this.answer;
  }

  column(name, columns = this.shown().columns) {
    return columns.findIndex((column) => column.name === name);
  }

  ids() {
    const place = this.column("run", this.answer.columns);
    return this.answer.rows.map((row) => row[place]);
  }

  // --- the table ---

  drop() {
    if (!this.table) return;
    this.table.destroy();
    this.place.replaceChildren();
    this.table = null;
  }

  // Make the table anew: other columns. What it was sorted by stays where that column is there.
  build() {
    const sorted = this.table ? this.sortedBy() : this.board.store.get("sort");
    const page = this.table && this.wasGrouped === this.isGrouped ? this.table.page() : 0;
    const length = this.table ? this.table.page.len() : RUNS_PAGE;
    this.drop();
    this.wasGrouped = this.isGrouped;
    const {columns, rows} = this.shown();
    const first = this.isGrouped ? [] : [{orderable: false, data: null, className: "clipft-tick",
      render: () => "", createdCell: (cell, _value, row) => this.tick(cell, row)}];
    this.first = first.length; // columns before those of the answer

    // Titles as text: DataTables takes a title that it is given for HTML.
    const heads = columns.map(({title, about}) =>
      element("th", {scope: "col", title: about || title}, title));
    if (first.length) heads.unshift(element("th", {scope: "col"}, this.hidden("compare")));
    const label = this.isGrouped ? "recipes: Enter shows the runs of one" : "runs: Enter opens one";
    const node = element("table", {className: "clipft-table", "aria-label": label},
      element("thead", {}, element("tr", {}, ...heads)));
    this.place.replaceChildren(node);
    const order = sorted && this.column(sorted.name) >= 0 ?
      [[this.first + this.column(sorted.name), sorted.down ? "desc" : "asc"]] : [];
    this.table = new this.DataTable(node, {
      data: rows, order, autoWidth: false, pageLength: length, deferRender: true, orderMulti: true,
      columns: [...first, ...columns.map((column, i) => this.columnFor(column, i))],
      createdRow: (line, row) => this.line(line, row),
      layout: {topStart: null, topEnd: null, bottomStart: {pageLength: RUNS_MENU}, bottomEnd: "paging"},
      language: {zeroRecords: "nothing fits the filter and the limits", emptyTable: "no runs"},
      drawCallback: () => this.mark(),
    });
    this.table.search.fixed("clipft", (_text, _row, index) => this.fit?.[index] !== 0);
    this.table.on("order", () => this.board.store.set("sort", this.sortedBy()));
    this.fillMenus();
    this.follow(false);
    if (page) this.table.page(page).draw(false);
  }

  hidden(text) {
    return element("span", {className: "clipft-unseen"}, text);
  }

  columnFor(column, i) {
    const isText = column.kind === "text";
    const render = (value, kind) => {
      if (kind === "display") return this.DataTable.render.text().display(cellText(column, value));
      return isText ? value : cellNumber(value);
    };
    return {
      data: i, visible: this.isShown(column), searchable: false, render,
      className: isText ? "clipft-word" : "clipft-number",
      type: isText ? "string" : "clipft-number",
      // Of a result the best is looked for, of a name or setting the first.
      orderSequence: column.digits > 0 ? ["desc", "asc", ""] : ["asc", "desc", ""],
    };
  }

  sortedBy() {
    const [first] = this.table.order();
    const name = this.shown().columns[(first?.[0] ?? -1) - this.first]?.name;
    return name && first[1] ? {name, down: first[1] === "desc"} : null;
  }

  // Other rows in the same columns.
  fill() {
    const {activeElement} = this.place.getRootNode(); // of a shadow tree, too
    const isInside = this.place.contains(activeElement);
    const run = isInside ? activeElement.closest("tr")?.dataset.run : undefined;
    const isTick = activeElement?.type === "checkbox";
    this.fit = this.fitting();
    this.table.clear().rows.add(this.shown().rows).draw(false);
    this.tell();
    this.mark();
    if (run === undefined) return;
    const line = [...this.linesHere()].find(({dataset}) => dataset.run === run);
    (isTick ? line?.querySelector("input") : line)?.focus({preventScroll: true});
  }

  linesHere() {
    return this.place.querySelectorAll("tbody tr[data-run]");
  }

  // A row that is made: it opens its run, by mouse or Enter; up and down go to the next.
  line(line, row) {
    line.dataset.run = row[this.column(this.isGrouped ? "recipe" : "run")];
    line.tabIndex = 0;
    line.onclick = () => this.open(line.dataset.run);
    line.onkeydown = (event) => {
      if (event.target !== line) return;
      const next = {ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling}[event.key];
      if (event.key === "Enter" || event.key === " ") this.open(line.dataset.run);
      else if (next) next.focus();
      else return;
      event.preventDefault();
    };
  }

  // A run is opened; of a recipe its runs are shown.
  open(id) {
    const {store} = this.board;
    if (!this.isGrouped) return void store.set("run", id);
    store.set("query", `recipe=${id}`);
    store.set("grouped", false);
  }

  tick(cell, row) {
    const run = row[this.column("run")];
    const box = element("input", {type: "checkbox", "aria-label": `compare run ${run}`});
    box.onclick = (event) => event.stopPropagation(); // the row would open its run
    box.onchange = () => {
      const others = this.compared().filter((id) => id !== run);
      this.board.store.set("compared", box.checked ? [...others, run] : others);
    };
    cell.onclick = (event) => event.stopPropagation();
    cell.replaceChildren(box);
  }

  compared() {
    return this.board.store.get("compared") ?? [];
  }

  // Show which run is open and which are ticked, in the rows that are there.
  mark() {
    if (!this.answer) return;
    const compared = new Set(this.compared());
    const run = this.board.store.get("run");
    for (const line of this.linesHere()) {
      const box = line.querySelector("td.clipft-tick input");
      if (box) box.checked = compared.has(line.dataset.run);
      if (!this.isGrouped && line.dataset.run === run) line.setAttribute("aria-current", "true");
      else line.removeAttribute("aria-current");
    }
    this.untick.hidden = !compared.size;
    this.untick.textContent = `untick all ${compared.size}`;
    this.ring();
  }

  // --- filter and limits ---

  follow(isOther = true) {
    const {store} = this.board;
    if (!this.answer || !this.table) return;
    if (isOther && this.wasGrouped !== this.isGrouped) return this.build();
    const query = store.get("query") ?? "";
    if (this.query.value !== query && !this.query.matches(":focus")) this.query.value = query;
    this.grouped.checked = this.isGrouped;
    this.showRange();
    this.fit = this.fitting();
    this.table.draw();
    this.tell();
  }

  // 1 for each row of the table that is shown, 0 for the others.
  fitting() {
    const words = queryWords(this.board.store.get("query") ?? "");
    const ids = this.ids();
    const runs = ids.map((id, i) => Boolean(this.findable.get(id)?.fits(words)) &&
      (!this.brushed || this.brushed.has(i)));
    const {rows} = this.shown();
    const limited = this.limits();
    if (!this.isGrouped) return rows.map((row, i) => Number(runs[i] && limited(row)));

    // A recipe is there where one of its runs is.
    const place = this.column("recipe", this.answer.columns);
    const there = new Set(this.answer.rows.filter((_, i) => runs[i]).map((row) => row[place]));
    const own = this.column("recipe");
    return rows.map((row) => Number(there.has(row[own]) && limited(row)));
  }

  limits() {
    const {column, low, high} = this.board.store.get("range") ?? {};
    const place = this.column(column);
    const has = (limit) => limit !== null && limit !== undefined;
    if (place < 0 || !(has(low) || has(high))) return () => true;
    return (row) => {
      const value = cellNumber(row[place]);
      return has(value) && (!has(low) || value >= low) && (!has(high) || value <= high);
    };
  }

  setRange() {
    const limit = ({value, valueAsNumber}) => (value === "" ? null : valueAsNumber);
    this.board.store.set("range", {column: this.ranged.value, low: limit(this.low), high: limit(this.high)});
  }

  showRange() {
    const {column, low, high} = this.board.store.get("range") ?? {};
    if (column) this.ranged.value = column;
    for (const [field, value] of [[this.low, low], [this.high, high]]) {
      if (!field.matches(":focus")) field.value = value ?? "";
    }
  }

  tell() {
    const {unfinished} = this.answer;
    const all = this.shown().rows.length;
    const fitting = this.fit.reduce((sum, one) => sum + one, 0);
    let text = `${fitting} of ${plural(all, this.isGrouped ? "recipe" : "run")}`;
    if (this.isGrouped) text += "; Enter or a click shows the runs of one";
    if (this.brushed) text += "; those chosen in the picture";
    if (unfinished?.length) {
      const few = unfinished.slice(0, 8).join(", ");
      const others = unfinished.length > 8 ? ` and ${unfinished.length - 8} more` : "";
      text += `; left out, not finished or not scored: ${few}${others}`;
    }
    this.info.textContent = text;
  }

  // --- columns ---

  isShown({name, shown}) {
    const chosen = this.board.store.get("columns");
    if (this.isGrouped && OF_RECIPE.includes(name)) return true;
    return chosen?.length ? chosen.includes(name) : shown;
  }

  // The boxes of all columns, and those that can be limited.
  fillMenus() {
    const {columns} = this.answer;
    this.boxes = columns.map((column) => {
      const {name, title, about} = column;
      const box = element("input", {type: "checkbox", onchange: () => this.chooseColumns(), value: name});
      return {box, label: element("label", {title: about || title}, box, ` ${title}`)};
    });
    this.choices.replaceChildren(...this.boxes.map(({label}) => label),
      button("as at first", () => this.board.store.set("columns", [])));
    const chosen = this.board.store.get("range")?.column || this.ranged.value || "shift";
    const numeric = this.shown().columns.filter(({kind}) => kind !== "text");
    this.ranged.replaceChildren(...numeric.map(({name, title}) => element("option", {value: name}, title)));
    this.ranged.value = numeric.some(({name}) => name === chosen) ? chosen : numeric[0]?.name;
    this.showColumns();
  }

  chooseColumns() {
    const chosen = this.boxes.filter(({box}) => box.checked).map(({box}) => box.value);
    if (chosen.length) this.board.store.set("columns", chosen);
    else this.showColumns(); // a table without a column would be no table
  }

  showColumns() {
    if (!this.table) return;
    this.shown().columns.forEach((column, i) => {
      const own = this.table.column(this.first + i);
      if (own.visible() !== this.isShown(column)) own.visible(this.isShown(column), false);
    });
    const chosen = this.board.store.get("columns");
    for (const {box} of this.boxes) {
      const column = this.answer.columns[this.column(box.value, this.answer.columns)];
      box.checked = chosen?.length ? chosen.includes(box.value) : column.shown;
    }
  }

  // The rows that fit as a file, in the table's order, with all columns.
  save() {
    if (!this.table) return;
    const {columns} = this.shown();
    const head = columns.flatMap(({name, kind}) => (kind === "spread" ? [name, `${name}_sd`] : [name]));
    const rows = this.table.rows({search: "applied", order: "applied"}).data().toArray();
    const lines = rows.map((row) => row.flat().map((cell) => cell ?? ""));
    download(this.isGrouped ? "recipes.csv" : "runs.csv", csv([head, ...lines]));
  }

  // --- what ticked runs have in common and what not ---

  async compare(isOther = false) {
    const runs = [...this.compared()];
    const key = JSON.stringify(runs);
    if (!this.answer || (key === this.asked && !isOther)) return;
    this.asked = key;
    const said = (text) => {
      this.curves?.close();
      this.curves = null;
      this.comparison.replaceChildren(...(text ? [paragraph(text)] : []));
    };
    if (!runs.length) return said("");
    try {
      const question = {what: "compare", runs};
      const {figure, moves, tables} = await this.board.ask(isOther ? {...question, again: true} : question);
      const Plotly = await this.board.plotly();
      if (this.closed || this.asked !== key) return;
      if (!this.curves) {
        this.curvesPlace = element("div");
        this.tables = element("div");
        this.comparison.replaceChildren(this.curvesPlace, this.tables);
        this.curves = new Painter(Plotly, this.curvesPlace);
      }
      const hint = runs.length < 2 ? [paragraph("Tick another run to compare it with this one.")] : [];
      this.tables.replaceChildren(...hint, ...(tables ?? []).map(({title, columns, rows}) =>
        element("div", {className: "clipft-wide", tabIndex: 0, role: "group", "aria-label": title,
          "data-lm-suppress-shortcuts": "true"},
          this.titled(table(columns, rows), title))));
      await this.curves.paint(figure, moves?.t ? moves : null);
    } catch (error) {
      if (!this.closed && this.asked === key) said(error.message);
    }
  }

  titled(made, title) {
    made.prepend(element("caption", {}, title));
    return made;
  }

  // --- parallel coordinates ---

  // Drawn when somebody looks; a click opens a run, a box around points leaves their runs in the table.
  async paintLines(isOther = false) {
    if (!this.parallel.open || (this.isPainted && !isOther)) return;
    this.isPainted = true;
    this.turns += 1;
    const turn = this.turns;
    try {
      const question = {what: "figure", name: "parallel"};
      const {figure} = await this.board.ask(isOther ? {...question, again: true} : question);
      const Plotly = await this.board.plotly();
      if (this.closed || turn !== this.turns) return;
      this.picture ??= new Painter(Plotly, this.drawn, {
        choose: (place) => place >= 0 && this.board.store.set("run", this.ids()[place]),
        select: (places) => this.brush(places),
      });
      this.picture.chosen = this.openPlace();
      await this.picture.paint(figure);
    } catch (error) {
      this.isPainted = false;
      if (this.closed) return;
      this.picture?.close();
      this.picture = null;
      this.drawn.replaceChildren(paragraph(error.message));
    }
  }

  openPlace() {
    return this.placeOf.get(this.board.store.get("run")) ?? -1;
  }

  // A ring around the open run's points.
  ring() {
    if (!this.picture || this.picture.chosen === this.openPlace()) return;
    this.picture.chosen = this.openPlace();
    this.picture.mark();
  }

  brush(places) {
    this.brushed = places.length ? new Set(places) : null;
    this.follow();
  }
};
