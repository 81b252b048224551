// What colours of the map say, as groups of points with legends; and how points become pixels.
const MAP_COLOURS = [ // OTHER_COLOURS of figures/style.py
  "#8E63CE", "#B5793B", "#C2255C", "#7CA716", "#1AA7B0", "#6B7FD7", "#9A8C00", "#A0568C",
];
const MAP_SCALE = ["#3B528B", "#2C728E", "#21918C", "#3FBC73", "#AADC32", "#E5C100"]; // from viridis
const MAP_SHAPES = {
  circle: "M1,0A1,1 0 1,1 -1,0A1,1 0 1,1 1,0Z",
  diamond: "M0,-1.3L1.1,0L0,1.3L-1.1,0Z",
  square: "M-.9,-.9H.9V.9H-.9Z",
  cross: "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
  "triangle-up": "M0,-1.2L1.1,.8H-1.1Z",
  star: "M0,-1.3L.35,-.4L1.25,-.4L.55,.2L.8,1.1L0,.55L-.8,1.1L-.55,.2L-1.25,-.4L-.35,-.4Z",
  x: "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
  pentagon: "M0,-1.2L1.15,-.35L.7,1H-.7L-1.15,-.35Z",
};
const MAP_SYMBOLS = Object.keys(MAP_SHAPES);
// Blue and vermilion are told apart with any colour vision; what stayed as it was is grey.
const MAP_FLIPS = [
  {title: "right in both", colour: "#B4B4B4", symbol: "circle"},
  {title: "wrong in both", colour: "#6A6A6A", symbol: "x"},
  {title: "gained", colour: "#0A84D0", symbol: "triangle-up"},
  {title: "lost", colour: "#D55E00", symbol: "diamond"},
];
const MAP_GREY = "#777777"; // a zero-shot place
const MAP_FEW = 2000; // as many points are drawn with their symbols, more as discs of pixels
const MAP_IMAGES = 150; // as many points in view are drawn as images
const MAP_TILE = 40; // pixels of such an image
const MAP_ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
const MAP_HINT = "Draw around images to select them, with Ctrl to add them. Shift and the mouse, or “pan”, " +
  "moves the map; after a click in it, or with Ctrl, the wheel zooms; a double click shows the whole. " +
  "Far enough in, points are images. Keys: arrows go to the nearest image that way, Enter selects it " +
  "(Ctrl and Enter adds it), s selects all in view, + and - zoom, 0 the whole, Shift and arrows move, " +
  "Escape clears.";
const MAP_NAME = "Map of images. Arrows: to the nearest image that way; Enter: select it; Ctrl and Enter: " +
  "add it; s: select all in view; plus and minus: zoom; 0: the whole; Shift and arrows: move; Escape: clear.";

// --- groups of points: what colours say ---

const mapLook = (number) => ({
  colour: MAP_COLOURS[number % 8],
  symbol: MAP_SYMBOLS[Math.floor(number / 8) % 8],
});

// Each takes (sweep, rows of the points, places of alpha and of what it is compared with) and gives
// {groups: [{title, colour, symbol}], of: the number of each point's group}.
const MAP_GROUPS = {
  split(sweep, rows) {
    // A split differs from the next one by its symbol, too.
    const looks = sweep.domains.map((title, number) =>
      ({title, colour: MAP_COLOURS[number % 8], symbol: MAP_SYMBOLS[number % 8]}));
    return {groups: looks, of: Uint16Array.from(rows, (row) => sweep.split[row])};
  },

  class(sweep, rows) {
    const labels = [...new Set(Array.from(rows, (row) => sweep.label[row]))];
    const groups = labels.map((label) => ({title: sweep.name(label), ...mapLook(label)}));
    const numbers = new Map(labels.map((label, number) => [label, number]));
    return {groups, of: Uint16Array.from(rows, (row) => numbers.get(sweep.label[row]))};
  },

  gap(sweep, rows) {
    if (!sweep.gap) return MAP_GROUPS.split(sweep, rows);
    const gaps = Float32Array.from(rows, (row) => sweep.gap[row]);
    const sorted = gaps.slice().sort();
    const edges = [0, 1, 2, 3, 4, 5, 6].map((sixth) => {
      const place = (sixth / 6) * (sorted.length - 1);
      return mix(sorted[Math.floor(place)], sorted[Math.ceil(place)], place % 1);
    });
    const groups = MAP_SCALE.map((colour, number) => {
      const [low, high] = [edges[number], edges[number + 1]].map((edge) => edge.toFixed(2));
      return {title: `gap ${low} to ${high}`, colour, symbol: "circle"};
    });
    const inner = edges.slice(1, 6);
    return {groups, of: Uint16Array.from(gaps, (gap) => inner.filter((edge) => edge <= gap).length)};
  },

  confidence(sweep, rows, place) {
    const confidence = sweep.confidence(place);
    const groups = MAP_SCALE.map((colour, number) => {
      const [low, high] = [number / 6, (number + 1) / 6].map((edge) => edge.toFixed(2));
      return {title: `confidence ${low} to ${high}`, colour, symbol: "circle"};
    });
    return {groups, of: Uint16Array.from(rows, (row) => Math.min(5, Math.floor(6 * confidence[row])))};
  },

  flip(sweep, rows, place, against) {
    const now = sweep.prediction(place);
    const then = sweep.prediction(against);
    const of = Uint16Array.from(rows, (row) => {
      const label = sweep.label[row];
      return now[row] === label ? (then[row] === label ? 0 : 2) : (then[row] === label ? 3 : 1);
    });
    return {groups: MAP_FLIPS, of};
  },
};

