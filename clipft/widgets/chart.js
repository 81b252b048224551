// Draws a spec of panels as SVG in the page: no kernel is asked while alpha moves, and colours follow the theme.
// spec: {title, height, panels: [{width, x, y, marks}], legend, lasso}; an axis: {title, range, labels?, plain?}.
// marks: line {x, y}, points {x, y, text, id}, arrows {x, y, x1, y1, id}, path {x, y, t} with a marker at alpha,
//        bars {t?, groups: [{name, colour, values | table, hollow}]}; colour, symbol, dash, size, opacity as wanted.
const NS = "http://www.w3.org/2000/svg";
const SHAPES = {
  circle: "M1,0A1,1 0 1,1 -1,0A1,1 0 1,1 1,0Z", diamond: "M0,-1.3L1.1,0L0,1.3L-1.1,0Z",
  square: "M-.9,-.9H.9V.9H-.9Z", cross: "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
  "triangle-up": "M0,-1.2L1.1,.8H-1.1Z", star: "M0,-1.3L.35,-.4L1.25,-.4L.55,.2L.8,1.1L0,.55L-.8,1.1L-.55,.2L-1.25,-.4L-.35,-.4Z",
  x: "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z", pentagon: "M0,-1.2L1.15,-.35L.7,1H-.7L-1.15,-.35Z",
};
const DASHES = {solid: "", dash: "7,4", dot: "2,4", dashdot: "7,4,2,4"};
const ink = (colour) => (!colour || colour === "#000000" ? "currentColor" : colour);

function node(name, attributes, parent, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent?.appendChild(made);
  return made;
}

function ticks([low, high], count = 5) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push([i * step, (i * step).toFixed(digits)]);
  return found;
}

function between(t, values, alpha) {  // values at alpha on the line between its neighbours in t, which rises
  let i = 1;
  while (i < t.length - 1 && t[i] < alpha) i++;
  const part = t.length > 1 ? Math.min(1, Math.max(0, (alpha - t[i - 1]) / (t[i] - t[i - 1]))) : 0;
  const mix = (a, b) => a + part * (b - a);
  const [a, b] = [values[t.length > 1 ? i - 1 : 0], values[Math.min(i, t.length - 1)]];
  return Array.isArray(a) ? a.map((v, k) => mix(v, b[k])) : mix(a, b);
}

