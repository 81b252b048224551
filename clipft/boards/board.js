// A board: some views of the same runs, which share alpha, the run that is shown and the selection.
class Board {
  // about: {panes: [[view, ...], ...], runs: [[title, id], ...], charts, bar, selected, similar}
  constructor(el, store, source, {about, live}) {
    Object.assign(this, {el, store, source, live, sweep: null, rows: null, closed: false});
    const isHere = ([, run]) => live || source.has({what: "sweep", run});
    const {runs, charts, bar, similar} = about;
    Object.assign(this, {runs: runs.filter(isHere), whole: runs.length, charts, hasBar: bar, similar});
    this.ends = [];
    this.views = [];
    this.answers = new Map();
    this.small = new Map(); // thumbnails of the sweep, by row
    el.classList.add("clipft-explorer", "clipft-board");
    this.build(about);
    this.until(store.on("run", () => this.load()));
    this.until(store.on("selection", () => this.find()));
    this.load();
  }

  // Remember what ends something.
  until(end) {
    this.ends.push(end);
  }

  build({panes, bar, selected}) {
    const columns = panes.map((names) => (names.length > 1 ? this.tabs(names) : this.pane(names[0])));
    const whole = element("div", {className: `clipft-panes clipft-panes-${panes.length}`}, ...columns);
    this.el.replaceChildren(...(bar ? [this.bar()] : []), whole);
    if (!selected) return;
    // Below the map there is room beside a longer column.
    const besideMap = panes.length > 1 && panes[0][0] === "map";
    if (besideMap) columns[0].append(this.pane("selected"));
    else this.el.append(this.pane("selected"));
  }

  bar() {
    return element("div", {className: "clipft-bar"}, this.runMenu(), slider(this));
  }

  // Which run is shown; one that came later joins it.
  runMenu() {
    const runs = menu(this, "run", "run", this.runs);
    const follow = () => {
      if (runs.values.length !== this.runs.length) runs.fill(this.runs);
      runs.hidden = this.runs.length < 2;
      const select = runs.querySelector("select"); // a narrow one cuts the name off
      select.title = select.selectedOptions[0]?.textContent ?? "";
    };
    this.until(this.store.on("sweep", follow));
    follow();
    return runs;
  }

  pane(name) {
    const host = element("section", {className: `clipft-view clipft-view-${name}`, "aria-label": TITLES[name] ?? name});
    this.views.push(new VIEWS[name](this, host));
    return host;
  }