// --- legends ---

function mapSwatch({colour, symbol}) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "-1.5 -1.5 3 3");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", MAP_SHAPES[symbol]);
  path.setAttribute("fill", colour);
  svg.append(path);
  return svg;
}

// A button for each group, which hides and shows it.
class MapGroups {
  constructor(toggle) {
    this.toggle = toggle;
    this.node = element("div", {className: "clipft-map-groups", role: "group", "aria-label": "groups"});
    this.titles = [];
  }

  // The same groups keep their buttons: one that has the focus must not go while alpha moves.
  show(groups, counts, hidden) {
    const titles = groups.map(({title}) => title);
    if (titles.join("\n") !== this.titles.join("\n")) {
      this.node.replaceChildren(...groups.map((group, number) => this.entry(group, number)));
      this.titles = titles;
    }
    [...this.node.children].forEach((entry, number) => {
      entry.lastChild.textContent = counts[number];
      entry.setAttribute("aria-pressed", !hidden.has(titles[number]));
    });
  }

  entry(group, number) {
    const entry = button("", () => this.toggle(number), "clipft-map-group");
    entry.title = "hide or show these images";
    entry.append(mapSwatch(group), element("span", {}, group.title), " ", element("small"));
    return entry;
  }
}

// Classes, by name, as a list that is searched: what is typed selects the images of all it finds.
class MapClasses {
  // select(classes): numbers of groups
  constructor(select) {
    this.select = select;
    this.chosen = [];
    this.options = [];
    this.field = element("input", {type: "search", placeholder: "find a class", className: "clipft-find",
      "aria-label": "find a class"});
    this.list = element("div", {className: "clipft-classes", role: "listbox", "aria-label": "classes",
      "aria-multiselectable": "true", title: "Click: one class; Ctrl and click: several"});
    for (const place of [this.field, this.list]) place.setAttribute("data-lm-suppress-shortcuts", "true");
    this.node = element("div", {className: "clipft-map-classes"}, this.field, this.list);
    this.field.oninput = () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.find(), 150); // after a pause: each search selects
    };
    this.field.onkeydown = (event) => event.stopPropagation();
    this.list.onkeydown = (event) => this.keydown(event);
  }

  show(groups, counts) {
    this.options = groups.map((group, number) => {
      const option = element("div", {role: "option"}, mapSwatch(group), element("span", {}, group.title),
        " ", element("small", {}, counts[number]));
      option.onclick = (event) => this.choose(number, event.ctrlKey || event.metaKey || event.shiftKey);
      // Upper case first, as Python's casefold: "ß" is found by "ss".
      return {option, number, name: group.title.toUpperCase().toLowerCase()};
    }).sort((a, b) => (a.name < b.name ? -1 : 1));
    this.list.replaceChildren(...this.options.map(({option}) => option));
    this.field.value = "";
    this.chosen = [];
    this.mark();
  }

  wanted() {
    return this.field.value.trim().toUpperCase().toLowerCase();
  }

  find() {
    const wanted = this.wanted();
    const found = wanted ? this.options.filter(({name}) => name.includes(wanted)) : [];
    this.chosen = found.map(({number}) => number);
    this.mark();
    this.select(this.chosen);
  }

  choose(number, several) {
    const others = this.chosen.filter((other) => other !== number);
    const isChosen = others.length < this.chosen.length;
    if (several) this.chosen = isChosen ? others : [...this.chosen, number];
    else this.chosen = isChosen && !others.length ? [] : [number];
    this.mark();
    this.select(this.chosen);
  }

  // The selection was changed elsewhere.
  clear() {
    this.chosen = [];
    this.mark();
  }

  mark() {
    const wanted = this.wanted();
    const chosen = new Set(this.chosen);
    let first = true; // Tab goes to the first one alone
    for (const {option, number, name} of this.options) {
      option.hidden = !name.includes(wanted);
      option.tabIndex = first && !option.hidden ? 0 : -1;
      if (!option.hidden) first = false;
      option.setAttribute("aria-selected", chosen.has(number));
    }
  }

  keydown(event) {
    const shown = this.options.filter(({option}) => !option.hidden);
    const place = shown.findIndex(({option}) => option === event.target);
    if (place < 0) return;
    const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
    if (step) shown[place + step]?.option.focus();
    else if (event.key === "Enter" || event.key === " ") {
      this.choose(shown[place].number, event.ctrlKey || event.metaKey);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

// --- pixels ---

// The rows of a disc: [dy, half its width] in pixels.
function discRows(radius) {
  const reach = radius - 0.5; // from the middle of its middle pixel
  const rows = [];
  for (let dy = -Math.floor(reach); dy <= reach; dy++) {
    rows.push([dy, Math.floor(Math.sqrt((reach + 0.3) ** 2 - dy * dy))]); // no lone pixel at its top
  }
  return rows;
}

const mapRgb = (hex) => [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));

// A colour as one number of a canvas's pixels, blended into the ground.
function mapPixel(hex, ground, part) {
  const [r, g, b] = mix(mapRgb(ground), mapRgb(hex), part).map(Math.round);
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

// Numbers below count, each once, in an order without pattern: the same at every call.
function mapShuffled(count) {
  const order = Uint32Array.from({length: count}, (_, i) => i);
  let seed = 1;
  for (let i = count - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const other = seed % (i + 1);
    [order[i], order[other]] = [order[other], order[i]];
  }
  return order;
}

