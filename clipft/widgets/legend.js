// A legend that is searched; which entries a text finds is said by Python.
const SHAPES = {
  circle: "M1,0A1,1 0 1,1 -1,0A1,1 0 1,1 1,0Z",
  diamond: "M0,-1.3L1.1,0L0,1.3L-1.1,0Z",
  square: "M-.9,-.9H.9V.9H-.9Z",
  cross: "M-.4,-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
  "triangle-up": "M0,-1.2L1.1,.8H-1.1Z",
  star: "M0,-1.3L.35,-.4L1.25,-.4L.55,.2L.8,1.1L0,.55L-.8,1.1L-.55,.2L-1.25,-.4L-.35,-.4Z",
  x: "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
  pentagon: "M0,-1.2L1.15,-.35L.7,1H-.7L-1.15,-.35Z",
};
const SVG = "http://www.w3.org/2000/svg";
const STEPS = {ArrowDown: 1, ArrowUp: -1};
const PAUSE = 150; // milliseconds without a key, after which what was typed is looked for

function element(name, looks, ...children) {
  const made = Object.assign(document.createElement(name), looks);
  made.append(...children);
  return made;
}

function swatch({colour, symbol}) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "-1.5 -1.5 3 3");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[symbol]);
  path.setAttribute("fill", colour);
  svg.append(path);
  return svg;
}

export default {
  render({model, el}) {
    const tell = (name, value) => {
      model.set(name, value);
      model.save_changes();
    };
    const field = element("input", {type: "search", placeholder: "find a class", className: "clipft-find"});
    field.setAttribute("aria-label", "find a class");
    const list = element("div", {className: "clipft-classes", title: "Click: one class; Ctrl and click: several"});
    list.setAttribute("role", "listbox");
    list.setAttribute("aria-label", "classes");
    list.setAttribute("aria-multiselectable", "true");
    list.setAttribute("data-lm-suppress-shortcuts", "true"); // keys are the list's, not the notebook's
    el.replaceChildren(field, list);

    let options = [];
    const choose = (number, several) => {
      const chosen = model.get("chosen");
      const others = chosen.filter((other) => other !== number);
      const alone = chosen.includes(number) && !others.length;
      if (several) tell("chosen", chosen.includes(number) ? others : [...chosen, number]);
      else tell("chosen", alone ? [] : [number]);
    };
    const make = () => {
      options = model.get("entries").map((entry, number) => {
        const count = element("small", {textContent: entry.count});
        const option = element("div", {tabIndex: -1}, swatch(entry), element("span", {textContent: entry.name}), count);
        option.setAttribute("role", "option");
        option.onclick = (event) => choose(number, event.ctrlKey || event.metaKey || event.shiftKey);
        return option;
      });
      list.replaceChildren(...options);
      mark();
    };
    const mark = () => {
      const shown = new Set(model.get("shown"));
      const chosen = new Set(model.get("chosen"));
      options.forEach((option, number) => {
        option.hidden = !shown.has(number);
        option.tabIndex = number === model.get("shown")[0] ? 0 : -1; // Tab goes to the first alone
        option.setAttribute("aria-selected", chosen.has(number));
      });
      if (field !== document.activeElement) field.value = model.get("find");
    };

    let timer;
    field.oninput = () => {
      clearTimeout(timer);
      timer = setTimeout(() => tell("find", field.value), PAUSE);
    };
    list.onkeydown = (event) => {
      const number = options.indexOf(document.activeElement);
      if (number < 0) return;
      const shown = model.get("shown");
      const next = options[shown[shown.indexOf(number) + STEPS[event.key]]];
      if (next) next.focus();
      else if (event.key === "Enter" || event.key === " ") choose(number, event.ctrlKey || event.metaKey);
      else if (!STEPS[event.key]) return;
      event.preventDefault();
      event.stopPropagation();
    };
    model.on("change:entries", make);
    model.on("change:shown change:chosen change:find", mark);
    make();
    return () => {
      clearTimeout(timer);
      model.off("change:entries", make);
      model.off("change:shown change:chosen change:find", mark);
    };
  },
};
