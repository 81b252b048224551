// Draws a spec of panels as SVG in the page: no kernel is asked while alpha moves, and colours
// follow the theme.
//
// spec: {title, height, panels: [{width, x, y, marks, title?}], legend?, lasso?}
// axis: {title, range, labels?, plain?}
// legend: [{name, colour, symbol?, dash?}]
// marks: line {x, y}
//        points {x, y, text?, id?}
//        arrows {x, y, x1, y1}
//        path {x, y, t}: a line with a marker at alpha; t: the alphas of its places
//        bars {t?, groups: [{name, colour, values | table, hollow?}]}; table: values at each t
//        and colour, symbol, dash, size, width, opacity as wanted.
const NS = "http://www.w3.org/2000/svg";
const SHAPES = {
  circle: "M1,0A1,1 0 1,1 -1,0A1,1 0 1,1 1,0Z",
  diamond: "M0,-1.3L1.1,0L0,1.3L-1.1,0Z",
  square: "M-.9,-.9H.9V.9H-.9Z",
  cross: "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
  "triangle-up": "M0,-1.2L1.1,.8H-1.1Z",
  star: "M0,-1.3L.35,-.4L1.25,-.4L.55,.2L.8,1.1L0,.55L-.8,1.1L-.55,.2L-1.25,-.4L-.35,-.4Z",
  x: "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
  pentagon: "M0,-1.2L1.15,-.35L.7,1H-.7L-1.15,-.35Z",
};
const DASHES = {solid: "", dash: "7,4", dot: "2,4", dashdot: "7,4,2,4"};
const STEPS = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};
const GAP = 14; // pixels between panels
const REACH = 14; // pixels from a point within which the mouse means it

// Black is the colour of the text: white in a dark theme.
const ink = (colour) => (!colour || colour === "#000000" ? "currentColor" : colour);

// A look may be one for all points, or a list.
const at = (look, i) => (Array.isArray(look) ? look[i] : look);

function node(name, attributes, parent, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent?.appendChild(element);
  return element;
}

function div(properties) {
  return Object.assign(document.createElement("div"), properties);
}

// Round values in a range, with their words.
function ticks([low, high], count = 5) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) {
    values.push([i * step, (i * step).toFixed(digits)]);
  }
  return values;
}

// Values at alpha, on the line between its neighbours in t, which rises.
function between(t, values, alpha) {
  if (t.length === 1) return values[0];
  let i = 1;
  while (i < t.length - 1 && t[i] < alpha) i++;
  const part = Math.min(1, Math.max(0, (alpha - t[i - 1]) / (t[i] - t[i - 1])));
  const mix = (a, b) => a + part * (b - a);
  const before = values[i - 1];
  const after = values[i];
  return Array.isArray(before) ? before.map((v, k) => mix(v, after[k])) : mix(before, after);
}

// Whether a point lies in a polygon: a ray from it crosses an odd number of sides.
function inside([x, y], polygon) {
  let odd = false;
  polygon.forEach(([xi, yi], i) => {
    const [xj, yj] = polygon.at(i - 1);
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  });
  return odd;
}

function legend(entries) {
  const list = div({className: "clipft-legend"});
  for (const {name, colour, symbol, dash} of entries) {
    const svg = node("svg", {width: 26, height: 14, viewBox: "-13 -7 26 14"});
    const stroke = ink(colour);
    if (dash !== undefined) {
      const dashes = DASHES[dash] ?? "";
      const look = {stroke, "stroke-width": 2, "stroke-dasharray": dashes};
      node("path", {d: "M-12,0H12", ...look}, svg);
    }
    if (symbol) {
      const look = {fill: stroke, stroke, "stroke-width": 0.3};
      node("path", {d: SHAPES[symbol], transform: "scale(5)", ...look}, svg);
    }
    const item = document.createElement("span");
    item.append(svg, name);
    list.appendChild(item);
  }
  return list;
}

