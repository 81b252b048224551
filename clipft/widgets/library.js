// plotly.js, sent to a page once for all of its charts; packed.js stands above this text.
const plotlyOf = (library) => plotlyOnce(() => library.get("packed"));