function inside([x, y], polygon) {
  let odd = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [xi, yi] = polygon[i], [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

class Drawing {
  constructor(model, el) {
    Object.assign(this, {model, el});
    el.classList.add("clipft-chart");
    this.draw = this.draw.bind(this);
    this.move = this.move.bind(this);
    this.mark = this.mark.bind(this);
    model.on("change:spec", this.draw);
    model.on("change:alpha", this.move);
    model.on("change:selection change:chosen", this.mark);
    this.draw();
  }

  close() {
    this.model.off("change:spec", this.draw);
    this.model.off("change:alpha", this.move);
    this.model.off("change:selection change:chosen", this.mark);
  }

  draw() {
    const spec = this.model.get("spec");
    this.el.replaceChildren();
    if (!spec.panels) return;
    this.dots = [];  // {id, x, y in pixels, shape, text, panel}
    this.movers = [];  // functions of alpha
    if (spec.legend?.length) this.legend(spec.legend);
    const gap = 14, width = spec.panels.reduce((sum, panel) => sum + panel.width + gap, -gap), height = spec.height;
    this.svg = node("svg", {
      viewBox: `0 0 ${width} ${height}`, width, height, role: "img", tabindex: 0, "aria-label": spec.title,
      "data-lm-suppress-shortcuts": "true",
    });
    this.el.appendChild(this.svg);
    let left = 0;
    for (const panel of spec.panels) {
      this.panel(panel, left, height);
      left += panel.width + gap;
    }
    this.tip = Object.assign(document.createElement("div"), {className: "clipft-tip", hidden: true});
    this.el.appendChild(this.tip);
    this.listen(spec);
    this.move();
    this.mark();
  }

  legend(entries) {
    const list = Object.assign(document.createElement("div"), {className: "clipft-legend"});
    for (const {name, colour, symbol, dash} of entries) {
      const item = document.createElement("span"), svg = node("svg", {width: 26, height: 14, viewBox: "-13 -7 26 14"});
      if (dash !== undefined) node("path", {d: "M-12,0H12", stroke: ink(colour), "stroke-width": 2, "stroke-dasharray": DASHES[dash] ?? ""}, svg);
      if (symbol) node("path", {d: SHAPES[symbol], transform: "scale(5)", fill: ink(colour), stroke: ink(colour), "stroke-width": 0.3}, svg);
      item.append(svg, name);
      list.appendChild(item);
    }
    this.el.appendChild(list);
  }

  panel(panel, left, height) {
    const {x, y} = panel;
    const box = {left: left + (y.plain ? 8 : 58), right: left + panel.width - 8, top: panel.title ? 26 : 10, bottom: height - (x.plain ? 10 : 46)};
    const labels = x.labels;
    const px = (v) => box.left + ((v - x.range[0]) / (x.range[1] - x.range[0] || 1)) * (box.right - box.left);
    const py = (v) => box.bottom - ((v - y.range[0]) / (y.range[1] - y.range[0] || 1)) * (box.bottom - box.top);
    const g = node("g", {}, this.svg);
    node("rect", {x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, class: "clipft-box"}, g);
    if (panel.title) node("text", {x: (box.left + box.right) / 2, y: 16, "text-anchor": "middle", class: "clipft-title"}, g, panel.title);
    const middle = (i) => box.left + ((i + 0.5) / labels.length) * (box.right - box.left);
    if (labels) labels.forEach((label, i) => node("text", {x: middle(i), y: box.bottom + 17, "text-anchor": "middle"}, g, label));
    else if (!x.plain) for (const [v, text] of ticks(x.range)) {
      node("path", {d: `M${px(v)},${box.top}V${box.bottom}`, class: "clipft-grid"}, g);
      node("text", {x: px(v), y: box.bottom + 17, "text-anchor": "middle"}, g, text);
    }
    if (!y.plain) for (const [v, text] of ticks(y.range)) {
      node("path", {d: `M${box.left},${py(v)}H${box.right}`, class: "clipft-grid"}, g);
      node("text", {x: box.left - 7, y: py(v) + 4, "text-anchor": "end"}, g, text);
    }
    if (x.title) node("text", {x: (box.left + box.right) / 2, y: box.bottom + 38, "text-anchor": "middle"}, g, x.title);
    if (y.title) node("text", {transform: `translate(${left + 15},${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle"}, g, y.title);
    for (const mark of panel.marks) this[mark.kind](mark, g, px, py, {box, labels, middle});
  }

  line({x, y, colour, dash, width, opacity}, g, px, py) {
    const d = x.map((v, i) => `${i ? "L" : "M"}${px(v).toFixed(1)},${py(y[i]).toFixed(1)}`).join("");
    node("path", {d, fill: "none", stroke: ink(colour), "stroke-width": width ?? 2, "stroke-dasharray": DASHES[dash] ?? "", opacity: opacity ?? 1}, g);
  }

  points({x, y, text, id, colour, symbol, size, opacity}, g, px, py) {
    const group = node("g", {opacity: opacity ?? 0.85}, g);
    x.forEach((v, i) => {
      const place = [px(v), py(y[i])], at = (value) => (Array.isArray(value) ? value[i] : value);
      const shape = node("path", {d: SHAPES[at(symbol) ?? "circle"], fill: ink(at(colour)), class: "clipft-point",
        transform: `translate(${place[0].toFixed(1)},${place[1].toFixed(1)}) scale(${size ?? 5})`}, group);
      if (id) this.dots.push({id: id[i], x: place[0], y: place[1], shape, text: text?.[i] ?? ""});
    });
  }

  arrows({x, y, x1, y1, colour}, g, px, py) {
    x.forEach((v, i) => {
      const stroke = ink(Array.isArray(colour) ? colour[i] : colour);
      node("path", {d: `M${px(v).toFixed(1)},${py(y[i]).toFixed(1)}L${px(x1[i]).toFixed(1)},${py(y1[i]).toFixed(1)}`, stroke, "stroke-width": 1, opacity: 0.45}, g);
    });
  }

  path(mark, g, px, py) {
    this.line(mark, g, px, py);
    for (const [i, v] of mark.x.entries()) node("path", {d: SHAPES.circle, fill: ink(mark.colour), transform: `translate(${px(v)},${py(mark.y[i])}) scale(2.5)`}, g);
    const marker = node("path", {d: SHAPES[mark.symbol ?? "circle"], fill: ink(mark.colour), class: "clipft-marker"}, g);
    this.movers.push((alpha) => {
      const [x, y] = [between(mark.t, mark.x, alpha), between(mark.t, mark.y, alpha)];
      marker.setAttribute("transform", `translate(${px(x).toFixed(2)},${py(y).toFixed(2)}) scale(9)`);
    });
  }

  bars({t, groups}, g, px, py, {box, labels, middle}) {
    const slot = (box.right - box.left) / labels.length, wide = (0.8 * slot) / groups.length;
    groups.forEach((group, k) => {
      const drawn = labels.map((label, i) => {
        const x = middle(i) - 0.4 * slot + k * wide;
        const bar = node("rect", {x: x + 1, width: wide - 2, class: "clipft-bar", fill: group.hollow ? "none" : ink(group.colour), stroke: ink(group.colour)}, g);
        return [bar, node("text", {x: x + wide / 2, "text-anchor": "middle", class: "clipft-value"}, g), label];
      });
      const set = (values) => drawn.forEach(([bar, text, label], i) => {
        bar.setAttribute("y", py(values[i]));
        bar.setAttribute("height", Math.max(0, box.bottom - py(values[i])));
        text.setAttribute("y", py(values[i]) - 4);
        text.textContent = values[i].toFixed(groups.length > 3 ? 0 : 1);
        bar.setAttribute("aria-label", `${group.name}, ${label}: ${values[i].toFixed(1)}`);
      });
      if (group.table) this.movers.push((alpha) => set(between(t, group.table, alpha)));
      else set(group.values);
    });
  }

  move() {
    const alpha = this.model.get("alpha");
    for (const mover of this.movers) mover(alpha);
  }

  mark() {
    const chosen = this.model.get("chosen"), selected = new Set(this.model.get("selection"));
    for (const point of this.dots) {
      point.shape.classList.toggle("clipft-chosen", point.id === chosen);
      point.shape.classList.toggle("clipft-faded", selected.size > 0 && !selected.has(point.id));
    }
  }

  tell(point) {
    this.near?.shape.classList.remove("clipft-near");
    this.near = point;
    this.tip.hidden = !point?.text;
    if (!point) return;
    point.shape.classList.add("clipft-near");
    this.tip.textContent = point.text;
    const scale = this.svg.getBoundingClientRect().width / this.svg.viewBox.baseVal.width || 1;
    const flip = point.x > this.svg.viewBox.baseVal.width * 0.65;
    this.tip.style.left = flip ? "" : `${point.x * scale + 14}px`;
    this.tip.style.right = flip ? `${this.el.clientWidth - point.x * scale + 14}px` : "";
    this.tip.style.top = `${this.svg.getBoundingClientRect().top - this.el.getBoundingClientRect().top + point.y * scale + 10}px`;
  }

  choose(id) {
    this.model.set("chosen", id);
    this.model.save_changes();
  }

  listen(spec) {
    const svg = this.svg, place = (event) => {
      const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
      return [((event.clientX - box.left) / box.width) * view.width, ((event.clientY - box.top) / box.height) * view.height];
    };
    const nearest = ([x, y]) => {
      let best = null, least = 14 ** 2;
      for (const p of this.dots) {
        const d = (p.x - x) ** 2 + (p.y - y) ** 2;
        if (d < least) [best, least] = [p, d];
      }
      return best;
    };
    let trail = null, line = null;
    svg.addEventListener("pointermove", (event) => {
      if (!trail) return this.tell(nearest(place(event)));
      trail.push(place(event));
      line.setAttribute("d", `M${trail.map((p) => p.map((v) => v.toFixed(1)).join(",")).join("L")}Z`);
    });
    svg.addEventListener("pointerdown", (event) => {
      if (!spec.lasso || nearest(place(event))) return;
      svg.setPointerCapture(event.pointerId);
      trail = [place(event)];
      line = node("path", {class: "clipft-lasso"}, svg);
    });
    svg.addEventListener("pointerup", (event) => {
      if (!trail) {
        const point = nearest(place(event));
        if (point) this.choose(point.id);
        return;
      }
      line.remove();
      const ids = trail.length > 2 ? this.dots.filter((p) => inside([p.x, p.y], trail)).map((p) => p.id) : [];
      trail = null;
      this.model.set("selection", [...new Set(ids)]);
      this.model.save_changes();
    });
    svg.addEventListener("pointerleave", () => this.tell(null));
    svg.addEventListener("keydown", (event) => {
      const ordered = [...this.dots].sort((a, b) => a.x - b.x || a.y - b.y), step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (step && ordered.length) {
        const now = ordered.indexOf(this.near);
        this.tell(ordered[now < 0 ? 0 : (now + step + ordered.length) % ordered.length]);
      } else if ((event.key === "Enter" || event.key === " ") && this.near) this.choose(this.near.id);
      else if (event.key === "Escape") {
        this.model.set("selection", []);
        this.choose(-1);
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
}

export default {
  render({model, el}) {
    const drawing = new Drawing(model, el);
    return () => drawing.close();
  },
};