// A box with two axes and marks. It leaves in drawing.dots the points that have an id, and in
// drawing.movers what follows alpha.
class Panel {
  constructor(drawing, spec, left, height) {
    Object.assign(this, {drawing, spec, left});
    this.box = {
      left: left + (spec.y.plain ? 8 : 58),
      right: left + spec.width - 8,
      top: spec.title ? 26 : 10,
      bottom: height - (spec.x.plain ? 10 : 46),
    };
    this.wide = this.box.right - this.box.left;
    this.high = this.box.bottom - this.box.top;
    this.g = node("g", {}, drawing.svg);
    this.frame();
    this.xAxis();
    this.yAxis();
    this.titles();
    for (const mark of spec.marks) this[mark.kind](mark);
  }

  px(v) {
    const [low, high] = this.spec.x.range;
    return this.box.left + ((v - low) / (high - low || 1)) * this.wide;
  }

  py(v) {
    const [low, high] = this.spec.y.range;
    return this.box.bottom - ((v - low) / (high - low || 1)) * this.high;
  }

  // The middle of the place of label i.
  middle(i) {
    return this.box.left + ((i + 0.5) / this.spec.x.labels.length) * this.wide;
  }

  text(x, y, words, anchor = "middle") {
    node("text", {x, y, "text-anchor": anchor}, this.g, words);
  }

  frame() {
    const {left, right, top} = this.box;
    const size = {width: this.wide, height: this.high};
    node("rect", {x: left, y: top, ...size, class: "clipft-box"}, this.g);
    if (!this.spec.title) return;
    const place = {x: (left + right) / 2, y: 16, "text-anchor": "middle"};
    node("text", {...place, class: "clipft-title"}, this.g, this.spec.title);
  }

  xAxis() {
    const {labels, plain, range} = this.spec.x;
    const {top, bottom} = this.box;
    if (labels) labels.forEach((label, i) => this.text(this.middle(i), bottom + 17, label));
    if (labels || plain) return;
    for (const [v, words] of ticks(range)) {
      node("path", {d: `M${this.px(v)},${top}V${bottom}`, class: "clipft-grid"}, this.g);
      this.text(this.px(v), bottom + 17, words);
    }
  }

  yAxis() {
    const {plain, range} = this.spec.y;
    const {left, right} = this.box;
    if (plain) return;
    for (const [v, words] of ticks(range)) {
      node("path", {d: `M${left},${this.py(v)}H${right}`, class: "clipft-grid"}, this.g);
      this.text(left - 7, this.py(v) + 4, words, "end");
    }
  }

  titles() {
    const {x, y} = this.spec;
    const {left, right, top, bottom} = this.box;
    if (x.title) this.text((left + right) / 2, bottom + 38, x.title);
    if (!y.title) return;
    const transform = `translate(${this.left + 15},${(top + bottom) / 2}) rotate(-90)`;
    node("text", {transform, "text-anchor": "middle"}, this.g, y.title);
  }

  line({x, y, colour, dash, width, opacity}) {
    const places = x.map((v, i) => `${this.px(v).toFixed(1)},${this.py(y[i]).toFixed(1)}`);
    const look = {
      fill: "none",
      stroke: ink(colour),
      "stroke-width": width ?? 2,
      "stroke-dasharray": DASHES[dash] ?? "",
      opacity: opacity ?? 1,
    };
    node("path", {d: places.length ? `M${places.join("L")}` : "", ...look}, this.g);
  }

  points({x, y, text, id, colour, symbol, size, opacity}) {
    const group = node("g", {opacity: opacity ?? 0.85}, this.g);
    x.forEach((v, i) => {
      const left = this.px(v);
      const top = this.py(y[i]);
      const d = SHAPES[at(symbol, i) ?? "circle"];
      const look = {fill: ink(at(colour, i)), class: "clipft-point"};
      const place = `translate(${left.toFixed(1)},${top.toFixed(1)})`;
      const shape = node("path", {d, ...look, transform: `${place} scale(${size ?? 5})`}, group);
      const dot = {x: left, y: top, shape, text: text?.[i] ?? ""};
      if (id) this.drawing.dots.push({id: id[i], ...dot});
    });
  }

  arrows({x, y, x1, y1, colour}) {
    const place = (v, w) => `${this.px(v).toFixed(1)},${this.py(w).toFixed(1)}`;
    x.forEach((v, i) => {
      const d = `M${place(v, y[i])}L${place(x1[i], y1[i])}`;
      const look = {stroke: ink(at(colour, i)), "stroke-width": 1, opacity: 0.45};
      node("path", {d, ...look}, this.g);
    });
  }

