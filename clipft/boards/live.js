// A board as a widget: its state is the widget's, and a kernel answers; all other files of the board
// stand above this text.

// What came with the widget, and then its kernel.
class Live {
  constructor(model) {
    this.model = model;
    this.kernel = new Kernel(model);
    this.part = () => model.get("comm_live") === false && this.kernel.end("The kernel has ended: run the cell again.");
    model.on("comm_live_update", this.part);
    this.patience = model.widget_manager ? 10_000 : 0;
  }

  // What came with the widget is out of date.
  forget() {
    this.isOld = true;
  }

  async ask(question) {
    const given = this.isOld ? null : this.model.get("given")[keyOf(question)];
    return given && !question.again ? givenAnswer(given) : this.kernel.ask(question);
  }

  async images(run, ids) {
    const {lengths, arrays} = await this.ask({what: "thumbnails", run, ids});
    return cutImages(lengths, arrays.bytes);
  }

  close() {
    this.model.off("comm_live_update", this.part);
    this.kernel.close();
  }
}

async function initialize({model}) {
  const manager = model.widget_manager; // JupyterLab's; others have none, and no such fault
  if (manager) hearLateOnes(await manager.get_model(model.get("library")));
}

function render({model, el}) {
  const store = new ModelStore(model);
  const source = new Live(model);
  const board = new Board(el, store, source, {about: model.get("about"), live: true});
  return () => {
    board.close();
    source.close();
    store.close();
  };
}

export default {initialize, render};
