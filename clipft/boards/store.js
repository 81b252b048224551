// What the views of a board share: its state, and who answers its questions. Live the state is the
// widget's and a kernel answers; in a saved page both lie in the page. No view knows which it is.
const VIEWS = {}; // name -> class, whose instances are made with (board, host) and have close()

// A state whose names and values nobody else holds.
class Store {
  constructor(values = {}) {
    this.values = {...values};
    this.listeners = new Map();
  }

  get(name) {
    return this.values[name];
  }

  set(name, value) {
    if (Object.is(this.values[name], value)) return;
    this.values[name] = value;
    this.tell(name);
  }

  // names: some, with blanks between them. Returns what ends it.
  on(names, listener) {
    for (const name of names.split(" ")) {
      if (!this.listeners.has(name)) this.listeners.set(name, new Set());
      this.listeners.get(name).add(listener);
    }
    return () => names.split(" ").forEach((name) => this.listeners.get(name).delete(listener));
  }

  tell(name) {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener();
  }
}

// The state of a widget: what is no trait of it is kept here alone.
class ModelStore extends Store {
  constructor(model) {
    super();
    this.model = model;
    this.heard = new Map();
  }

  isTrait(name) {
    return this.model.get(name) !== undefined;
  }

  get(name) {
    return this.isTrait(name) ? this.model.get(name) : super.get(name);
  }

  set(name, value) {
    if (!this.isTrait(name)) return super.set(name, value);
    if (Object.is(this.model.get(name), value)) return;
    this.model.set(name, value); // tells listeners, too
    // A number is said at once: the echo of the one before would pull back one that is not said yet.
    if (!Array.isArray(value)) return void this.model.save_changes();
    // Said to the kernel when all that is asked of it now was asked: a long list takes its time.
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.model.save_changes());
  }

  on(names, listener) {
    for (const name of names.split(" ")) {
      if (this.heard.has(name)) continue;
      const hear = () => this.tell(name);
      this.model.on(`change:${name}`, hear);
      this.heard.set(name, hear);
    }
    return super.on(names, listener);
  }

  close() {
    for (const [name, hear] of this.heard) this.model.off(`change:${name}`, hear);
  }
}

const ARRAYS = {
  f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array,
};

// An array as it came, in bytes; aligned as its kind wants it.
function arrayOf(kind, bytes) {
  const view = ArrayBuffer.isView(bytes) ? bytes : new Uint8Array(bytes);
  const copy = new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice();
  return new ARRAYS[kind](copy.buffer);
}

// A question's name: the same for the same question, in Python too (`key_of`). Numbers are texts in
// it: Python writes 1.0 and 1e-05 where a page writes 1 and 0.00001.
function keyOf(question) {
  const sorted = (value) => {
    if (typeof value === "number") return String(value);
    if (Array.isArray(value)) return value.map(sorted);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.keys(value).sort().map((name) => [name, sorted(value[name])]));
  };
  return JSON.stringify(sorted(question));
}

// Answers a kernel gives: {ask: name, question} goes, {answer: name, json, kinds} comes back.
class Kernel {
  constructor(model) {
    this.model = model;
    this.count = 0;
    // Every view of a widget hears all answers: each has a name in its numbers.
    this.name = Math.random().toString(36).slice(2);
    this.waiting = new Map();
    this.hear = (message, buffers) => this.answered(message, buffers ?? []);
    model.on("msg:custom", this.hear);
  }

  ask(question) {
    this.count += 1;
    const number = `${this.name}-${this.count}`;
    return new Promise((done, fail) => {
      this.waiting.set(number, {done, fail});
      try {
        this.model.send({ask: number, question});
      } catch { // "Cannot send": it has no kernel any more
        this.waiting.delete(number);
        fail(new Error("The kernel has ended or was restarted: run this cell again."));
      }
    });
  }

  answered({answer, json, kinds, error}, buffers) {
    const {done, fail} = this.waiting.get(answer) ?? {};
    this.waiting.delete(answer);
    if (error !== undefined) fail?.(new Error(error));
    else if (done) {
      const arrays = {};
      Object.entries(kinds).forEach(([name, kind], i) => (arrays[name] = arrayOf(kind, buffers[i])));
      done({...json, arrays});
    }
  }

  // The kernel is gone: nobody waits any longer.
  end(text) {
    for (const {fail} of this.waiting.values()) fail(new Error(text));
    this.waiting.clear();
  }

  close() {
    this.end("closed");
    this.model.off("msg:custom", this.hear);
  }
}

// Answers that came with a widget's state: {key: {json, kinds, arrays: bytes}}.
function givenAnswer({json, kinds, arrays}) {
  const typed = {};
  for (const [name, kind] of Object.entries(kinds)) typed[name] = arrayOf(kind, arrays[name]);
  return {...json, arrays: typed};
}

// Answers that lie in a saved page: {key: {kinds, blobs: {name: digest}}}; blobs: digest -> packed
// bytes as base64, which several boards of a page share.
class Saved {
  constructor(answers, blobs) {
    Object.assign(this, {answers, blobs});
  }

  has(question) {
    const answer = this.answers[keyOf(question)];
    return answer !== undefined && !answer.error;
  }

  async ask(question) {
    const answer = this.answers[keyOf(question)];
    if (!answer) throw new Error("This page was saved without it: it needs a kernel.");
    if (answer.error) throw new Error(answer.error);
    const arrays = {};
    for (const [name, kind] of Object.entries(answer.kinds)) {
      arrays[name] = arrayOf(kind, await this.bytes(answer.blobs[name]));
    }
    const json = new TextDecoder().decode(await this.bytes(answer.blobs.json));
    return {...JSON.parse(json), arrays};
  }

  bytes(digest) {
    return unpacked(bytesOf(this.blobs[digest]));
  }
}

// --- libraries, once a page ---

const packedOf = (name, ask) => ask({what: "library", name}).then(({arrays}) => arrays.packed);

// patience: milliseconds to wait for what was sent ahead (library.js), which a busy kernel would
// give late.
async function plotlyOf(ask, patience) {
  const end = performance.now() + patience;
  while (!globalThis.Plotly && !globalThis.clipftPlotly && performance.now() < end) {
    await new Promise((done) => setTimeout(done, 20));
  }
  return plotlyOnce(() => packedOf("plotly", ask));
}

// DataTables, as the itables package brings it: an ES module, which no page has to serve.
async function dataTablesOf(ask) {
  globalThis.clipftTables ??= packedOf("datatables", ask).then(unpacked).then(async (bytes) => {
    // The bundle looks for a page's loader of modules, and takes `$`.
    const own = "var define, require, module, exports;\n";
    const address = URL.createObjectURL(new Blob([own, bytes], {type: "text/javascript"}));
    const {$, DateTime} = globalThis;
    const tables = await import(address);
    Object.assign(globalThis, {$, DateTime});
    URL.revokeObjectURL(address);
    return tables.default;
  });
  globalThis.clipftTables.catch(() => delete globalThis.clipftTables);
  return globalThis.clipftTables;
}
