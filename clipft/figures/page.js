// The figures of a saved page; painter.js stands above this text and paints them.

// A click on a point goes to the place on the page that its trace names.
function lead({curveNumber, pointNumber}, data) {
  const {to} = data[curveNumber].meta ?? {};
  const place = Array.isArray(to) ? to[pointNumber] : to;
  if (place && document.getElementById(place)) location.hash = place;
}

addEventListener("DOMContentLoaded", async () => {
  const hosts = document.querySelectorAll(".clipft-figure");
  let Plotly;
  try {
    Plotly = await plotlyOnce(packedInPage);
  } catch (error) {
    for (const host of hosts) host.textContent = error.message;
    return;
  }
  for (const host of hosts) {
    const text = host.nextElementSibling.textContent;
    const painter = new Painter(Plotly, host, {click: (point) => lead(point, painter.data)});
    painter.paint(text);
  }
});
