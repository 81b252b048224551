// A stop button. While a cell waits for the training, the kernel reads no message of the page:
// then it is interrupted, as by Lab's own button. Elsewhere, or where the page cannot, it is told.
export default {
  render({model, el}) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "jupyter-widgets jupyter-button widget-button clipft-stop";
    button.textContent = "stop";

    const press = async () => {
      const kernel = model.widget_manager.kernel;
      try {
        if (model.get("waiting") && kernel) return await kernel.interrupt();
      } catch (error) {
        console.warn("clipft: this page cannot interrupt the kernel", error);
      }
      model.send("stop");
    };
    const follow = () => {
      button.disabled = model.get("disabled");
    };

    button.addEventListener("click", press);
    model.on("change:disabled", follow);
    follow();
    el.append(button);
    return () => model.off("change:disabled", follow);
  },
};
