// Figures as images; painter.js stands above this text. Kaleido draws in a page of its own what it is
// given: here that is laid out first, as in every other page.
const draw = kaleido_scopes.plotly;
kaleido_scopes.plotly = (spec, ...rest) => {
  const figure = spec.data;
  const layout = fitted(figure, spec.width);
  layout.template = CLIPFT_THEMES.light;
  // A table that needs more room is as wide as all others, with smaller letters.
  const scale = spec.scale * spec.width / layout.width;
  const {width, height} = layout;
  return draw({...spec, data: {...figure, layout}, width, height, scale}, ...rest);
};
