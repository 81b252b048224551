// Lays a plotly figure out for a place of some width, by the lengths of its texts: titles are broken
// where they would be cut, a legend stands where it has room, panels go below each other where they
// would be narrow, a table and a sheet of images are as high as their rows. Pages, explorers and
// images are laid out by this one file.
const NARROW = 620; // pixels: below it panels stand one below the other
const LEAST = 170; // pixels of a panel beside another
const GAP = 75; // and between two of them: numbers and a title
const TILE = 140; // pixels of an image of a sheet, at most
const PADS = 20; // pixels beside a text of a table
const ON_AXES = /^(scatter|scattergl|bar|box|violin|heatmap|contour|histogram.*|image|funnel|waterfall)$/;

const plain = (text) => (text ?? "").replace(/<br>/g, ", ").replace(/<[^>]*>/g, "");

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

// A word that is too wide for a line, as a path is, in parts that are not.
function pieces(word, fits) {
  if (fits(word) || word.includes("<") || word.includes("&")) return [word];
  const parts = [""];
  for (const letter of word) {
    if (parts.at(-1) && !fits(parts.at(-1) + letter)) parts.push("");
    parts[parts.length - 1] += letter;
  }
  return parts;
}

// Break a text's lines where they would be wider than so many pixels.
function wrapped(text, size, most) {
  if (!text) return text;
  return String(text).split("<br>").map((whole) => {
    const [, open, inner, close] = /^((?:<[a-z]+>)*)(.*?)((?:<\/[a-z]+>)*)$/.exec(whole);
    const done = [];
    for (const word of words(inner)) {
      const longer = done.length ? `${done.at(-1)} ${word}` : word;
      if (wide(open + longer, size) <= most) done.splice(-1, 1, longer);
      else done.push(...pieces(word, (part) => wide(open + part, size) <= most));
    }
    return done.map((line) => open + line + close).join("<br>");
  }).join("<br>");
}

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
  const pad = {l: 12, t: rows > 1 ? 29 : 17};
  Object.assign(title, {x: 0, y: 1, yref: "container", yanchor: "top", pad});
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
  const {yref, yanchor} = layout.legend ?? {};
  const isAbove = layout.sliders?.length || yref === "container" || yanchor === "bottom";
  page.legend = {high, isAbove};
  layout.legend = {...layout.legend, orientation: "h", xref: "container", yref: "container", x: 8 / width,
    xanchor: "left", font: {size: font}};
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
  // One trace alone has no legend, unless it is asked for.
  const isAlone = drawn.filter((trace) => trace.showlegend !== false).length < 2;
  const isAsked = showlegend || drawn.some((trace) => trace.showlegend);
  if (showlegend === false || (isAlone && !isAsked)) return [];
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
  const {layout, data, margin, width, size} = page;
  for (const {type = "scatter", xaxis = "x", yaxis = "y"} of data) {
    if (!ON_AXES.test(type)) continue;
    for (const axis of [xaxis, yaxis]) layout[`${axis[0]}axis${axis.slice(1)}`] ??= {};
  }
  const panels = panelsOf(layout);
  page.panels = panels;
  for (const panel of panels) panel.isSheet = data.some(({type, xaxis = "x"}) => type === "image" && xaxis === panel.name);
  if (width < NARROW) Object.assign(margin, {l: Math.min(margin.l, 56), r: Math.min(margin.r, 16)});
  const names = panels.filter(({left}) => left === 0).flatMap((panel) => labelsOf(page, panel, "y"));
  margin.l = Math.max(margin.l, 12 + widest(names, size));
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
  const most = Math.floor((page.across + GAP) / (LEAST + GAP));
  const columns = width < NARROW ? 1 : Math.max(1, Math.min(lefts.length - 1, most));
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

// The categories or texts along an axis of a panel, "x" or "y".
function labelsOf({data}, panel, along = "x") {
  const axis = panel[along];
  if (axis.visible === false || axis.showticklabels === false) return [];
  if (axis.ticktext) return axis.ticktext;
  const own = data.filter((trace) => (trace.xaxis ?? "x") === panel.name && trace.type !== "image");
  const values = own.flatMap((trace) => (Array.isArray(trace[along]) ? trace[along] : []));
  return values.length && values.some((value) => typeof value === "string") ? [...new Set(values)] : [];
}

// Titles of axes and of panels as wide as their panel; names along an axis turned where they must be.
function fitAxes(page) {
  const {size} = page;
  const sheets = page.panels.filter(({isSheet}) => isSheet);
  const out = 0.72 * widest(sheets.flatMap((panel) => labelsOf(page, panel)), size);
  for (const panel of page.panels) {
    const {x, y} = panel;
    const gap = page.panels.length > 1 ? 8 : 0;
    const beside = gap ? 0 : Math.min(page.margin.l / 2, 2 * page.margin.r);
    x.title = titledAxis(x.title, size, panel.wide + beside - gap);
    y.title = titledAxis(y.title, size, 0.96 * panel.tall);
    if (panel.title) {
      const font = panel.title.font?.size ?? 16;
      panel.title.text = wrapped(panel.title.text, font, panel.wide - gap);
    }
    const labels = labelsOf(page, panel);
    // Beside a sheet the turned names of another may stand out.
    const across = panel.isSheet ? Math.min(TILE * labels.length, panel.wide - out) : panel.wide;
    const room = across / Math.max(1, labels.length);
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
    const here = data.filter(({xaxis = "x", mode}) => xaxis === panel.name && /markers/.test(mode));
    const texts = here.filter(({mode, meta}) => mode.includes("text") && Array.isArray(meta?.id));
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
  const {margin, width, panels} = page;
  const sheets = panels.filter(({isSheet}) => isSheet);
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
  const {isAbove, high} = page.legend;
  const edge = isAbove ? page.above - high - 2 : layout.height - 4;
  Object.assign(layout.legend, {y: 1 - edge / layout.height, yanchor: isAbove ? "top" : "bottom"});
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
      if (!title) continue;
      Object.assign(title, {x: (left + right) / 2, xanchor: "center", y: top / whole, yanchor: "bottom"});
      if (x.side === "top") title.yshift = row[0].labels; // above the names of its columns
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
    const broken = (value, i) => unbreakable(wrapped(value, size, table.columnwidth[i] - PADS + 1));
    const head = table.header.values.map(broken);
    const cells = table.cells.values.map((column, i) => column.map((value) => broken(value, i)));
    table.header = {...table.header, values: head};
    table.cells = {...table.cells, values: cells};
    const rows = (cells[0] ?? []).map((_, row) =>
      rowHeight(cells.map((column) => column[row]), table.cells.height ?? 20, size));
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

// A text whose lines plotly does not break again: letters are a pixel wider there in some fonts.
const unbreakable = (text) => (typeof text === "string" ? text.replace(/ (?![^<]*>)/g, "\u00a0") : text);

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
    const parts = texts.slice(1).flatMap((text) => words(plain(text)));
    parts.push(...words(plain(head)).map((word) => bold + word));
    const whole = widest(texts, size) + PADS;
    return {whole, least: Math.max(Math.min(whole, 90), widest(parts, size) + PADS)};
  });
}

function rowHeight(texts, least, size) {
  const most = Math.max(1, ...texts.map(lines));
  return most === 1 ? Math.max(least, 1.3 * size + 8) : 1.3 * size * most + 20;
}
