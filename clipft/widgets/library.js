// plotly.js, once a page: its text comes packed, and is loaded from a blob as widgets are.
function plotlyOf(library) {
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
