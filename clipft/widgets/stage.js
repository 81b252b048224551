// Puts an explorer into the place that its cell's output keeps for it. A saved notebook holds the
// empty place and the static twin below it, and so shows the twin where there is no kernel.
const GONE = "The kernel has ended or was restarted: run this cell again.";

// Lumino tells its widgets by messages that they are in the page.
function attach(place, view) {
  const {luminoWidget} = view;
  place.append(luminoWidget.node);
  luminoWidget.processMessage({type: "after-attach", isConflatable: false});
}

// A cell that runs again is emptied before its widgets end, and Lumino would then miss them.
function follow({luminoWidget}) {
  const {isAttached, isDisposed, node} = luminoWidget;
  if (isDisposed || isAttached === node.isConnected) return;
  luminoWidget.processMessage({type: isAttached ? "after-detach" : "after-attach", isConflatable: false});
}

// ipywidgets gives the handle of a slider no name that a screen reader could say.
function nameSliders(place) {
  for (const handle of place.querySelectorAll(".noUi-handle:not([aria-label])")) {
    const label = handle.closest(".widget-slider")?.querySelector(".widget-label");
    handle.setAttribute("aria-label", label?.textContent || "value");
  }
}

export default {
  initialize({model}) {
    const done = new WeakSet();
    const lines = [];
    const views = [];
    const fill = async (place) => {
      done.add(place);
      const manager = model.widget_manager;
      const child = await manager.get_model(model.get("child").slice("IPY_MODEL_".length));
      const line = Object.assign(document.createElement("p"), {className: "clipft-gone"});
      line.setAttribute("role", "status");
      place.replaceChildren(line);
      const view = await manager.create_view(child);
      attach(place, view);
      views.push(view);
      place.classList.add("clipft-live");
      lines.push(line);
    };
    const look = () => {
      for (const place of document.getElementsByClassName(model.get("place"))) {
        if (!done.has(place)) fill(place);
        nameSliders(place);
      }
      views.forEach(follow);
    };
    const watch = new MutationObserver(look);
    watch.observe(document.body, {childList: true, subtree: true});
    look();
    const part = () => {
      for (const line of lines) line.textContent = GONE;
    };
    model.on("comm_live_update", part);
    return () => {
      watch.disconnect();
      model.off("comm_live_update", part);
    };
  },
};
