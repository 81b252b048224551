// Images as tiles: a page of them at a time, each with what both models say; a click opens one as
// large as it is, with what is said of it at every alpha.
const TILES = 24; // on a page

// Rows of a sweep as tiles; places: of the alphas whose predictions are named, or a function of none.
class Tiles {
  constructor(board, {places, gap = false}) {
    Object.assign(this, {board, places, gap, rows: [], first: 0});
    this.count = paragraph("");
    this.list = element("div", {className: "clipft-tiles"});
    const turn = (step) => () => this.turn(step);
    this.earlier = button("earlier", turn(-1));
    this.later = button("later", turn(1));
    this.pages = element("div", {className: "clipft-pages"}, this.earlier, this.later);
    this.node = element("div", {}, this.count, this.list, this.pages);
  }

  // The same images in the same order stay on their page.
  show(rows) {
    const isSame = rows.length === this.rows.length && rows.every((row, i) => row === this.rows[i]);
    this.rows = rows;
    if (!isSame) this.first = 0;
    this.draw();
  }

  turn(step) {
    this.first += step * TILES;
    this.draw();
  }

  draw() {
    const {rows, first} = this;
    const here = [...rows.slice(first, first + TILES)];
    const last = first + here.length;
    const which = first ? `${first + 1} to ${last}` : `${last}`;
    this.count.textContent = rows.length ? `${which} of ${rows.length.toLocaleString("en")} images` : "no image";
    this.list.replaceChildren(...here.map((row) => this.tile(row)));
    this.pages.hidden = rows.length <= TILES;
    this.earlier.disabled = first === 0;
    this.later.disabled = last >= rows.length;
    this.load(here);
  }

  async load(rows) {
    this.asked = rows;
    let addresses = [];
    let fault = "";
    try {
      addresses = await this.board.thumbnails(rows);
    } catch (error) {
      fault = ` (${error.message})`;
    }
    if (this.asked !== rows) return; // another page meanwhile
    this.count.append(fault);
    addresses.forEach((address, i) => {
      if (!address) return;
      const {title, alt} = this.list.children[i].firstChild.firstChild.dataset;
      this.list.children[i].firstChild.replaceChildren(element("img", {src: address, title, alt}));
    });
  }

  tile(row) {
    const {sweep} = this.board;
    const name = sweep.name(sweep.label[row]);
    const grey = element("div", {className: "clipft-grey", title: `no image at hand: ${sweep.ids[row]}`,
      dataset: {title: sweep.ids[row], alt: name}});
    const open = button("", () => openImage(this.board, this.rows, this.rows.indexOf(row)), "clipft-open");
    open.setAttribute("aria-label", `${name}, ${sweep.ids[row]}: open`);
    open.replaceChildren(grey);
    const caption = element("figcaption", {}, element("b", {}, name));
    if (this.gap && sweep.gap) caption.append(element("br"), `gap ${sweep.gap[row].toFixed(1)}`);
    for (const place of this.places()) {
      const label = sweep.prediction(place)[row];
      // A mark says whether it is right: colour alone would not reach everybody.
      caption.append(element("br"), `${label === sweep.label[row] ? "✓" : "✗"} ${sweep.name(label)}`);
    }
    return element("figure", {}, open, caption);
  }
}

// One image, as large as it is, over the page; arrow keys go to the next one, Escape closes.
function openImage(board, rows, place) {
  const dialog = element("dialog", {className: "clipft-image"});
  dialog.setAttribute("data-lm-suppress-shortcuts", "true");
  let here = place;
  const show = async () => {
    const {sweep} = board;
    const row = rows[here];
    const picture = element("div", {className: "clipft-large"});
    const close = button("close", () => dialog.close());
    dialog.setAttribute("aria-label", sweep.name(sweep.label[row]));
    dialog.replaceChildren(close, element("h4", {}, sweep.name(sweep.label[row])), picture,
      paragraph(`${sweep.domains[sweep.split[row]]}: ${sweep.ids[row]}`),
      paragraph(sweep.gap ? `energy gap ${sweep.gap[row].toFixed(2)} squared logits` : ""), saidOf(sweep, row),
      paragraph(`${here + 1} of ${rows.length}; arrow keys: the next one`));
    close.focus();
    const address = await board.image(row).catch(() => null);
    if (row === rows[here]) {
      picture.replaceChildren(address ? element("img", {src: address, alt: sweep.name(sweep.label[row])})
        : paragraph("no image at hand"));
    }
  };
  dialog.onkeydown = (event) => {
    event.stopPropagation();
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step || !rows[here + step] && rows[here + step] !== 0) return;
    here += step;
    show();
  };
  dialog.onclose = () => dialog.remove();
  board.el.append(dialog);
  dialog.showModal();
  show();
}

// What the model says of an image at each alpha.
function saidOf(sweep, row) {
  const lines = [...sweep.alphas].map((alpha, place) => {
    const label = sweep.prediction(place)[row];
    const right = label === sweep.label[row] ? "✓" : "✗";
    return [alpha.toFixed(2), `${right} ${sweep.name(label)}`, percent(sweep.confidence(place)[row])];
  });
  return table(["alpha", "prediction", "confidence %"], lines);
}

// The selected images: how many, as tiles in an order, and as a file.
VIEWS.selected = class {
  constructor(board, host) {
    this.board = board;
    const orders = [["most moved", "gap"], ["most confident", "confidence"], ["by name", "name"]];
    this.tiles = new Tiles(board, {gap: true, places: () => [0, board.sweep.nearest(board.store.get("alpha"))]});
    this.title = element("h4", {role: "status"});
    this.clear = button("clear", () => board.select([]), "clipft-clear");
    this.csv = button("save as CSV", () => this.save());
    if (board.store.get("order") === undefined) board.store.set("order", "gap");
    const order = menu(board, "order", "order", orders);
    const bar = element("div", {className: "clipft-bar"}, this.title, order, this.clear, this.csv);
    host.append(bar, this.tiles.node);
    board.until(board.store.on("rows order", () => this.draw()));
    board.until(board.store.on("alpha", () => this.board.rows && this.draw()));
    this.draw();
  }

  draw() {
    const {sweep, rows} = this.board;
    const none = !sweep || !rows;
    this.title.textContent = none ? "No image is selected: all are shown"
      : `${plural(rows.length, "image")} of ${sweep.count.toLocaleString("en")} selected`;
    this.clear.disabled = none;
    this.csv.disabled = none;
    this.tiles.node.hidden = none;
    this.tiles.show(none ? [] : this.ordered());
  }

  ordered() {
    const {sweep, rows, store} = this.board;
    const order = store.get("order");
    if (order === "name") return [...rows].sort((a, b) => (sweep.ids[a] < sweep.ids[b] ? -1 : 1));
    const here = sweep.confidence(sweep.nearest(store.get("alpha")));
    return largestFirst(rows, order === "gap" ? sweep.gap : here);
  }

  save() {
    const {sweep} = this.board;
    const place = sweep.nearest(this.board.store.get("alpha"));
    const here = `at alpha ${sweep.alphas[place].toFixed(2)}`;
    const head = ["split", "id", "class", "zero-shot", here, "confidence", "energy gap"];
    const lines = this.ordered().map((row) => [
      sweep.splits[sweep.split[row]], sweep.ids[row], sweep.name(sweep.label[row]),
      sweep.name(sweep.prediction(0)[row]), sweep.name(sweep.prediction(place)[row]),
      sweep.confidence(place)[row], sweep.gap ? sweep.gap[row] : "",
    ]);
    download(`selection_${sweep.run}.csv`, csv([head, ...lines]));
  }

  close() {}
};
