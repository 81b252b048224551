// A button that has the kernel look again, and a number of seconds after which it does so by
// itself, as long as the page is seen. Nothing is asked before the last question was answered.
export default {
  render({model, el}) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "jupyter-widgets jupyter-button widget-button";
    button.textContent = "refresh";
    const label = document.createElement("label");
    const seconds = Object.assign(document.createElement("input"), {type: "number", min: 0, step: "any"});
    seconds.className = "clipft-seconds";
    label.append("every ", seconds, " s (0: only by hand)");

    let waiting = false;
    let timer = null;
    const ask = () => {
      if (waiting) return;
      waiting = true;
      model.send("refresh");
    };
    const answered = () => {
      waiting = false;
    };
    const follow = () => {
      const every = model.get("value");
      if (document.activeElement !== seconds) seconds.value = every;
      clearInterval(timer);
      timer = null;
      if (every > 0) timer = setInterval(() => document.hidden || ask(), 1000 * every);
    };

    button.addEventListener("click", ask);
    // While one types: a notebook keeps Enter, after which a page would say "change", to itself.
    seconds.addEventListener("input", () => {
      model.set("value", Math.max(0, Number(seconds.value) || 0));
      model.save_changes();
    });
    seconds.addEventListener("blur", follow);
    model.on("msg:custom", answered);
    model.on("change:value", follow);
    follow();
    el.classList.add("clipft-refresh");
    el.append(button, label);
    return () => {
      clearInterval(timer);
      model.off("msg:custom", answered);
      model.off("change:value", follow);
    };
  },
};
