// Packed bytes that lie in a page, and scripts made of them.
const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

async function unpacked(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Run a script's text as a page does; a loader of modules would hide what it defines.
async function runScript(text) {
  const {define} = globalThis;
  globalThis.define = undefined;
  const script = document.createElement("script");
  script.src = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
  const loaded = new Promise((done, fail) => {
    script.onload = done;
    script.onerror = () => fail(new Error("clipft: the page refused a script"));
  });
  document.head.append(script);
  try {
    await loaded;
  } finally {
    globalThis.define = define;
    URL.revokeObjectURL(script.src);
    script.remove();
  }
}

// plotly.js, once a page; packed() gives its bytes where no script of the page brought it.
function plotlyOnce(packed) {
  if (globalThis.Plotly) return globalThis.Plotly;
  globalThis.clipftPlotly ??= Promise.resolve(packed()).then(unpacked)
    .then((bytes) => runScript(new TextDecoder().decode(bytes))).then(() => globalThis.Plotly);
  globalThis.clipftPlotly.catch(() => delete globalThis.clipftPlotly);
  return globalThis.clipftPlotly;
}

function packedInPage() {
  const packed = document.getElementById("clipft-plotly")?.textContent;
  if (!packed) throw new Error("plotly.min.js is not where this page looks for it");
  return bytesOf(packed);
}
