// A figure in a live page; painter.js, late.js and library.js stand above this text.
const libraryOf = (model) =>
  model.widget_manager.get_model(model.get("library").slice("IPY_MODEL_".length));

export default {
  async initialize({model}) {
    hearLateOnes(await libraryOf(model));
  },
  async render({model, el}) {
    const Plotly = await plotlyOf(await libraryOf(model));
    const painter = new Painter(Plotly, el);
    const paint = () => painter.paint(model.get("figure"));
    model.on("change:figure", paint);
    await paint();
    return () => {
      model.off("change:figure", paint);
      painter.close();
    };
  },
};
