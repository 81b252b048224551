// Paints a plotly figure into a page: as wide as its place, in the page's colours, with what moves
// with alpha moved, by mouse and by keyboard. The explorers and the saved pages use this one file.
//
// What a figure says beyond plotly's own:
// - a trace's meta.id: the number of each of its points (or one for all of them), which a click
//   chooses and a lasso selects; meta.with: numbers of points that only fade with their own;
// - a slider's steps: the table of what moves with alpha, taken out by `moves_of` in Python.
const CLIPFT_THEMES = {/* put here by pages.py */};
const CONFIG = {displaylogo: false, showSendToCloud: false, responsive: false};
const NARROW = 620; // pixels: below it panels stand one below the other
const LEAST = 170; // pixels of a panel beside another
const GAP = 75; // and between two of them: numbers and a title
const TILE = 140; // pixels of an image of a sheet, at most
const PADS = 20; // pixels beside a text of a table
const STEPS = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1};

const list = (value) => (Array.isArray(value) ? value : [value]);
const plain = (text) => (text ?? "").replace(/<br>/g, ", ").replace(/<[^>]*>/g, "");

// JupyterLab says which theme it has; elsewhere the reader's own counts.
function isDark() {
  const lab = document.body.dataset.jpThemeLight;
  if (lab !== undefined) return lab === "false";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

// Call `change` whenever the page's theme does; returns what ends that.
function onTheme(change) {
  const watch = new MutationObserver(change);
  watch.observe(document.body, {attributeFilter: ["data-jp-theme-light"]});
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", change);
  return () => {
    watch.disconnect();
    scheme.removeEventListener("change", change);
  };
}

// Plotly keeps large arrays as base64 text.
const KINDS = {
  f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array,
  i2: Int16Array, u2: Uint16Array, i1: Int8Array, u1: Uint8Array,
};
function numbers(values) {
  if (!values?.bdata) return values ?? [];
  const bytes = Uint8Array.from(atob(values.bdata), (letter) => letter.charCodeAt(0));
  return Array.from(new KINDS[values.dtype](bytes.buffer));
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

const lines = (text) => (text ? String(text).split("<br>").length : 0);

const pen = document.createElement("canvas").getContext("2d");

// How many pixels wide a line is, as it is drawn; small letters are 0.7 times as large.
function wide(line, size, weight = "normal") {
  const text = String(line ?? "");
  pen.font = `${text.includes("<b>") ? "bold" : weight} ${size}px Helvetica, Arial, sans-serif`;
  return pen.measureText(plain(text)).width * (/<su[bp]>/.test(text) ? 0.7 : 1);
}

const add = (sum, value) => sum + value;

const widest = (texts, size) =>
  Math.max(0, ...texts.flatMap((text) => String(text ?? "").split("<br>")).map((line) => wide(line, size)));

// What a line is not broken within: a word, or a number with its deviation or difference.
const words = (text) => text.split(/ (?!±|\([+\u2212-]?\d)(?<!± )/);

// Break a text's lines where they would be wider than so many pixels.
function wrapped(text, size, most) {
  if (!text) return text;
  return String(text).split("<br>").map((whole) => {
    const [, open, inner, close] = /^((?:<[a-z]+>)*)(.*?)((?:<\/[a-z]+>)*)$/.exec(whole);
    const done = [];
    for (const word of words(inner)) {
      const longer = done.length ? `${done.at(-1)} ${word}` : word;
      if (done.length && wide(open + longer, size) > most) done.push(word);
      else done.splice(-1, 1, longer);
    }
    return done.map((line) => open + line + close).join("<br>");
  }).join("<br>");
}

// --- the layout of a place of some width

// Tables keep a width at which they can be read; their box scrolls.
const isTable = ({data}) => data.some(({type}) => type === "table");

// A figure as it is in a place of this width: texts broken where they would be cut, a legend where
// it has room, and panels below each other where they would be too narrow.
function fitted(figure, width) {
  const {layout, data} = figure;
  const size = layout.font?.size ?? 12;
  const margin = {l: 80, r: 80, t: 100, b: 80, ...layout.margin};
  const tall = (layout.height ?? 450) - margin.t - margin.b; // of the axes
  Object.assign(layout, {margin, width, autosize: false});
  if (isTable(figure)) return tabled(figure, size);
  const page = {layout, data, size, width, margin, tall, above: 0, below: 0};
  fitTitle(page);
  fitLegend(page);
  fitPanels(page);
  fitAxes(page);
  fitTexts(page);
  fitSheet(page);
  fitNotes(page);
  placeAll(page);
  return layout;
}

function fitTitle(page) {
  const {layout, width, size} = page;
  const title = typeof layout.title === "string" ? {text: layout.title} : layout.title ?? {};
  layout.title = title;
  if (!title.text) return void (page.above = 16);
  const font = title.font?.size ?? 1.4 * size; // plotly's own
  title.text = wrapped(title.text, font, width - 24);
  const rows = lines(title.text);
  // Plotly sets the first of several lines higher than one alone.
  Object.assign(title, {x: 0, y: 1, yref: "container", yanchor: "top", pad: {l: 12, t: rows > 1 ? 29 : 17}});
  page.above = 17 + rows * 1.3 * font + 8;
}

// A legend beside the axes goes below where it would take too much of the page; one above or below
// has as many lines as it needs.
function fitLegend(page) {
  const {layout, data, width, size} = page;
  const groups = groupsIn(layout, data);
  page.legend = null;
  if (!groups.length) return;
  const font = layout.legend?.font?.size ?? size;
  const longest = widest(groups.flat(), font) + 50;
  const isRow = layout.legend?.orientation === "h";
  if (!isRow && width >= NARROW && longest < 0.32 * width && legendHeight(groups, font, 0) < page.tall) {
    layout.legend = {...layout.legend, x: 1.02, xanchor: "left", y: 1, yanchor: "top"};
    page.margin.r = longest + 10;
    return;
  }
  const high = legendHeight(groups, font, width - 20);
  const isAbove = layout.sliders?.length || layout.legend?.yref === "container" || layout.legend?.yanchor === "bottom";
  const place = {orientation: "h", xref: "container", yref: "container", x: 8 / width, xanchor: "left", font: {size: font}};
  page.legend = {place, high, isAbove};
  page[isAbove ? "above" : "below"] += high + (isAbove ? 6 : 12);
}

// How high a legend is across so many pixels: groups of names flow, as plotly lets them. Names
// without groups stand in columns as wide as the longest, where they are more than a row.
function legendHeight(groups, font, across) {
  const isGrouped = groups.grouped;
  const widths = groups.map((names) => widest(names, font) + 50);
  const column = isGrouped || widths.reduce(add, 0) < across ? 0 : Math.max(...widths);
  const rows = [];
  let used = Infinity;
  groups.forEach((names, i) => {
    const width = Math.max(widths[i], column);
    if (used + width > across) {
      rows.push(0);
      used = 0;
    }
    used += width;
    rows[rows.length - 1] = Math.max(rows.at(-1), names.length * (1.3 * font + 3));
  });
  return rows.reduce(add, 0) + (isGrouped ? 10 * (rows.length - 1) : 0) + 8; // 10: plotly's own
}

// The names in a legend, those of a group of traces together.
function groupsIn({showlegend}, data) {
  const drawn = data.filter(({type, visible}) => !["image", "table"].includes(type) && visible !== false);
  const named = drawn.filter((trace) => trace.name && trace.showlegend !== false);
  if (showlegend === false || (showlegend !== true && drawn.filter((trace) => trace.showlegend !== false).length < 2
    && !drawn.some((trace) => trace.showlegend === true))) return [];
  const groups = new Map();
  named.forEach(({name, legendgroup}, i) => {
    const key = legendgroup || i;
    groups.set(key, [...(groups.get(key) ?? []), name]);
  });
  return Object.assign([...groups.values()], {grouped: named.some(({legendgroup}) => legendgroup)});
}

function axes(layout) {
  return Object.entries(layout).filter(([name]) => /^[xy]axis\d*$/.test(name));
}

// Every panel of a figure: its axes and the part of the page that it has, in reading order.
function panelsOf(layout) {
  const panels = [];
  for (const [name, x] of axes(layout)) {
    if (!name.startsWith("x")) continue;
    const y = layout[name.replace("x", "y")] ??= {};
    const [left, right] = x.domain ?? [0, 1];
    const [low, high] = y.domain ?? [0, 1];
    panels.push({name: name.replace("axis", ""), x, y, left, right, low, high});
  }
  return panels.sort((a, b) => b.high - a.high || a.left - b.left);
}

// What is written at the upper edge of a panel.
function panelTitles(layout) {
  return (layout.annotations ?? []).filter(({xref, yref, yanchor}) =>
    xref === "paper" && yref === "paper" && yanchor === "bottom");
}

const titleOf = (layout, {left, right, high}) => panelTitles(layout).find(({x, y}) =>
  x >= left && x <= right && Math.abs(y - high) < 0.06);

// Panels in as many columns as have room, with pixels between them.
function fitPanels(page) {
  const {layout, data, margin, width} = page;
  for (const {type, xaxis = "x", yaxis = "y"} of data) {
    if (type !== "table") for (const axis of [xaxis, yaxis]) layout[axis[0] + "axis" + axis.slice(1)] ??= {};
  }
  const panels = panelsOf(layout);
  page.panels = panels;
  if (width < NARROW) Object.assign(margin, {l: Math.min(margin.l, 56), r: Math.min(margin.r, 16)});
  page.across = width - margin.l - margin.r;
  for (const panel of panels) {
    panel.title = titleOf(layout, panel);
    panel.wide = page.across * (panel.right - panel.left);
    panel.tall = page.tall * (panel.high - panel.low);
  }
  const lefts = [...new Set(panels.map(({left}) => left))];
  const isRow = lefts.length > 1;
  const narrowest = Math.min(...panels.map(({wide}) => wide));
  if (!isRow || (width >= NARROW && narrowest >= LEAST)) return;

  // Each row of panels becomes several.
  const columns = width < NARROW ? 1 : Math.max(1, Math.min(lefts.length - 1, Math.floor((page.across + GAP) / (LEAST + GAP))));
  const share = 1 / columns;
  const gap = columns > 1 ? GAP / page.across : 0;
  panels.forEach((panel, number) => {
    const column = number % columns;
    panel.column = column;
    panel.row = Math.floor(number / columns);
    panel.left = column * (share + gap / columns);
    panel.right = panel.left + share - gap * (columns - 1) / columns;
    panel.wide = page.across * (panel.right - panel.left);
    panel.tall = Math.min(panel.tall, Math.max(220, 0.8 * panel.wide));
    panel.x.domain = [panel.left, panel.right];
    // One that shares the axis of its neighbour had that one's numbers and title.
    if (panel.y.matches && column === 0) Object.assign(panel.y, {showticklabels: true, title: panels[0].y.title});
  });
  page.moved = true;
}

// The categories or texts along an axis.
function labelsOf({data}, {name, x}) {
  if (x.ticktext || x.showticklabels === false) return x.ticktext ?? [];
  const own = data.filter((trace) => (trace.xaxis ?? "x") === name && trace.type !== "image");
  const values = own.flatMap((trace) => (Array.isArray(trace.x) ? trace.x : []));
  return values.length && values.some((value) => typeof value === "string") ? [...new Set(values)] : [];
}

// Titles of axes and of panels as wide as their panel; names along an axis turned where they must be.
function fitAxes(page) {
  const {size} = page;
  for (const panel of page.panels) {
    const {x, y} = panel;
    const gap = page.panels.length > 1 ? 8 : 0;
    x.title = titledAxis(x.title, size, panel.wide + (gap ? 0 : page.margin.l / 2) - gap);
    y.title = titledAxis(y.title, size, 0.96 * panel.tall);
    if (panel.title) {
      const font = panel.title.font?.size ?? 16;
      panel.title.text = wrapped(panel.title.text, font, panel.wide - gap);
    }
    const labels = x.visible === false ? [] : labelsOf(page, panel);
    const room = panel.wide / Math.max(1, labels.length);
    const longest = widest(labels, x.tickfont?.size ?? size);
    panel.labels = x.visible === false || x.showticklabels === false ? 4 : 24;
    if (labels.length && room > 15) {
      if (!x.ticktext) x.dtick = 1;
      const angle = longest < room - 6 ? 0 : room > 34 ? -45 : -90;
      x.tickangle = angle;
      panel.labels = 12 + (angle === 0 ? 14 : angle === -45 ? 0.72 * (longest + 14) : longest);
      panel.reach = angle === -45 ? 0.72 * longest : longest / 2;
    }
    panel.under = (x.side === "top" ? 4 : panel.labels) + (x.title.text ? 14 + 1.3 * size * lines(x.title.text) : 0);
    panel.over = panel.title ? 8 + lines(panel.title.text) * 1.25 * (panel.title.font?.size ?? 16) : 0;
    if (x.side === "top") panel.over += panel.labels;
  }
}

function titledAxis(title, size, most) {
  const whole = typeof title === "string" ? {text: title} : {...title};
  return {...whole, text: wrapped(whole.text, whole.font?.size ?? 1.2 * size, Math.max(80, most))};
}

// The number beside a point stands where it covers no other one; where there is no such place, only
// the hover text says it.
function fitTexts({layout, data, panels, size}) {
  for (const panel of panels) {
    const here = data.filter(({xaxis = "x", meta}) => xaxis === panel.name && Array.isArray(meta?.id));
    const texts = here.filter(({mode}) => mode?.includes("text"));
    if (!texts.length) continue;
    const x = placesOf(panel.x, here.map(({x, error_x: bars}) => [x, bars]), panel.wide);
    const y = placesOf(panel.y, here.map(({y, error_y: bars}) => [y, bars]), panel.tall);
    const page = [0, 0, panel.wide, panel.tall];
    const points = new Map(here.map((trace) => [trace, pointsOf(trace, x, y)]));
    const marks = [...points.values()].flat().map(({x, y, size}) => around(x, y, size));
    const taken = [];
    for (const trace of texts) {
      const font = trace.textfont?.size ?? size;
      const found = points.get(trace).map((point, i) => sideOf(point, trace.text[i], {font, marks, taken, page}));
      trace.text = trace.text.map((text, i) => (found[i] ? text : ""));
      trace.textposition = found.map((side) => side ?? "top right");
    }
  }
}

const pointsOf = (trace, x, y) => {
  const [right, up, sizes] = [trace.x, trace.y, trace.marker?.size].map(numbers);
  return right.map((value, i) => ({x: x(value), y: y(up[i]), size: sizes[i] ?? sizes}));
};

const SIDES = ["top right", "top left", "bottom right", "bottom left", "middle right", "middle left", "top center",
  "bottom center"];
const around = (x, y, size) => [x - size / 2, y - size / 2, x + size / 2, y + size / 2];
const meets = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

const isWithin = (a, b) => a[0] >= b[0] && a[1] >= b[1] && a[2] <= b[2] && a[3] <= b[3];

// Where values lie along an axis, in pixels; it gets a range, some room around them and their bars,
// if it has none.
function placesOf(axis, drawn, pixels) {
  if (!axis.range) {
    const ends = drawn.flatMap(([values, bars]) => {
      const [above, below] = [bars?.array, bars?.arrayminus ?? bars?.array].map(numbers);
      return numbers(values).flatMap((value, i) => [value - (below[i] ?? 0), value + (above[i] ?? 0)]);
    }).filter(Number.isFinite);
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    const room = 0.06 * (high - low) || 1;
    axis.range = [low - room, high + room];
  }
  const [low, high] = axis.range;
  return (value) => (value - low) / (high - low) * pixels;
}

// The first side of a point on which its text meets no other text, and of these one that meets no
// point if there is one.
function sideOf(point, text, {font, marks, taken, page}) {
  const half = wide(text, font) / 2 + 3;
  const reach = point.size / 2 + 2;
  const boxes = SIDES.map((side) => {
    const across = side.includes("right") ? 1 : side.includes("left") ? -1 : 0;
    const up = side.includes("top") ? 1 : side.includes("bottom") ? -1 : 0;
    const [x, y] = [point.x + across * (reach + half), point.y + up * (reach + font / 2)];
    return {side, box: [x - half, y - 0.8 * font, x + half, y + 0.8 * font]};
  });
  const free = boxes.filter(({box}) => isWithin(box, page) && !taken.some((other) => meets(box, other)));
  const best = free.find(({box}) => !marks.some((other) => meets(box, other))) ?? free[0];
  if (best) taken.push(best.box);
  return best?.side;
}

// A sheet of square images is as high as it is wide, by its rows and columns.
function fitSheet(page) {
  const {data, margin, width, panels} = page;
  const sheets = panels.filter(({name}) => data.some((trace) => trace.type === "image" && (trace.xaxis ?? "x") === name));
  for (const panel of sheets) {
    const columns = panel.x.tickvals.length;
    const rows = panel.y.tickvals.length;
    margin.l = Math.max(margin.l, 20 + widest(panel.y.ticktext, page.size));
    margin.r = Math.max(margin.r, (panel.reach ?? 0) - 10);
    const tile = Math.min(TILE, (width - margin.l - margin.r) / columns);
    panel.tall = tile * rows;
    panel.columns = columns * tile;
  }
  if (!sheets.length) return;
  page.across = width - margin.l - margin.r;
  for (const panel of sheets) panel.x.domain = [0, Math.min(1, panel.columns / page.across)];
  page.moved = true;
}

// Notes that stand on the page are as wide as it has room.
function fitNotes({layout, across, size, margin}) {
  const titles = panelTitles(layout);
  for (const note of layout.annotations ?? []) {
    if (note.xref !== "paper" || titles.includes(note)) continue;
    const room = note.xanchor === "left" ? across * (1 - note.x) + margin.r - 8 : across + 20;
    note.text = wrapped(note.text, note.font?.size ?? size, room);
  }
}

// What stands above the axes, the axes, and what stands below them, in pixels from the top.
function placeAll(page) {
  const {layout, panels, margin, tall} = page;
  const rows = page.moved ? rowsOf(panels) : [];
  const highest = Math.max(...panels.map(({high}) => high), 0);
  const lowest = Math.min(...panels.map(({low}) => low), 1);
  const first = page.moved ? rows[0] ?? [] : panels.filter(({high}) => high > highest - 0.01);
  const last = page.moved ? rows.at(-1) ?? [] : panels.filter(({low}) => low < lowest + 0.01);
  const over = Math.max(0, ...first.map((panel) => panel.over));
  const under = Math.max(20, ...last.map((panel) => panel.under));

  const was = {t: margin.t, b: margin.b};
  margin.t = page.above + over + 8;
  if (layout.sliders?.length || layout.images?.length) {
    // A slider stands below one line of numbers and one of a title.
    const more = Math.max(0, under - 45);
    for (const slider of layout.sliders ?? []) slider.pad = {...slider.pad, t: (slider.pad?.t ?? 20) + more};
    margin.b = was.b + more + page.below;
  } else margin.b = under + page.below + 6;

  const whole = page.moved ? moveRows(page, rows) : betweenRows(page);
  layout.height = margin.t + whole + margin.b;
  if (!page.legend) return;
  const {place, isAbove, high} = page.legend;
  const top = isAbove ? page.above - high - 2 : layout.height - 4;
  Object.assign(place, {y: 1 - top / layout.height, yanchor: isAbove ? "top" : "bottom"});
  layout.legend = {...layout.legend, ...place};
}

function rowsOf(panels) {
  const rows = [];
  for (const panel of panels) {
    panel.row ??= rows.length;
    (rows[panel.row] ??= []).push(panel);
  }
  return rows;
}

// Rows of panels that stay keep their shares of the page; it grows where their texts need more than
// what lies between them.
function betweenRows({panels, tall}) {
  let whole = tall;
  for (const upper of panels) for (const lower of panels) {
    const gap = upper.low - lower.high;
    if (gap <= 0.001 || panels.some(({low, high}) => low > lower.high - 0.001 && high < upper.low + 0.001)) continue;
    if (upper.x.matches && upper.x.showticklabels === false) continue;
    whole = Math.max(whole, (upper.under + lower.over) / gap);
  }
  return whole;
}

// Rows that are placed anew; what is placed in parts of the page goes with its panel, or keeps its
// distance from the axes.
function moveRows({layout, tall, panels}, rows) {
  const gaps = rows.slice(1).map((row, number) => 14 + Math.max(...rows[number].map(({under}) => under))
    + Math.max(...row.map(({over}) => over)));
  const heights = rows.map((row) => Math.max(...row.map((panel) => panel.tall)));
  const whole = [...gaps, ...heights].reduce((sum, part) => sum + part, 0);
  const apart = (y) => (y < 0 ? y * tall / whole : y > 1 ? 1 + (y - 1) * tall / whole : y);
  const titles = new Set(panels.map(({title}) => title));
  for (const note of layout.annotations ?? []) {
    if (note.yref === "paper" && note.xref === "paper" && !titles.has(note)) note.y = apart(note.y);
  }
  for (const image of layout.images ?? []) if (image.yref === "paper") image.y = apart(image.y);

  let top = whole;
  rows.forEach((row, number) => {
    for (const {y, x, title} of row) {
      const [left, right] = x.domain ?? [0, 1];
      y.domain = [Math.max(0, (top - heights[number]) / whole), top / whole];
      const lift = x.side === "top" ? row[0].labels : 0;
      if (title) Object.assign(title, {x: (left + right) / 2, xanchor: "center", y: top / whole, yanchor: "bottom", yshift: lift});
    }
    top -= heights[number] + (gaps[number] ?? 0);
  });
  return whole;
}

// --- tables

// Columns as wide as their texts, or as their longest word, and rows as high as their lines.
function tabled({layout, data}, size) {
  const {margin} = layout;
  const tables = data.filter(({type}) => type === "table");
  const notes = layout.annotations ?? [];
  const needed = tables.map((table) => columnsOf(table, size).reduce((sum, {least}) => sum + least, 0));
  layout.width = Math.max(layout.width, Math.ceil(Math.max(...needed)) + margin.l + margin.r);
  const across = layout.width - margin.l - margin.r;

  const parts = tables.map((table, number) => {
    table.columnwidth = widthsOf(columnsOf(table, size), across);
    const broken = (value, i) => wrapped(value, size, table.columnwidth[i] - PADS + 1);
    const head = table.header.values.map(broken);
    const cells = table.cells.values.map((column, i) => column.map((value) => broken(value, i)));
    table.header = {...table.header, values: head};
    table.cells = {...table.cells, values: cells};
    const rows = (cells[0] ?? []).map((_, row) => rowHeight(cells.map((column) => column[row]), table.cells.height ?? 20, size));
    const title = notes.length === tables.length ? notes[number] : null;
    if (title) title.text = wrapped(title.text, title.font?.size ?? size, across);
    const over = title ? 12 + 1.3 * (title.font?.size ?? size) * lines(title.text) : 0;
    const high = rowHeight(head, table.header.height ?? 28, size) + rows.reduce(add, 0) + 4;
    return {table, title, over, high};
  });

  const whole = parts.reduce((sum, {over, high}) => sum + over + high + 10, 0);
  let top = 0;
  for (const {table, title, over, high} of parts) {
    if (title) title.y = 1 - top / whole;
    table.domain = {x: [0, 1], y: [1 - (top + over + high) / whole, 1 - (top + over) / whole]};
    top += over + high + 10;
  }
  layout.height = whole + margin.t + margin.b;
  return layout;
}

// Columns that fill the page: what is left beside their longest words goes to those that need it.
function widthsOf(columns, across) {
  const least = columns.reduce((sum, column) => sum + column.least, 0);
  const whole = columns.reduce((sum, column) => sum + column.whole, 0);
  const share = Math.min(1, Math.max(0, across - least) / Math.max(1, whole - least));
  const spare = Math.max(0, across - whole) / columns.length;
  return columns.map((column) => column.least + share * (column.whole - column.least) + spare);
}

// How wide each column is with its texts in one line, and with a word in each.
function columnsOf({header, cells}, size) {
  return header.values.map((head, i) => {
    const texts = [head, ...(cells.values[i] ?? [])].map((text) => String(text ?? ""));
    const bold = String(head).includes("<b>") ? "<b>" : "";
    const parts = [...words(plain(head)).map((word) => bold + word), ...texts.slice(1).flatMap((text) => words(plain(text)))];
    const whole = widest(texts, size) + PADS;
    return {whole, least: Math.max(Math.min(whole, 90), widest(parts, size) + PADS)};
  });
}

function rowHeight(texts, least, size) {
  const most = Math.max(1, ...texts.map(lines));
  return most === 1 ? Math.max(least, 1.3 * size + 8) : 1.3 * size * most + 20;
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
    this.moving = false;
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
