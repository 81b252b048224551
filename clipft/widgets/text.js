// Shows the HTML that Python made; names in it are escaped there (texts.py).
export default {
  render({model, el}) {
    const show = () => {
      el.innerHTML = model.get("value");
    };
    model.on("change:value", show);
    show();
    return () => model.off("change:value", show);
  },
};