  path(mark) {
    const {x, y, t} = mark;
    const fill = ink(mark.colour);
    this.line(mark);
    x.forEach((v, i) => {
      const transform = `translate(${this.px(v)},${this.py(y[i])}) scale(2.5)`;
      node("path", {d: SHAPES.circle, fill, transform}, this.g);
    });
    const d = SHAPES[mark.symbol ?? "circle"];
    const marker = node("path", {d, fill, class: "clipft-marker"}, this.g);
    this.drawing.movers.push((alpha) => {
      const left = this.px(between(t, x, alpha)).toFixed(2);
      const top = this.py(between(t, y, alpha)).toFixed(2);
      marker.setAttribute("transform", `translate(${left},${top}) scale(9)`);
    });
  }

  bars({t, groups}) {
    const digits = groups.length > 3 ? 0 : 1;
    groups.forEach((group, place) => {
      const bars = this.bar(group, place, groups.length);
      const show = (values) => bars.forEach((bar, i) => this.raise(bar, values[i], digits));
      if (group.table) this.drawing.movers.push((a) => show(between(t, group.table, a)));
      else show(group.values);
    });
  }

  // The bars of one group of several, one at each label, without a height.
  bar({name, colour, hollow}, place, count) {
    const slot = this.wide / this.spec.x.labels.length;
    const wide = (0.8 * slot) / count;
    const look = {class: "clipft-bar", fill: hollow ? "none" : ink(colour), stroke: ink(colour)};
    return this.spec.x.labels.map((label, i) => {
      const x = this.middle(i) - 0.4 * slot + place * wide;
      const rect = node("rect", {x: x + 1, width: wide - 2, ...look}, this.g);
      const middle = {x: x + wide / 2, "text-anchor": "middle"};
      const text = node("text", {...middle, class: "clipft-value"}, this.g);
      return {rect, text, title: `${name}, ${label}`};
    });
  }

  raise({rect, text, title}, value, digits) {
    const top = this.py(value);
    rect.setAttribute("y", top);
    rect.setAttribute("height", Math.max(0, this.box.bottom - top));
    rect.setAttribute("aria-label", `${title}: ${value.toFixed(1)}`);
    text.setAttribute("y", top - 4);
    text.textContent = value.toFixed(digits);
  }
}

class Drawing {
  constructor(model, el) {
    Object.assign(this, {model, el});
    el.classList.add("clipft-chart");
    this.handlers = {
      "change:spec": () => this.draw(),
      "change:alpha": () => this.move(),
      "change:selection change:chosen": () => this.mark(),
    };
    for (const [event, handler] of Object.entries(this.handlers)) model.on(event, handler);
    this.draw();
  }

  close() {
    for (const [event, handler] of Object.entries(this.handlers)) this.model.off(event, handler);
  }

  draw() {
    const spec = this.model.get("spec");
    this.el.replaceChildren();
    if (!spec.panels) return;
    this.dots = []; // {id, x, y in pixels, shape, text}
    this.movers = []; // functions of alpha
    if (spec.legend?.length) this.el.appendChild(legend(spec.legend));
    this.svg = this.canvas(spec);
    this.el.appendChild(this.svg);
    let left = 0;
    for (const panel of spec.panels) {
      new Panel(this, panel, left, spec.height);
      left += panel.width + GAP;
    }
    this.tip = div({className: "clipft-tip", hidden: true});
    this.el.appendChild(this.tip);
    new Hands(this, spec.lasso);
    this.move();
    this.mark();
  }

  canvas({title, height, panels}) {
    const width = panels.reduce((sum, panel) => sum + panel.width + GAP, -GAP);
    return node("svg", {
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      tabindex: 0,
      "aria-label": title,
      "data-lm-suppress-shortcuts": "true", // arrow keys are the chart's, not the notebook's
    });
  }

  move() {
    const alpha = this.model.get("alpha");
    for (const mover of this.movers) mover(alpha);
  }

  mark() {
    const chosen = this.model.get("chosen");
    const selected = new Set(this.model.get("selection"));
    for (const {id, shape} of this.dots) {
      shape.classList.toggle("clipft-chosen", id === chosen);
      shape.classList.toggle("clipft-faded", selected.size > 0 && !selected.has(id));
    }
  }