  // Several views in one place: those that were looked at are made.
  tabs(names) {
    const place = element("div", {role: "tabpanel"});
    const made = new Map();
    const list = element("div", {role: "tablist", className: "clipft-tabs"});
    const show = (name, focus = false) => {
      if (!made.has(name)) {
        made.set(name, element("div", {className: "clipft-tab"}));
        place.append(made.get(name));
        made.get(name).append(this.pane(name));
      }
      for (const [other, part] of made) part.hidden = other !== name;
      names.forEach((other, i) => {
        list.children[i].setAttribute("aria-selected", other === name);
        list.children[i].tabIndex = other === name ? 0 : -1;
      });
      if (focus) list.children[names.indexOf(name)].focus();
    };
    list.append(...names.map((name) => element("button", {type: "button", role: "tab",
      onclick: () => show(name)}, TITLES[name] ?? name)));
    list.setAttribute("data-lm-suppress-shortcuts", "true");
    list.onkeydown = (event) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      const now = [...list.children].findIndex((tab) => tab.matches(":focus"));
      if (!step || now < 0) return;
      event.preventDefault();
      event.stopPropagation();
      show(names[(now + step + names.length) % names.length], true);
    };
    show(names[0]);
    return element("div", {className: "clipft-tabbed"}, list, place);
  }

  // --- what is asked ---

  // The answer to a question, which is asked once; one that failed is asked again the next time.
  ask(question) {
    if (question.again) this.answers.delete(keyOf({...question, again: undefined}));
    const key = keyOf({...question, again: undefined});
    if (!this.answers.has(key)) {
      const answer = this.source.ask(question);
      this.answers.set(key, answer);
      answer.catch(() => this.answers.delete(key));
      this.letGo();
    }
    return this.answers.get(key);
  }

  // The scores of a run are large: those of a few are kept.
  letGo() {
    const sweeps = [...this.answers.keys()].filter((key) => key.includes('"what":"sweep"'));
    if (sweeps.length > SWEEPS) this.answers.delete(sweeps[0]);
  }

  plotly() {
    return plotlyOf((question) => this.source.ask(question), this.source.patience ?? 0);
  }

  datatables() {
    return dataTablesOf((question) => this.source.ask(question));
  }

  // --- the run that is shown ---

  async load() {
    const run = this.store.get("run");
    if (!run || !this.runs.length) return;
    const isOver = () => run !== this.store.get("run") || this.closed;
    try {
      const sweep = new Sweep(await this.ask({what: "sweep", run}));
      if (isOver()) return;
      this.say("");
      if (!this.runs.some(([, id]) => id === run)) this.runs = [...this.runs, [sweep.called, run]];
      this.show(sweep);
    } catch (error) {
      if (isOver()) return;
      const few = `${error.message} Of ${this.whole} runs this page holds ${this.runs.length}.`;
      this.say(this.live ? error.message : few);
      this.show(null);
    }
  }

  // null: there is none, and no view shows the run before
  show(sweep) {
    this.sweep = sweep;
    this.small = new Map();
    this.rows = null;
    this.store.tell("sweep");
    if (sweep) this.find();
    else this.store.tell("rows");
  }

  // Runs were scored again: ask anew.
  forget() {
    const own = keyOf({what: "runs"}); // it has just come
    for (const key of [...this.answers.keys()]) if (key !== own) this.answers.delete(key);
    if (this.source.forget) this.source.forget();
    this.load();
  }

  say(text) {
    if (!text && !this.line) return;
    this.line ??= this.el.insertBefore(element("p", {className: "clipft-gone", role: "status"}), this.el.firstChild);
    this.line.textContent = text;
  }

  // --- the selection: ids in the state, rows of the sweep in the views ---

  find() {
    if (!this.sweep) return;
    const ids = this.store.get("selection") ?? [];
    if (ids !== this.told) {
      const {rowOf} = this.sweep;
      const rows = ids.map((id) => rowOf.get(id)).filter((row) => row !== undefined);
      this.rows = rows.length ? Uint32Array.from(rows).sort() : null;
    }
    this.told = null;
    this.store.tell("rows");
  }

  select(rows) {
    const sorted = Uint32Array.from(rows).sort();
    this.rows = sorted.length ? sorted : null;
    // What is told now is known already: no row is looked up for it.
    this.told = Array.from(sorted, (row) => this.sweep.ids[row]);
    this.store.set("selection", this.told);
  }

  // --- images ---

  async thumbnails(rows) {
    const {small, sweep} = this;
    const missing = [...new Set(rows)].filter((row) => !small.has(row));
    if (missing.length) {
      const ids = missing.map((row) => sweep.ids[row]);
      const given = this.source.images(sweep.run, ids);
      given.catch(() => missing.forEach((row) => small.delete(row))); // to be asked again
      missing.forEach((row, i) => small.set(row, given.then((addresses) => addresses[i])));
    }
    return Promise.all([...rows].map((row) => small.get(row)));
  }

  // One image as large as it is; where it is not at hand, its thumbnail.
  async image(row) {
    const id = this.sweep.ids[row];
    try {
      const {arrays} = await this.source.ask({what: "image", run: this.sweep.run, id});
      return addressOf(arrays.bytes);
    } catch {
      const [address] = await this.thumbnails([row]);
      return address;
    }
  }

  close() {
    this.closed = true;
    for (const end of this.ends) end();
    for (const view of this.views) view.close();
    this.el.replaceChildren();
  }
}

const SWEEPS = 8; // whose scores a page keeps
const TITLES = {
  map: "energy map", wise: "WiSE", classes: "classes", confusions: "confusions", reliability: "calibration",
  gap: "energy gap", distortion: "feature distortion", runs: "runs", training: "training", selected: "selected images",
};

// An address that needs no revoking, as one of a blob would.
function addressOf(bytes) {
  let letters = "";
  for (let start = 0; start < bytes.length; start += 8192) {
    letters += String.fromCharCode(...bytes.subarray(start, start + 8192));
  }
  return `data:image/webp;base64,${btoa(letters)}`;
}

// Images that lie one after the other: lengths of each, 0 where there is none.
function cutImages(lengths, bytes) {
  let end = 0;
  return lengths.map((length) => {
    end += length;
    return length ? addressOf(bytes.subarray(end - length, end)) : null;
  });
}
