// A figure in a live page; painter.js stands above this text and paints it.

// plotly.js, once a page: its text comes packed, and is loaded from a blob as widgets are.
async function plotly(model) {
  const library = await model.widget_manager.get_model(model.get("library").slice("IPY_MODEL_".length));
  globalThis.clipftPlotly ??= unpacked(library.get("packed"));
  return globalThis.clipftPlotly;
}

async function unpacked(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const text = await new Response(stream).text();
  const {define} = globalThis;
  globalThis.define = undefined; // a loader of modules would hide it
  const script = document.createElement("script");
  script.src = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
  const loaded = new Promise((done, fail) => {
    script.onload = done;
    script.onerror = () => fail(new Error("clipft: the page refused plotly.js"));
  });
  document.head.append(script);
  await loaded;
  globalThis.define = define;
  URL.revokeObjectURL(script.src);
  script.remove();
  return globalThis.Plotly;
}

export default {
  async render({model, el}) {
    const Plotly = await plotly(model);
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
