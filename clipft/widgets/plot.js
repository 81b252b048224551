// A figure in a live page; painter.js and library.js stand above this text.

const libraryOf = (model) =>
  model.widget_manager.get_model(model.get("library").slice("IPY_MODEL_".length));

// anywidget waits two seconds for a widget's script, and then drops all messages to that widget, for
// ever. On a busy machine the script comes later: hear them all the same. anyModel: a model as
// JupyterLab has it; those that are made after this are mended.
function hearLateOnes(anyModel) {
  const {prototype} = anyModel.constructor;
  const hear = prototype._handle_comm_msg;
  if (!hear || prototype.clipftHears) return;
  prototype.clipftHears = true;
  prototype._handle_comm_msg = async function (...message) {
    try {
      return await hear.apply(this, message);
    } catch (error) {
      if (!String(error).includes("Failed to initialize model")) throw error;
      return Object.getPrototypeOf(prototype)._handle_comm_msg.apply(this, message);
    }
  };
}

export default {
  async initialize({model}) {
    hearLateOnes(await libraryOf(model));
  },
  async render({model, el}) {
    const Plotly = await plotlyOf(await libraryOf(model));
    const tell = (name) => (value) => {
      model.set(name, value);
      model.save_changes();
    };
    const painter = new Painter(Plotly, el, {choose: tell("chosen"), select: tell("selection")});
    const paint = () => painter.paint(model.get("figure"), model.get("moves").t ? model.get("moves") : null);
    const mark = () => {
      painter.chosen = model.get("chosen");
      painter.selection = model.get("selection");
      if (!painter.selection.length) painter.outline = null;
    };
    const handlers = {
      "change:figure": paint,
      "change:alpha": () => painter.move(model.get("alpha")),
      "change:chosen change:selection": () => {
        if (painter.chosen === model.get("chosen") && painter.selection === model.get("selection")) return;
        mark();
        painter.mark();
      },
    };
    for (const [event, handler] of Object.entries(handlers)) model.on(event, handler);
    painter.alpha = model.get("alpha");
    mark();
    await paint();
    return () => {
      for (const [event, handler] of Object.entries(handlers)) model.off(event, handler);
      painter.close();
    };
  },
};
