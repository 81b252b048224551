// Shows the HTML that Python made; names in it are escaped there (texts.py).
export default {
  render({model, el}) {
    // What scrolls sideways is reached by the keyboard, too.
    const reach = () => {
      for (const table of el.querySelectorAll("table")) {
        if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
        else table.removeAttribute("tabindex");
      }
    };
    const show = () => {
      el.innerHTML = model.get("value");
      reach();
    };
    const resized = new ResizeObserver(reach);
    resized.observe(el);
    model.on("change:value", show);
    show();
    return () => {
      resized.disconnect();
      model.off("change:value", show);
    };
  },
};
