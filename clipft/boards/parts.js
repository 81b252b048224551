// The elements that views are made of. Texts are texts: a name never becomes HTML.
function element(name, looks = {}, ...children) {
  const {style, dataset, ...rest} = looks;
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(rest)) {
    if (/^(aria-|role$|data-)/.test(key)) made.setAttribute(key, value);
    else made[key] = value;
  }
  Object.assign(made.style, style);
  Object.assign(made.dataset, dataset);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function button(text, onclick, className = "") {
  return element("button", {type: "button", className: `clipft-button ${className}`, onclick}, text);
}

// A menu of a state: options are pairs of a text and a value.
function menu(board, name, title, options) {
  const select = element("select");
  const label = element("label", {className: `clipft-menu clipft-${name}`}, title, " ", select);
  label.fill = (pairs) => {
    label.values = pairs.map(([, value]) => value);
    select.replaceChildren(...pairs.map(([text]) => element("option", {}, text)));
    follow();
  };
  const follow = () => {
    select.selectedIndex = label.values.findIndex((value) => Object.is(value, board.store.get(name)));
  };
  select.onchange = () => board.store.set(name, label.values[select.selectedIndex]);
  board.until(board.store.on(name, follow));
  label.fill(options);
  return label;
}

// Alpha: a slider, by mouse and arrow keys, and the same as a number that can be typed.
function slider(board) {
  const limits = {min: 0, max: 1, step: 0.01};
  const range = element("input", {type: "range", ...limits, "aria-label": "alpha"});
  const number = element("input", {type: "number", ...limits, "aria-label": "alpha as a number"});
  for (const field of [range, number]) {
    field.setAttribute("data-lm-suppress-shortcuts", "true"); // keys are the slider's, not the notebook's
    field.addEventListener("keydown", (event) => event.stopPropagation());
    field.oninput = () => {
      const alpha = Math.min(1, Math.max(0, Number(field.value)));
      if (field.value !== "" && Number.isFinite(alpha)) board.store.set("alpha", alpha);
    };
  }
  const follow = () => {
    const alpha = board.store.get("alpha");
    range.value = alpha;
    if (!number.matches(":focus") || Number(number.value) !== alpha) number.value = alpha.toFixed(2);
  };
  number.onblur = follow;
  board.until(board.store.on("alpha", follow));
  follow();
  return element("div", {className: "clipft-alpha"}, element("span", {}, "alpha"), range, number);
}

const paragraph = (text, className = "") => element("p", {className}, text);

// A run's id may begin with digits: it is none.
const isNumber = (value) => /^[+-]?[\d.]+(e[+-]?\d+)?(?!\w)/i.test(String(value));

// rows: lists of texts; a column of numbers stands to the right.
function table(columns, rows) {
  const numeric = columns.map((_, i) => rows.length > 0 && rows.every((row) => isNumber(row[i])));
  const cell = (name, value, i) => {
    const made = element(name, {}, String(value));
    if (numeric[i]) made.className = "clipft-number";
    return made;
  };
  const head = element("tr", {}, ...columns.map((title, i) => cell("th", title, i)));
  const lines = rows.map((row) => element("tr", {}, ...row.map((value, i) => cell("td", value, i))));
  const made = element("table", {className: "clipft-table", "data-lm-suppress-shortcuts": "true"}, element("thead", {}, head),
    element("tbody", {}, ...lines));
  reached.observe(made);
  return made;
}

// What scrolls sideways is reached by the keyboard, too.
const reached = new ResizeObserver((changes) => {
  for (const {target} of changes) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

// A table that a click on a column's title sorts, whose rows are chosen by click or Enter.
class SortedTable {
  // columns: [{title, value(row), text(value) of numbers}]; chosen(row), isChosen(row)
  constructor(columns, {label, chosen, isChosen = () => false, sortBy, most = 25}) {
    Object.assign(this, {columns, chosen, isChosen, most, sort: sortBy, first: most});
    this.head = element("tr");
    this.body = element("tbody");
    this.more = button("show all", () => {
      this.first = Infinity;
      this.draw();
    });
    const whole = element("table", {className: "clipft-table", "aria-label": label},
      element("thead", {}, this.head), this.body);
    this.node = element("div", {className: "clipft-sorted"}, whole, this.more);
    this.rows = [];
  }

  fill(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const {columns, sort} = this;
    const {value} = columns[sort.column];
    const way = sort.down ? -1 : 1;
    const order = (a, b) => way * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
    const rows = [...this.rows].sort(order);
    const focused = [...this.body.children].findIndex((line) => line.matches(":focus"));
    this.head.replaceChildren(...columns.map((column, number) => this.title(column, number)));
    this.body.replaceChildren(...rows.slice(0, this.first).map((row) => this.line(row)));
    this.body.children[focused]?.focus({preventScroll: true}); // who walks by keyboard stays there
    this.more.hidden = rows.length <= this.first;
    this.more.textContent = `show all ${rows.length.toLocaleString("en")}`;
  }

  title({title, text}, number) {
    const here = this.sort.column === number;
    const way = !here ? "none" : this.sort.down ? "descending" : "ascending";
    const press = button(title, () => {
      this.sort = {column: number, down: here ? !this.sort.down : Boolean(text)};
      this.draw();
      this.head.children[number].firstChild.focus();
    });
    return element("th", {scope: "col", "aria-sort": way}, press);
  }

  line(row) {
    const cells = this.columns.map(({value, text}) =>
      element("td", {className: text ? "clipft-number" : ""}, text ? text(value(row)) : value(row)));
    const line = element("tr", {tabIndex: 0, onclick: () => this.chosen(row)}, ...cells);
    line.setAttribute("data-lm-suppress-shortcuts", "true");
    line.setAttribute("aria-selected", this.isChosen(row));
    line.onkeydown = (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      this.chosen(row);
    };
    return line;
  }
}

// A name in a picture's text, where plotly would take "<" for a tag.
const asText = (name) => name.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const percent = (fraction) => (Number.isNaN(fraction) ? "" : (100 * fraction).toFixed(1));
const signed = (fraction) => (Number.isNaN(fraction) ? "" : `${fraction < 0 ? "" : "+"}${(100 * fraction).toFixed(1)}`);
const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

// Hand the reader a file.
function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  element("a", {href: address, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// A text that a table's program would compute is told as a text.
function csvCell(value) {
  const isFormula = typeof value === "string" && /^[=@\t\r]|^[+-](?![\d\s.,%eE±()[\]+-]*$)/.test(value);
  const text = isFormula ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const csv = (rows) => rows.map((row) => row.map(csvCell).join(",")).join("\n") + "\n";

// Rows by their values, the largest first and of equals the lowest row. Of 70 000 a comparing sort
// takes longer than a reader waits: value and row are one number, which typed arrays sort at once.
function largestFirst(rows, values) {
  if (!values) return [...rows];
  const worth = (row) => (values[row] > 0 ? values[row] : 0); // not a number is least
  const most = rows.reduce((highest, row) => Math.max(highest, worth(row)), 0) || 1;
  const rank = (row) => Math.floor((1 - worth(row) / most) * 2 ** 31) * 2 ** 21 + row;
  return Array.from(Float64Array.from(rows, rank).sort(), (number) => number % 2 ** 21);
}
