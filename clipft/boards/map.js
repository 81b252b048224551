// The map itself: one canvas, the mouse and the keyboard; map_groups.js stands above this text.

VIEWS.map = class {
  constructor(board, host) {
    Object.assign(this, {
      board, host, alpha: board.store.get("alpha"), showsImages: true, count: 0, width: 0, loads: 0,
      frames: 0, panels: [], outlines: [], hidden: new Set(), pictures: new Map(), pointers: new Map(),
    });
    host.clipftMap = this; // for tests
    this.shapes = Object.fromEntries(Object.entries(MAP_SHAPES).map(([name, d]) => [name, new Path2D(d)]));
    this.build();
    this.listen();
    this.load();
  }

  close() {
    this.ends.forEach((end) => end());
    cancelAnimationFrame(this.frame);
    [this.asking, this.hovering, this.classes.timer].forEach(clearTimeout);
    this.loads += 1; // an answer that comes now is nobody's
    this.host.replaceChildren();
    delete this.host.clipftMap;
  }

  build() {
    const {board} = this;
    const colour = menu(board, "colour", "colour",
      ["split", "class", "gap", "confidence", "flip"].map((name) => [name, name]));
    const places = menu(board, "places", "show",
      ["at alpha", "both", "side by side", "before", "after"].map((name) => [name, name]));
    this.against = menu(board, "against", "against", [["zero-shot", 0], ["tuned", 1]]);
    this.canvas = element("canvas", {tabIndex: 0, role: "application", "aria-roledescription": "map",
      "aria-label": MAP_NAME, "data-lm-suppress-shortcuts": "true", className: "clipft-map-canvas"});
    // Its pixels are written by this script: a canvas of the graphics card would copy them there.
    this.pen = this.canvas.getContext("2d", {alpha: false, willReadFrequently: true});
    this.tip = element("div", {className: "clipft-map-tip", hidden: true, "aria-hidden": "true"});
    this.said = element("div", {className: "clipft-said", "aria-live": "polite"});
    this.frameNode = element("div", {className: "clipft-map-frame"}, this.canvas, this.tip, this.said);
    this.groupsNode = new MapGroups((number) => this.toggleGroup(number));
    this.classes = new MapClasses((numbers) => this.selectGroups(numbers));
    this.status = element("p", {className: "clipft-map-status", role: "status"});
    this.caption = element("p", {className: "clipft-map-caption"});
    const legend = element("div", {className: "clipft-map-legend"}, this.groupsNode.node, this.classes.node);
    this.body = element("div", {className: "clipft-map-body", hidden: true}, this.frameNode, legend);
    this.below = element("div", {hidden: true}, this.caption, paragraph(MAP_HINT, "clipft-map-hint"));
    this.controls = element("div", {className: "clipft-map-controls", hidden: true},
      colour, this.against, places, this.tools());
    this.host.classList.add("clipft-map");
    this.host.replaceChildren(this.controls, this.status, this.body, this.below);
  }

  tools() {
    const tool = (text, label, press) => {
      const made = button(text, press, "clipft-map-tool");
      if (label !== text) made.setAttribute("aria-label", label);
      made.title = label;
      return made;
    };
    this.modes = ["lasso", "pan"].map((mode) => tool(mode, mode, () => this.setMode(mode)));
    this.images = tool("images", "images as points where few are in view", () => {
      this.showsImages = !this.showsImages;
      this.images.setAttribute("aria-pressed", this.showsImages);
      this.redraw();
    });
    this.images.setAttribute("aria-pressed", "true");
    this.setMode("lasso");
    return element("div", {className: "clipft-map-tools", role: "group", "aria-label": "map"}, ...this.modes,
      tool("+", "zoom in", () => this.zoom(1.5)), tool("−", "zoom out", () => this.zoom(1 / 1.5)),
      tool("whole", "whole", () => this.showWhole()), this.images,
      tool("clear", "clear", () => this.clear()));
  }

  setMode(mode) {
    this.mode = mode;
    for (const made of this.modes) made.setAttribute("aria-pressed", made.textContent === mode);
    this.canvas.dataset.mode = mode;
  }

  listen() {
    const {store} = this.board;
    const resized = new ResizeObserver(() => {
      if (Math.floor(this.frameNode.clientWidth) !== this.width) this.size();
    });
    resized.observe(this.frameNode);
    this.ends = [
      store.on("sweep", () => this.load()),
      store.on("rows", () => this.mark()),
      store.on("colour", () => this.recolour()),
      store.on("against", () => this.group()),
      store.on("places", () => this.size()),
      store.on("alpha", () => this.moveTo(store.get("alpha"))),
      onTheme(() => this.paintGroups()),
      () => resized.disconnect(),
    ];
    const on = (name, act, options) => this.canvas.addEventListener(name, act, options);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.moved(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.cancel(event));
    on("pointerleave", () => this.setHere(null));
    on("dblclick", () => this.showWhole());
    on("wheel", (event) => this.wheel(event), {passive: false}); // else the page would scroll, too
    on("blur", () => this.setHere(null));
    on("keydown", (event) => {
      if (!this.count || !this.press(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  // --- data ---

  async load() {
    this.loads += 1;
    const load = this.loads;
    const {sweep} = this.board;
    this.count = 0; // where there is no sweep, none of the run before
    this.show(sweep ? "The map is being made …" : "");
    if (!sweep) return;
    try {
      const {arrays} = await this.board.ask({what: "map", run: this.board.store.get("run")});
      if (load === this.loads) this.take(sweep, arrays);
    } catch (error) {
      if (load === this.loads) this.show(error.message);
    }
  }

  // The map, or instead of it a text.
  show(text) {
    this.status.textContent = text;
    if (text) this.count = 0;
    for (const node of [this.controls, this.body, this.below]) node.hidden = Boolean(text) || !this.count;
  }

  take(sweep, {row, before, after}) {
    this.count = row.length;
    if (!this.count) return this.show("The map of this run has no images.");
    Object.assign(this, {sweep, rows: row, before, after, now: new Float32Array(before.length), here: null});
    this.pointOf = new Int32Array(sweep.ids.length).fill(-1);
    row.forEach((number, point) => (this.pointOf[number] = point));
    this.shuffled = mapShuffled(this.count); // so that no split covers another
    this.chosen = new Uint8Array(this.count);
    this.pictures.clear();
    clearTimeout(this.asking);
    this.missing = null; // rows of another run
    this.outlines = [];
    this.canvas.dataset.points = this.count;
    this.caption.textContent = `t-SNE of energy vectors: ${sweep.called}, ${plural(this.count, "image")}; ` +
      "places between zero-shot and tuned are on the line; the axes have no unit";
    this.show("");
    this.setAlpha(this.board.store.get("alpha"));
    this.view = null;
    this.size();
    this.recolour();
    this.mark();
  }

  // --- groups ---

  recolour() {
    const colour = this.board.store.get("colour");
    this.hidden.clear();
    this.against.hidden = colour !== "flip";
    this.classes.node.hidden = colour !== "class";
    this.groupsNode.node.hidden = colour === "class";
    this.classes.clear(); // its numbers are of other groups
    this.group();
    if (this.count && colour === "class") this.classes.show(this.groups, this.counts);
  }

  group() {
    if (!this.count) return;
    const {sweep, rows, board: {store}} = this;
    const colour = store.get("colour");
    this.scored = sweep.nearest(store.get("alpha"));
    const made = MAP_GROUPS[colour](sweep, rows, this.scored, sweep.nearest(store.get("against")));
    Object.assign(this, made);
    this.counts = new Uint32Array(this.groups.length);
    for (const number of this.of) this.counts[number] += 1;
    // What was lost lies on top, what was gained below that.
    this.order = colour === "flip" ? this.byGroup() : this.shuffled;
    const hasNone = colour === "gap" && !sweep.gap;
    this.status.textContent = hasNone ? "No energy gap of single images is known: colours are splits." : "";
    this.paintGroups();
  }

  byGroup() {
    const {of, counts, shuffled} = this;
    const ends = Array.from(counts, (_, number) => counts.subarray(0, number).reduce((sum, n) => sum + n, 0));
    const order = new Uint32Array(this.count);
    for (const point of shuffled) order[ends[of[point]]++] = point;
    return order;
  }

  // What follows from the theme, and from which groups are hidden.
  paintGroups() {
    if (!this.count) return;
    const dark = isDark();
    this.ground = dark ? "#111111" : "#ffffff";
    this.ink = dark ? "#ffffff" : "#000000";
    this.grid = dark ? "#444444" : "#dddddd";
    this.off = Uint8Array.from(this.groups, ({title}) => Number(this.hidden.has(title)));
    this.strong = Uint32Array.from(this.groups, ({colour}) => mapPixel(colour, this.ground, 1));
    this.pale = Uint32Array.from(this.groups, ({colour}) => mapPixel(colour, this.ground, 0.14));
    if (!this.groupsNode.node.hidden) this.groupsNode.show(this.groups, this.counts, this.hidden);
    this.outlined = undefined;
    this.redraw();
  }

  toggleGroup(number) {
    const {title} = this.groups[number];
    if (!this.hidden.delete(title)) this.hidden.add(title);
    this.setHere(null);
    this.paintGroups();
  }

  isShown(point) {
    return !this.off[this.of[point]];
  }

  // --- selection ---

  rowsWhere(holds) {
    return Array.from(this.rows.filter((_, point) => holds(point))).sort((a, b) => a - b);
  }

  select(rows, outlines = []) {
    this.outlines = outlines;
    this.board.select(rows);
  }

  add(rows, outlines = this.outlines) {
    this.select([...new Set([...(this.board.rows ?? []), ...rows])].sort((a, b) => a - b), outlines);
  }

  toggle(row) {
    const rows = [...(this.board.rows ?? [])];
    if (rows.includes(row)) this.select(rows.filter((other) => other !== row));
    else this.add([row], []);
  }

  selectGroups(numbers) {
    const wanted = new Set(numbers);
    this.select(wanted.size ? this.rowsWhere((point) => wanted.has(this.of[point])) : []);
  }

  clear() {
    this.setHere(null);
    this.classes.field.value = "";
    this.classes.clear();
    this.select([]);
  }

  // The selection has changed.
  mark() {
    if (!this.count) return;
    const rows = this.board.rows ?? [];
    this.chosen.fill(0);
    for (const row of rows) {
      if (this.pointOf[row] >= 0) this.chosen[this.pointOf[row]] = 1;
    }
    this.anyChosen = rows.length > 0;
    this.only = rows.length === 1 ? this.pointOf[rows[0]] : -1;
    if (!this.anyChosen) this.outlines = [];
    if (this.classes.chosen.length && !this.holdsClasses()) this.classes.clear();
    this.outlined = undefined;
    this.redraw();
  }

  // Whether what is selected is what the list of classes has chosen.
  holdsClasses() {
    const wanted = new Set(this.classes.chosen);
    return this.chosen.every((chosen, point) => Boolean(chosen) === wanted.has(this.of[point]));
  }

  // The lassos stay while they hold what is selected: not where that was changed since, nor where
  // alpha or other places have moved the points.
  outlinesHold() {
    const inside = this.outlines.map((outline) => {
      const panel = this.panels.find(({name}) => name === outline.name);
      return panel && ((point) => this.isIn(outline, panel.at, point));
    });
    if (!inside.length || !inside.every(Boolean)) return false;
    for (let point = 0; point < this.count; point++) {
      const isInOne = inside.some((has) => has(point));
      if (this.isShown(point) && isInOne !== Boolean(this.chosen[point])) return false;
    }
    return true;
  }

  isIn({x, y, box}, at, point) {
    const px = at[2 * point];
    const py = at[2 * point + 1];
    if (px < box[0] || px > box[2] || py < box[1] || py > box[3]) return false;
    return isInside({x: px, y: py}, {x, y});
  }

  // --- places ---

  // Small steps come from a slider that is dragged; a larger one is shown as a movement.
  moveTo(alpha) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = Math.abs(alpha - this.alpha);
    this.motion = step < 0.06 || calm ? null : {from: this.alpha, to: alpha, began: performance.now()};
    if (!this.motion) this.setAlpha(alpha);
    const colour = this.board.store.get("colour");
    const follows = colour === "confidence" || colour === "flip";
    if (this.count && follows && this.sweep.nearest(alpha) !== this.scored) this.group();
    if (this.here) this.fillTip();
    this.redraw();
  }

  stepMotion(now) {
    if (!this.motion) return;
    const {from, to, began} = this.motion;
    const part = Math.min(1, Math.max(0, (now - began) / 300));
    this.setAlpha(part < 1 ? mix(from, to, part * part * (3 - 2 * part)) : to);
    if (part < 1) this.redraw();
    else this.motion = null;
  }

  setAlpha(alpha) {
    this.alpha = alpha;
    this.canvas.dataset.alpha = alpha;
    if (!this.count) return;
    const {before, after, now} = this;
    for (let i = 0; i < now.length; i++) now[i] = before[i] + alpha * (after[i] - before[i]);
    this.outlined = undefined;
    this.stale = true;
  }

  // --- layout and view ---

  size() {
    const width = Math.floor(this.frameNode.clientWidth);
    if (!width || !this.count) return; // not to be seen
    const isPair = this.board.store.get("places") === "side by side";
    const stacked = isPair && width < 560;
    const height = stacked ? Math.round(1.7 * width) : Math.max(320, Math.min(640, Math.round(0.62 * width)));
    this.width = width;
    this.ratio = devicePixelRatio;
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    Object.assign(this.canvas.style, {width: `${width}px`, height: `${height}px`});
    this.image = this.pen.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.panels = this.layOut(width, height, isPair, stacked);
    this.fit();
    this.outlined = undefined;
    this.redraw();
  }

  // Panels: {name and at: which places they show, title, and where they lie}
  layOut(width, height, isPair, stacked) {
    const panel = (name, title, left, top, right, bottom) => {
      const middle = {x: (left + right) / 2, y: (top + bottom) / 2};
      return {name, at: this[name], title, left, top, right, bottom, middle};
    };
    const places = this.board.store.get("places");
    const only = places === "before" || places === "after" ? places : "now";
    if (!isPair) return [panel(only, "", 0, 0, width, height)];
    const head = 22;
    const gap = 8;
    if (stacked) {
      const half = height / 2;
      return [panel("before", "zero-shot", 0, head, width, half - gap),
        panel("after", "tuned", 0, half + head, width, height)];
    }
    const half = (width - gap) / 2;
    return [panel("before", "zero-shot", 0, head, half, height),
      panel("after", "tuned", half + gap, head, width, height)];
  }

  // The scale of the whole, which a view that showed the whole keeps to. One scale for x and y: the
  // places' distances are t-SNE's.
  fit() {
    const wasWhole = !this.view || this.isWhole;
    const [left, low, right, high] = this.bounds();
    const [{left: l, right: r, top, bottom}] = this.panels;
    const room = 0.92;
    const scale = room * Math.min((r - l) / (right - left || 1), (bottom - top) / (high - low || 1));
    this.whole = {x: (left + right) / 2, y: (low + high) / 2, scale};
    if (wasWhole) this.view = {...this.whole};
    this.isWhole = wasWhole;
  }

  bounds() {
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const places of [this.before, this.after]) {
      for (let i = 0; i < places.length; i++) {
        const side = i % 2;
        if (places[i] < box[side]) box[side] = places[i];
        if (places[i] > box[side + 2]) box[side + 2] = places[i];
      }
    }
    return box;
  }

  toScreen({middle}, x, y) {
    return [middle.x + (x - this.view.x) * this.view.scale, middle.y - (y - this.view.y) * this.view.scale];
  }

  toData({middle}, x, y) {
    return [this.view.x + (x - middle.x) / this.view.scale, this.view.y - (y - middle.y) / this.view.scale];
  }

  screenOf(panel, point) {
    return this.toScreen(panel, panel.at[2 * point], panel.at[2 * point + 1]);
  }

  // For tests: where the image of a row lies, in CSS pixels of the canvas.
  placeOf(row, panel = 0) {
    return this.screenOf(this.panels[panel], this.pointOf[row]);
  }

  showWhole() {
    this.view = {...this.whole};
    this.isWhole = true;
    this.redraw();
  }

  // Zoom about a place of a panel; without one about the image that is pointed at, or the middle.
  zoom(factor, panel = this.panels[this.here?.panel ?? 0], place = null) {
    const {view, whole} = this;
    const middle = this.here ? this.screenOf(panel, this.here.point) : [panel.middle.x, panel.middle.y];
    const [dataX, dataY] = this.toData(panel, ...(place ?? middle));
    const scale = Math.min(5000 * whole.scale, Math.max(0.5 * whole.scale, view.scale * factor));
    const part = view.scale / scale;
    this.view = {x: dataX + (view.x - dataX) * part, y: dataY + (view.y - dataY) * part, scale};
    this.isWhole = false;
    this.redraw();
  }

  pan(dx, dy) {
    this.view.x -= dx / this.view.scale;
    this.view.y += dy / this.view.scale;
    this.isWhole = false;
    this.redraw();
  }

  // --- drawing ---

  // points: whether they are to be drawn anew, and not only what lies above them
  redraw(points = true) {
    this.stale ||= points;
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      if (this.count && this.width) this.draw(now);
    });
  }

  // CSS pixels. A map that is zoomed has larger points, as if it had fewer of them.
  radius() {
    const crowd = this.count * Math.min(1, this.whole.scale / this.view.scale) ** 2;
    return Math.min(6, Math.max(1.5, 6 * (500 / crowd) ** 0.26));
  }

  draw(now) {
    if (this.ratio !== devicePixelRatio) this.size();
    this.stepMotion(now);
    const {pen, ratio, canvas} = this;
    const seen = this.panels.map((panel) => this.seenIn(panel, MAP_FEW));
    const isFew = seen.every(Boolean);
    if (!isFew && this.stale) this.stamp();
    this.stale = false;
    if (isFew) {
      pen.fillStyle = this.ground;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.fillRect(0, 0, canvas.width, canvas.height);
    } else pen.putImageData(this.image, 0, 0);

    const asImages = isFew && this.areImages(seen);
    this.reach = asImages ? 0.7 * MAP_TILE : this.radius();
    pen.lineWidth = 1;
    this.panels.forEach((panel, number) => {
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.save();
      pen.beginPath();
      pen.rect(panel.left, panel.top, panel.right - panel.left, panel.bottom - panel.top);
      pen.clip();
      if (this.board.store.get("places") === "both") this.drawLines(panel);
      if (asImages) this.drawImages(panel, seen[number]);
      else if (isFew) this.drawShapes(panel, seen[number]);
      this.drawOutlines(panel);
      this.drawRings(panel);
      pen.restore();
      this.drawFrame(panel);
    });
    if (this.here) this.placeTip();
    this.frames += 1;
    canvas.dataset.drawn = this.frames;
  }

  // The points of a panel that are in view, in their order, those that are faded first; null where
  // they are more than some.
  seenIn({at, left, right, top, bottom, middle}, most) {
    const {order, of, off, chosen, view, anyChosen} = this;
    const edge = 8 / view.scale; // a part of a point is seen, too
    const low = view.x + (left - middle.x) / view.scale - edge;
    const high = view.x + (right - middle.x) / view.scale + edge;
    const floor = view.y - (bottom - middle.y) / view.scale - edge;
    const ceiling = view.y - (top - middle.y) / view.scale + edge;
    const found = [];
    for (let i = 0; i < order.length; i++) {
      const point = order[i];
      const x = at[2 * point];
      const y = at[2 * point + 1];
      if (x < low || x > high || y < floor || y > ceiling || off[of[point]]) continue;
      found.push(point);
      if (found.length > most) return null;
    }
    if (!anyChosen) return found;
    return [...found.filter((point) => !chosen[point]), ...found.filter((point) => chosen[point])];
  }

  // All points into the pixels.
  stamp() {
    this.pixels.fill(mapPixel(this.ground, this.ground, 1));
    const rows = discRows(this.radius() * this.ratio);
    for (const panel of this.panels) {
      if (this.anyChosen) this.stampPanel(panel, rows, this.pale, 0);
      this.stampPanel(panel, rows, this.strong, 1);
    }
  }

  stampPanel({at, middle, left, right, top, bottom}, rows, colours, wanted) {
    const {order, of, off, chosen, anyChosen, view, ratio, pixels} = this;
    const width = this.canvas.width;
    const scale = view.scale * ratio;
    const startX = middle.x * ratio - view.x * scale;
    const startY = middle.y * ratio + view.y * scale;
    const [first, last, upper, lower] = [left, right, top, bottom].map((edge) => Math.round(edge * ratio));
    const reach = rows.length;
    for (let i = 0; i < order.length; i++) {
      const point = order[i];
      if (off[of[point]] || (anyChosen && chosen[point] !== wanted)) continue;
      const x = Math.round(startX + at[2 * point] * scale);
      const y = Math.round(startY - at[2 * point + 1] * scale);
      if (x < first - reach || x > last + reach || y < upper - reach || y > lower + reach) continue;
      const colour = colours[of[point]];
      for (let j = 0; j < reach; j++) {
        const line = y + rows[j][0];
        if (line < upper || line >= lower) continue;
        const end = line * width + Math.min(last - 1, x + rows[j][1]);
        for (let k = line * width + Math.max(first, x - rows[j][1]); k <= end; k++) pixels[k] = colour;
      }
    }
  }

  // How strongly a point is drawn.
  weight(point, least = 0.1) {
    return !this.anyChosen || this.chosen[point] ? 1 : least;
  }

  drawShapes(panel, points) {
    const {pen, ratio} = this;
    const radius = this.radius() * ratio * 0.9;
    for (const point of points) {
      const {colour, symbol} = this.groups[this.of[point]];
      const [x, y] = this.screenOf(panel, point);
      pen.setTransform(radius, 0, 0, radius, x * ratio, y * ratio);
      pen.globalAlpha = 0.8 * this.weight(point);
      pen.fillStyle = colour;
      pen.fill(this.shapes[symbol]);
    }
    pen.globalAlpha = 1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  // A line from the zero-shot place: of all images, or where these are many of those that matter.
  drawLines(panel) {
    const {pen, here} = this;
    const matter = this.count > MAP_FEW && this.anyChosen;
    let points = this.count > MAP_FEW ? [] : this.order;
    if (matter) points = this.order.filter((point) => this.chosen[point]).slice(0, MAP_FEW);
    if (here) points = [...points, here.point];
    for (const point of points) {
      if (!this.isShown(point)) continue;
      const [x, y] = this.screenOf(panel, point);
      const [startX, startY] = this.toScreen(panel, this.before[2 * point], this.before[2 * point + 1]);
      const weight = point === here?.point ? 1 : this.weight(point);
      pen.globalAlpha = (point === here?.point ? 1 : 0.45) * weight;
      pen.strokeStyle = this.groups[this.of[point]].colour;
      pen.beginPath();
      pen.moveTo(startX, startY);
      pen.lineTo(x, y);
      pen.stroke();
      pen.globalAlpha = 0.75 * weight;
      pen.fillStyle = MAP_GREY;
      pen.beginPath();
      pen.arc(startX, startY, 2, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
  }

  drawFrame({title, left, top, right, bottom}) {
    const {pen} = this;
    pen.strokeStyle = this.grid;
    pen.strokeRect(left + 0.5, top + 0.5, right - left - 1, bottom - top - 1);
    if (!title) return;
    pen.fillStyle = this.ink;
    pen.font = "13px Helvetica, Arial, sans-serif";
    pen.textBaseline = "middle";
    pen.fillText(title, left + 6, top - 10);
  }

  drawOutlines(panel) {
    const {drag, pen} = this;
    this.outlined ??= this.outlinesHold();
    const shown = this.outlined && drag?.kind !== "lasso" ? [...this.outlines] : [];
    if (drag?.kind === "lasso" && drag.hasMoved) shown.push({name: drag.panel.name, x: drag.x, y: drag.y});
    pen.strokeStyle = "#56B4E9";
    pen.fillStyle = "rgba(86,180,233,0.12)";
    pen.lineWidth = 1.5;
    pen.setLineDash([6, 4]);
    for (const {name, x, y} of shown) {
      if (name !== panel.name) continue;
      pen.beginPath();
      x.forEach((value, i) => pen.lineTo(...this.toScreen(panel, value, y[i])));
      pen.closePath();
      pen.fill();
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.lineWidth = 1;
  }

  // Around the image that is pointed at, and around one that is selected alone.
  drawRings(panel) {
    const {pen, here, only} = this;
    pen.strokeStyle = this.ink;
    pen.lineWidth = 2;
    for (const point of new Set([here ? here.point : -1, only])) {
      if (point < 0 || !this.isShown(point)) continue;
      pen.beginPath();
      pen.arc(...this.screenOf(panel, point), this.reach + 5, 0, 7);
      pen.stroke();
    }
    pen.lineWidth = 1;
  }

  // --- images as points ---

  areImages(seen) {
    const total = seen.reduce((sum, points) => sum + points.length, 0);
    return this.showsImages && total <= MAP_IMAGES && this.view.scale > 1.01 * this.whole.scale;
  }

  drawImages(panel, points) {
    const {pen} = this;
    for (const point of points) {
      const picture = this.pictures.get(this.rows[point]);
      if (!picture) {
        this.drawShapes(panel, [point]);
        continue;
      }
      const [x, y] = this.screenOf(panel, point);
      const size = MAP_TILE / Math.max(picture.naturalWidth, picture.naturalHeight);
      const [width, height] = [picture.naturalWidth * size, picture.naturalHeight * size];
      pen.globalAlpha = this.weight(point, 0.2);
      pen.drawImage(picture, x - width / 2, y - height / 2, width, height);
      pen.strokeStyle = this.groups[this.of[point]].colour;
      pen.lineWidth = 3;
      pen.strokeRect(x - width / 2, y - height / 2, width, height);
    }
    pen.globalAlpha = 1;
    pen.lineWidth = 1;
    this.wantPictures(points.map((point) => this.rows[point]));
  }

  // Asked for when the view has come to rest, in one question.
  wantPictures(rows) {
    const missing = rows.filter((row) => !this.pictures.has(row));
    if (!missing.length) return;
    this.missing = new Set([...(this.missing ?? []), ...missing]);
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.askPictures(), 80);
  }

  async askPictures() {
    const rows = [...(this.missing ?? [])];
    const load = this.loads;
    this.missing = null;
    if (!rows.length) return;
    if (this.pictures.size > 2000) this.pictures.clear();
    for (const row of rows) this.pictures.set(row, null); // those without a picture stay so
    const addresses = await this.board.thumbnails(rows).catch(() => []);
    if (load !== this.loads) return;
    await Promise.all(addresses.map(async (address, i) => {
      if (!address) return;
      const picture = element("img", {src: address});
      await picture.decode().catch(() => {});
      if (picture.naturalWidth && load === this.loads) this.pictures.set(rows[i], picture);
    }));
    this.redraw();
  }

  // --- the image that is pointed at ---

  setHere(here) {
    if (here?.point === this.here?.point && here?.panel === this.here?.panel) return;
    this.here = here;
    this.tip.hidden = !here;
    if (here) this.fillTip();
    this.redraw(false);
  }

  about(row) {
    const {sweep} = this;
    const label = sweep.label[row];
    const said = (title, place) => {
      const predicted = sweep.prediction(place)[row];
      return `${title} ${predicted === label ? "✓" : "✗"} ${sweep.name(predicted)}`;
    };
    const last = sweep.alphas.length - 1;
    const place = sweep.nearest(this.board.store.get("alpha"));
    const texts = [sweep.name(label), `${sweep.domains[sweep.split[row]]}: ${sweep.ids[row]}`,
      said("zero-shot", 0), said("tuned", last)];
    if (place > 0 && place < last) texts.push(said(`alpha ${sweep.alphas[place].toFixed(2)}`, place));
    if (sweep.gap) texts.push(`energy gap ${sweep.gap[row].toFixed(2)} squared logits`);
    return texts;
  }

  fillTip() {
    const row = this.rows[this.here.point];
    const texts = this.about(row);
    const picture = element("img", {alt: "", hidden: true});
    this.tip.replaceChildren(picture, ...texts.map((text) => element("div", {}, text)));
    this.said.textContent = texts.join("; ");
    clearTimeout(this.hovering);
    // A mouse on its way passes many images: that one is asked for on which it rests.
    this.hovering = setTimeout(async () => {
      const [address] = await this.board.thumbnails([row]).catch(() => []);
      if (!address) return;
      Object.assign(picture, {src: address, hidden: false});
      this.redraw(false); // the tip has grown
    }, 60);
  }

  // Beside the image, within the frame.
  placeTip() {
    const {tip, here, frameNode, canvas} = this;
    const [x, y] = this.screenOf(this.panels[here.panel], here.point);
    const room = this.reach + 10;
    const left = x + room + tip.offsetWidth <= frameNode.clientWidth ? x + room : x - room - tip.offsetWidth;
    const top = Math.min(y - 20, canvas.clientHeight - tip.offsetHeight - 4);
    Object.assign(tip.style, {left: `${Math.max(0, left)}px`, top: `${Math.max(4, top)}px`});
  }

  // --- mouse and touch ---

  panelAt(x, y) {
    const at = this.panels.findIndex(({left, right, top, bottom}) =>
      x >= left && x <= right && y >= top && y <= bottom);
    return Math.max(0, at);
  }

  // The nearest point to a place of the canvas, {point, panel}, or null where none is near.
  near(x, y) {
    const number = this.panelAt(x, y);
    const panel = this.panels[number];
    const [dataX, dataY] = this.toData(panel, x, y);
    const {at} = panel;
    let best = (Math.max(8, this.reach + 3) / this.view.scale) ** 2;
    let found = null;
    for (let point = 0; point < this.count; point++) {
      const dx = at[2 * point] - dataX;
      const dy = at[2 * point + 1] - dataY;
      if (dx * dx + dy * dy > best || !this.isShown(point)) continue;
      best = dx * dx + dy * dy;
      found = {point, panel: number};
    }
    return found;
  }

  placeIn(event) {
    const {left, top} = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  down(event) {
    if (event.button !== 0 || !this.count) return;
    event.preventDefault(); // no selection of text
    this.canvas.focus({preventScroll: true});
    this.canvas.setPointerCapture(event.pointerId);
    const [x, y] = this.placeIn(event);
    this.pointers.set(event.pointerId, [x, y]);
    if (this.pointers.size > 1) return void (this.drag = {kind: "pinch"});
    const kind = event.shiftKey || this.mode === "pan" ? "pan" : "lasso";
    const panel = this.panels[this.panelAt(x, y)];
    const [dataX, dataY] = this.toData(panel, x, y);
    this.drag = {kind, panel, start: [x, y], last: [x, y], x: [dataX], y: [dataY]};
  }

  moved(event) {
    if (!this.count) return;
    const [x, y] = this.placeIn(event);
    const {drag} = this;
    if (!drag || !this.pointers.has(event.pointerId)) return this.setHere(this.near(x, y));
    if (drag.kind === "pinch") return this.pinch(event.pointerId, [x, y]);
    const [dx, dy] = [x - drag.last[0], y - drag.last[1]];
    if (Math.hypot(dx, dy) < (drag.hasMoved ? 2 : 4)) return;
    drag.hasMoved = true;
    drag.last = [x, y];
    this.setHere(null);
    if (drag.kind === "pan") return this.pan(dx, dy);
    const [dataX, dataY] = this.toData(drag.panel, x, y);
    drag.x.push(dataX);
    drag.y.push(dataY);
    this.redraw(false);
  }

  // Two fingers: what lies between them stays there.
  pinch(id, place) {
    const spread = ([[x0, y0], [x1, y1]]) =>
      ({x: (x0 + x1) / 2, y: (y0 + y1) / 2, wide: Math.hypot(x1 - x0, y1 - y0)});
    if (this.pointers.size < 2) return; // one of them was lifted
    const old = spread([...this.pointers.values()]);
    this.pointers.set(id, place);
    const now = spread([...this.pointers.values()]);
    this.pan(now.x - old.x, now.y - old.y);
    this.zoom(now.wide / Math.max(1, old.wide), this.panels[this.panelAt(now.x, now.y)], [now.x, now.y]);
  }

  up(event) {
    const {drag} = this;
    this.cancel(event);
    if (!drag || drag.kind === "pinch") return;
    const adds = event.ctrlKey || event.metaKey;
    if (!drag.hasMoved) this.click(...this.placeIn(event), adds);
    else if (drag.kind === "lasso") this.lasso(drag, adds);
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    if (this.drag?.kind !== "pinch" || !this.pointers.size) this.drag = null;
    this.redraw(false);
  }

  lasso({panel, x, y}, adds) {
    const outline = {name: panel.name, x: [...x, x[0]], y: [...y, y[0]],
      box: [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)]};
    const rows = this.rowsWhere((point) => this.isShown(point) && this.isIn(outline, panel.at, point));
    if (adds) this.add(rows, [...this.outlines, outline]);
    else this.select(rows, [outline]);
  }

  click(x, y, adds) {
    const near = this.near(x, y);
    if (!near) return void (adds || this.select([]));
    const row = this.rows[near.point];
    if (adds) this.toggle(row);
    else this.select([row]);
  }

  // Only where the map is in use: a page goes on scrolling under the mouse.
  wheel(event) {
    if (!this.count || !(event.ctrlKey || this.canvas.matches(":focus"))) return;
    event.preventDefault();
    const [x, y] = this.placeIn(event);
    const lines = event.deltaMode ? 30 : 1;
    this.zoom(Math.exp(-0.002 * lines * event.deltaY), this.panels[this.panelAt(x, y)], [x, y]);
  }

  // --- the keyboard ---

  press({key, ctrlKey, metaKey, altKey, shiftKey}) {
    const adds = ctrlKey || metaKey;
    const {here} = this;
    if (altKey) return false;
    if ((key === "Enter" || key === " ") && here) {
      const row = this.rows[here.point];
      if (adds) this.toggle(row);
      else this.select([row]);
    } else if (adds) return false;
    else if (MAP_ARROWS[key]) {
      const [x, y] = MAP_ARROWS[key];
      if (shiftKey) this.pan(-60 * x, 60 * y);
      else this.walk(x, y);
    } else if (key === "+" || key === "=") this.zoom(1.5);
    else if (key === "-") this.zoom(1 / 1.5);
    else if (key === "0") this.showWhole();
    else if (key === "s") this.selectInView();
    else if (key === "Escape") this.clear();
    else return false;
    return true;
  }

  selectInView() {
    const seen = new Set(this.panels.flatMap((panel) => this.seenIn(panel, Infinity)));
    this.select(this.rowsWhere((point) => seen.has(point)));
    this.said.textContent = `${seen.size} images in view selected`;
  }

  // To the nearest point that lies more that way than across it. Beyond the last one of a panel the
  // walk goes to the same image in the panel beside.
  walk(wayX, wayY) {
    const panel = this.here?.panel ?? 0;
    const {at} = this.panels[panel];
    const start = this.here?.point;
    const fromX = start === undefined ? this.view.x : at[2 * start];
    const fromY = start === undefined ? this.view.y : at[2 * start + 1];
    let best = Infinity;
    let next = null;
    for (let point = 0; point < this.count; point++) {
      if (point === start || !this.isShown(point)) continue;
      const dx = at[2 * point] - fromX;
      const dy = at[2 * point + 1] - fromY;
      const along = dx * wayX + dy * wayY;
      const across = Math.abs(dx * wayY) + Math.abs(dy * wayX);
      const far = dx * dx + dy * dy;
      if (far >= best || (start !== undefined && (along <= 0 || across > along))) continue;
      best = far;
      next = point;
    }
    const other = panel + wayX;
    if (next !== null) this.setHere({point: next, panel});
    else if (start !== undefined && this.panels[other]) this.setHere({point: start, panel: other});
    this.bringIntoView();
  }

  bringIntoView() {
    if (!this.here) return;
    const panel = this.panels[this.here.panel];
    const {left, right, top, bottom, middle} = panel;
    const [x, y] = this.screenOf(panel, this.here.point);
    const room = 20;
    if (x > left + room && x < right - room && y > top + room && y < bottom - room) return;
    this.pan(middle.x - x, middle.y - y);
  }
};