  // Show the text of a point, or none.
  tell(point) {
    this.near?.shape.classList.remove("clipft-near");
    this.near = point;
    this.tip.hidden = !point?.text;
    if (!point) return;
    point.shape.classList.add("clipft-near");
    this.tip.textContent = point.text;

    const drawn = this.svg.getBoundingClientRect();
    const width = this.svg.viewBox.baseVal.width;
    const scale = drawn.width / width || 1;
    const top = drawn.top - this.el.getBoundingClientRect().top + point.y * scale + 10;
    // Near the right edge the text stands to the left of the point.
    const flip = point.x > width * 0.65;
    const right = this.el.clientWidth - point.x * scale + 14;
    this.tip.style.left = flip ? "" : `${point.x * scale + 14}px`;
    this.tip.style.right = flip ? `${right}px` : "";
    this.tip.style.top = `${top}px`;
  }

  // The point under the mouse, or null.
  nearest([x, y]) {
    let best = null;
    let least = REACH ** 2;
    for (const dot of this.dots) {
      const distance = (dot.x - x) ** 2 + (dot.y - y) ** 2;
      if (distance < least) [best, least] = [dot, distance];
    }
    return best;
  }

  choose(id) {
    this.model.set("chosen", id);
    this.model.save_changes();
  }

  select(ids) {
    this.model.set("selection", ids);
  }

  // Tell of the next point, in reading order, or of the one before it.
  walk(step) {
    const ordered = [...this.dots].sort((a, b) => a.x - b.x || a.y - b.y);
    const now = ordered.indexOf(this.near);
    const next = now < 0 ? 0 : (now + step + ordered.length) % ordered.length;
    this.tell(ordered[next]);
  }
}

// What mouse and keyboard do to a drawing.
class Hands {
  constructor(drawing, lasso) {
    Object.assign(this, {drawing, lasso, svg: drawing.svg});
    this.trail = null; // places of the mouse while a lasso is drawn
    for (const event of ["pointermove", "pointerdown", "pointerup", "pointerleave", "keydown"]) {
      this.svg.addEventListener(event, (detail) => this[event](detail));
    }
  }

  // The place of an event in the drawing's own pixels.
  place({clientX, clientY}) {
    const box = this.svg.getBoundingClientRect();
    const {width, height} = this.svg.viewBox.baseVal;
    const x = ((clientX - box.left) / box.width) * width;
    return [x, ((clientY - box.top) / box.height) * height];
  }

  pointermove(event) {
    if (!this.trail) return this.drawing.tell(this.drawing.nearest(this.place(event)));
    this.trail.push(this.place(event));
    const places = this.trail.map((place) => place.map((v) => v.toFixed(1)).join(","));
    this.line.setAttribute("d", `M${places.join("L")}Z`);
  }

  pointerdown(event) {
    if (!this.lasso || this.drawing.nearest(this.place(event))) return;
    this.svg.setPointerCapture(event.pointerId);
    this.trail = [this.place(event)];
    this.line = node("path", {class: "clipft-lasso"}, this.svg);
  }

  pointerup(event) {
    if (this.trail) return this.take();
    const point = this.drawing.nearest(this.place(event));
    if (point) this.drawing.choose(point.id);
  }

  pointerleave() {
    this.drawing.tell(null);
  }

  // Select what lies inside the lasso, and end it.
  take() {
    const {trail, drawing} = this;
    this.line.remove();
    this.trail = null;
    const caught = drawing.dots.filter(({x, y}) => trail.length > 2 && inside([x, y], trail));
    drawing.select([...new Set(caught.map(({id}) => id))]);
    drawing.model.save_changes();
  }

  keydown(event) {
    if (!this.press(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  // Whether the key means something here.
  press(key) {
    const {drawing} = this;
    if (STEPS[key] && drawing.dots.length) {
      drawing.walk(STEPS[key]);
    } else if ((key === "Enter" || key === " ") && drawing.near) {
      drawing.choose(drawing.near.id);
    } else if (key === "Escape") {
      drawing.select([]);
      drawing.choose(-1);
    } else {
      return false;
    }
    return true;
  }
}

export default {
  render({model, el}) {
    const drawing = new Drawing(model, el);
    return () => drawing.close();
  },
};
