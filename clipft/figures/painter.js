// Paints a plotly figure into a page: as wide as its place, in the page's colours, with what moves
// with alpha moved, by mouse and by keyboard. The explorers and the saved pages use this one file;
// fit.js stands above it.
//
// What a figure says beyond plotly's own:
// - a trace's meta.id: the number of each of its points (or one for all of them), which a click
//   chooses and a lasso selects; meta.with: numbers of points that only fade with their own;
// - a slider's steps: the table of what moves with alpha, taken out by `moves_of` in Python.
const CLIPFT_THEMES = {/* put here by pages.py */};
const CONFIG = {displaylogo: false, showSendToCloud: false, responsive: false, typesetMath: false};
const STEPS = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};

// JupyterLab says which theme it has; elsewhere the reader's own counts.
function isDark() {
  const lab = document.body.dataset.jpThemeLight;
  if (lab !== undefined) return lab === "false";
  const classes = [...document.documentElement.classList, ...document.body.classList];
  if (classes.some((name) => /^(dark|vscode-dark)$/.test(name))) return true; // marimo, VS Code
  if (classes.some((name) => /^(light|vscode-light)$/.test(name))) return false;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

// Call `change` whenever the page's theme does; returns what ends that.
function onTheme(change) {
  let dark = isDark();
  const look = () => {
    if (isDark() === dark) return;
    dark = !dark;
    change();
  };
  const watch = new MutationObserver(look);
  for (const part of [document.documentElement, document.body]) {
    watch.observe(part, {attributeFilter: ["data-jp-theme-light", "class"]});
  }
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", look);
  return () => {
    watch.disconnect();
    scheme.removeEventListener("change", look);
  };
}

// Half way between two values: numbers go on the line between them, else the nearer one counts.
function mix(before, after, part) {
  if (Array.isArray(before)) return before.map((value, i) => mix(value, after[i], part));
  if (typeof before === "number" && typeof after === "number") {
    return before + part * (after - before);
  }
  return part < 0.5 ? before : after;
}

// The row of a table at alpha; t: the alphas of its rows, which rise.
function between(t, table, alpha, nearest) {
  if (t.length === 1) return table[0];
  let i = 1;
  while (i < t.length - 1 && t[i] < alpha) i++;
  // Half way the lower one is the nearest, as in Python: a table of the kernel stands beside.
  if (nearest) return table[Math.abs(t[i] - alpha) < Math.abs(t[i - 1] - alpha) ? i : i - 1];
  const part = Math.min(1, Math.max(0, (alpha - t[i - 1]) / (t[i] - t[i - 1])));
  return mix(table[i - 1], table[i], part);
}

const isOn = (panel, {xaxis, yaxis}) => xaxis === panel.xaxis && yaxis === panel.yaxis;

// Whether a point lies inside a closed line: a ray from it crosses that an odd number of times.
function isInside(point, line) {
  let inside = false;
  for (let i = 1; i < line.x.length; i++) {
    const [x0, x1, y0, y1] = [line.x[i - 1], line.x[i], line.y[i - 1], line.y[i]];
    const crosses = (y0 > point.y) !== (y1 > point.y);
    if (crosses && point.x < x0 + (x1 - x0) * (point.y - y0) / (y1 - y0)) inside = !inside;
  }
  return inside;
}

class Painter {
  // host: an element; told: what to call: {choose(id), select(ids), click(point)}
  constructor(Plotly, host, told = {}) {
    Object.assign(this, {Plotly, host, told, alpha: 1, chosen: -1, selection: [], count: 0});
    // One for all drawings: for another one plotly would begin anew, and forget a reader's zoom.
    this.config = {...CONFIG, modeBarButtonsToAdd: [this.svgButton()]};
    host.classList.add("clipft-plot");
    Object.assign(host.style, {position: "relative", overflowX: "auto"});
    this.div = document.createElement("div");
    this.said = Object.assign(document.createElement("div"), {className: "clipft-said"});
    this.said.setAttribute("aria-live", "polite"); // what is hovered, for a screen reader
    Object.assign(this.said.style, {position: "absolute", clipPath: "inset(50%)"});
    host.replaceChildren(this.div, this.said);
    this.div.setAttribute("role", "group");
    this.div.setAttribute("data-lm-suppress-shortcuts", "true"); // arrow keys are the chart's
    this.div.addEventListener("keydown", (event) => this.keydown(event));
    // Plotly keeps a press of the mouse to itself: the keyboard would stay elsewhere, and Lab would
    // scroll to another cell when this one grows.
    this.div.addEventListener("mousedown", () => this.hold(), true);
    this.endTheme = onTheme(() => this.draw());
    this.resized = new ResizeObserver(() => {
      if (this.text && this.width() && this.width() !== this.drawn) this.draw();
    });
    this.resized.observe(host);
  }

  // While the mouse is held down nothing is drawn: plotly would lose the lasso that is begun.
  hold() {
    this.div.focus({preventScroll: true});
    this.held = new Promise((done) => {
      addEventListener("mouseup", () => setTimeout(done), {once: true, capture: true});
    });
  }

  close() {
    this.endTheme();
    this.resized.disconnect();
    this.Plotly.purge(this.div);
    this.host.replaceChildren();
  }

  width() {
    return Math.floor(this.host.clientWidth);
  }

  // text: the figure as JSON; moves: {t, nearest, traces: [{place, keys}]}, what moves with alpha
  paint(text, moves = null) {
    this.text = text;
    this.moves = moves;
    this.count += 1;
    return this.draw();
  }

  // Draw all anew: another figure, another theme, another width.
  async draw() {
    await this.held;
    if (!this.text) return this.clear();
    const width = this.width() || this.drawn; // out of sight, e.g. while Lab changes its theme
    if (!width) return; // never seen yet: drawn when it is
    this.drawn = width;
    const dark = isDark();
    const figure = JSON.parse(dark ? this.text.replaceAll('"#000000"', '"#ffffff"') : this.text);
    const layout = fitted(figure, width);
    layout.template = CLIPFT_THEMES[dark ? "dark" : "light"];
    layout.uirevision ??= this.count; // a figure that says it itself keeps a reader's zoom
    this.ink = dark ? "#ffffff" : "#000000";
    this.data = figure.data;
    this.own = figure.data.length;
    this.opacity = figure.data.map(({opacity}) => opacity ?? null);
    for (const {place, keys} of this.moved()) Object.assign(figure.data[place], keys);
    figure.data.push(...this.extras());
    const name = plain(layout.title?.text) || "chart";
    this.div.setAttribute("aria-label", name);
    if (this.points().length) this.div.tabIndex = 0;
    else this.div.removeAttribute("tabindex");
    await this.Plotly.react(this.div, figure.data, layout, this.config);
    if (this.dark !== undefined && this.dark !== dark) {
      await this.Plotly.relayout(this.div, {template: layout.template}); // react does not see it
    }
    this.dark = dark;
    this.listen();
    this.div.dataset.alpha = this.alpha;
    await this.mark();
  }

  clear() {
    if (this.own) this.Plotly.purge(this.div);
    this.own = 0;
    this.listens = false; // what listened is gone with the graph
  }

  svgButton() {
    const icon = this.Plotly.Icons.disk;
    const click = (div) => this.Plotly.downloadImage(div, {format: "svg", filename: "clipft"});
    return {name: "svg", title: "Download as SVG", icon, click};
  }

  // Once a graph is there: mouse events are plotly's own.
  listen() {
    if (this.listens) return;
    this.listens = true;
    this.div.on("plotly_hover", ({points}) => this.near(points[0]));
    this.div.on("plotly_click", ({points}) => this.click(points));
    this.div.on("plotly_selected", (event) => {
      if (event?.lassoPoints || event?.range) this.selected(event); // else it was taken away
    });
    this.div.on("plotly_deselect", () => {
      this.select([]);
      this.mark();
    });
  }

  id({curveNumber, pointNumber}) {
    const ids = this.data[curveNumber]?.meta?.id;
    return Array.isArray(ids) ? ids[pointNumber] : ids;
  }

  // --- alpha ---

  moved() {
    if (!this.moves) return [];
    const {t, nearest, traces} = this.moves;
    return traces.map(({place, keys}) => {
      const now = {};
      for (const [key, table] of Object.entries(keys)) now[key] = between(t, table, this.alpha, nearest);
      return {place, keys: now};
    });
  }

  // Several steps that come while one is drawn are one.
  async move(alpha) {
    this.alpha = alpha;
    if (!this.moves || !this.own) return;
    if (this.moving) return void (this.again = true);
    this.moving = true;
    try {
      await this.follow();
    } finally {
      this.moving = false;
    }
  }

  async follow() {
    do {
      this.again = false;
      const moved = this.moved();
      const update = {};
      for (const key of new Set(moved.flatMap(({keys}) => Object.keys(keys)))) {
        update[key] = moved.map(({place, keys}) => keys[key] ?? this.data[place][key]);
      }
      await this.Plotly.restyle(this.div, update, moved.map(({place}) => place));
      this.div.dataset.alpha = this.alpha;
    } while (this.again);
  }

  // --- what is chosen and selected ---

  // Traces that only mark: in each panel the lasso's outline and a ring around the chosen point, and
  // of each trace of segments those that are selected.
  extras() {
    if (!this.data.some(({meta}) => meta?.id || meta?.with)) return [];
    const quiet = {type: "scatter", hoverinfo: "skip", showlegend: false, x: [], y: []};
    const outline = {...quiet, mode: "lines", line: {color: "#56B4E9", dash: "dash", width: 1.5},
      fill: "toself", fillcolor: "rgba(86,180,233,0.12)"};
    const ring = {...quiet, mode: "markers", marker: {symbol: "circle-open", size: 20, color: this.ink,
      line: {width: 2}}};
    const twins = this.segments().map(({xaxis, yaxis, line}) =>
      ({...quiet, xaxis, yaxis, line, mode: "lines"}));
    return [...this.panels().flatMap((axes) => [{...outline, ...axes}, {...ring, ...axes}]), ...twins];
  }

  // The axes of each panel that has numbered points.
  panels() {
    const found = new Map();
    for (const {meta, xaxis = "x", yaxis = "y"} of this.data.slice(0, this.own)) {
      if (meta?.id) found.set(xaxis + yaxis, {xaxis, yaxis});
    }
    return [...found.values()];
  }

  segments() {
    return this.data.slice(0, this.own).filter(({mode, meta}) => mode === "lines" && meta?.with);
  }

  // Say all of it to plotly in one step, for each is a drawing; layout: what of that changes, too.
  async mark(layout = {}) {
    await this.held;
    const {own, data, Plotly, div} = this;
    if (!own || own === data.length) return; // nothing to mark
    const chosen = new Set(this.selection);
    const changes = data.slice(0, own).map(({meta, mode}, place) => {
      const ids = Array.isArray(meta?.id) ? meta.id : meta?.with;
      if (!ids) return {};
      if (mode === "lines") return {opacity: chosen.size ? 0.12 : this.opacity[place]};
      const caught = ids.flatMap((id, i) => (chosen.has(id) ? [i] : []));
      return {selectedpoints: chosen.size ? caught : null};
    });

    const empty = {x: [], y: []};
    const ringed = this.points().filter(({id}) => id !== undefined && id === this.chosen);
    for (const panel of this.panels()) {
      const here = ringed.filter((point) => isOn(panel, point));
      changes.push(this.outlines(panel, chosen) ? {x: this.outline.x, y: this.outline.y} : empty);
      changes.push({x: here.map(({x}) => x), y: here.map(({y}) => y)});
    }
    for (const {x, y, meta} of this.segments()) {
      const keep = (values) => numbers(values).filter((_, i) => chosen.has(meta.with[i]));
      changes.push({x: keep(x), y: keep(y)});
    }

    const update = {};
    for (const key of ["selectedpoints", "opacity", "x", "y"]) {
      update[key] = changes.map((change) => change[key]); // undefined changes nothing
    }
    await Plotly.update(div, update, layout);
  }

  // Whether the lasso's outline holds what is selected: not where that was changed since by a click
  // or from Python, nor where another figure has the points elsewhere.
  outlines(panel, chosen) {
    if (!this.outline || !chosen.size || !isOn(panel, this.outline)) return false;
    const here = this.points().filter((point) => isOn(panel, point));
    return here.every((point) => isInside(point, this.outline) === chosen.has(point.id));
  }

  // Every point that the keyboard goes to, in reading order: those with numbers, or else all.
  points() {
    const traces = this.data?.slice(0, this.own) ?? [];
    const numbered = traces.some(({meta}) => Array.isArray(meta?.id));
    const found = [];
    traces.forEach((trace, curveNumber) => {
      const {meta, mode, visible, hovertemplate, xaxis = "x", yaxis = "y"} = trace;
      const counts = numbered ? Array.isArray(meta?.id) : hovertemplate && mode?.includes("markers");
      if (!counts || visible === "legendonly") return;
      const x = numbers(trace.x);
      const y = numbers(trace.y);
      x.forEach((_, pointNumber) => {
        const point = {curveNumber, pointNumber};
        found.push({...point, id: this.id(point), x: x[pointNumber], y: y[pointNumber], xaxis, yaxis});
      });
    });
    const panel = ({xaxis}) => Number(xaxis.slice(1) || 1);
    return found.sort((a, b) => panel(a) - panel(b) || a.x - b.x || a.y - b.y);
  }

  click(points) {
    const point = points.find((point) => this.id(point) !== undefined);
    if (point) this.choose(this.id(point));
    this.told.click?.(points[0]);
  }

  choose(id) {
    this.told.choose?.(id);
  }

  select(ids) {
    this.selection = ids;
    if (!ids.length) this.outline = null;
    this.told.select?.(ids);
  }

  selected({points, lassoPoints, range}) {
    const corners = lassoPoints ?? range;
    const [axisX, axisY] = Object.keys(corners);
    let {[axisX]: x, [axisY]: y} = corners;
    if (range) [x, y] = [[x[0], x[1], x[1], x[0]], [y[0], y[0], y[1], y[1]]];
    this.outline = {x: [...x, x[0]], y: [...y, y[0]], xaxis: axisX, yaxis: axisY};
    const ids = points.filter(({curveNumber}) => curveNumber < this.own)
      .map((point) => this.id(point)).filter((id) => id !== undefined);
    // Plotly's own outline would choose its points anew whenever something is restyled.
    setTimeout(async () => {
      this.select([...new Set(ids)].sort((a, b) => a - b));
      await this.mark({selections: []});
    });
  }

  // --- the keyboard ---

  near(point) {
    this.here = point;
    const told = [...this.div.querySelectorAll(".hoverlayer .hovertext")].map((label) =>
      [...label.querySelectorAll("tspan.line, text.nums:not(:has(tspan))")].map((line) => line.textContent)
        .filter(Boolean).join(", "));
    this.said.textContent = told.join("; ");
  }

  walk(step) {
    const points = this.points();
    const same = ({curveNumber, pointNumber}) =>
      curveNumber === this.here?.curveNumber && pointNumber === this.here?.pointNumber;
    const now = points.findIndex(same);
    const next = points[now < 0 ? 0 : (now + step + points.length) % points.length];
    this.here = next;
    this.Plotly.Fx.hover(this.div, [next], next.xaxis + next.yaxis);
    // Of this plotly says nothing, and shows it 50 ms after the last one.
    setTimeout(() => this.here === next && this.near(next), 100);
  }

  press(key) {
    if (STEPS[key] && this.points().length) this.walk(STEPS[key]);
    else if ((key === "Enter" || key === " ") && this.here) {
      this.click([this.here]);
    } else if (key === "Escape") {
      this.Plotly.Fx.unhover(this.div);
      this.here = null;
      this.select([]);
      this.choose(-1);
      this.mark();
    } else return false;
    return true;
  }

  keydown(event) {
    if (event.target !== this.div || !this.press(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
  }
}
