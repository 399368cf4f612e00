// Elements of the interface: labelled, reachable by tab, told to screen readers.

let serial = 0;
function make(parent, tag, props = {}, ...children) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (key in el && key !== "list" && key !== "role") el[key] = value;
    else el.setAttribute(key, value);
  }
  el.append(...children);
  parent?.append(el);
  return el;
}

const grouped = (x) => Math.round(x).toLocaleString("en-US");
const percent = (share) => {
  const p = 100 * share;
  return `${p >= 0.1 || p === 0 ? p.toFixed(1) : p.toPrecision(2)} %`;
};
const quiet = (el) => {
  el.dataset.lmSuppressShortcuts = "true";
  return el;
}; // on the input itself: JupyterLab takes its arrow keys otherwise

function button(parent, text, label, onclick, props = {}) {
  return make(parent, "button", { type: "button", textContent: text, title: label, "aria-label": label, onclick, ...props });
}

// All values of a range, or ever wider steps where there are many.
function valuesOf(lo, hi, step) {
  const out = [];
  for (let x = lo; x <= hi;) {
    out.push(x);
    x = (hi - lo) / step <= 200 ? x + step : Math.max(x + step, lo + step * Math.round(((x - lo) * 1.03) / step));
  }
  if (out[out.length - 1] !== hi) out.push(hi);
  return out;
}

// A slider over a list of values, and a field for any number between. update(values, value) never touches what is being dragged or typed.
function slider(parent, label, help, onchange, { exact = true, show = grouped } = {}) {
  const id = `sv${++serial}`,
    row = make(parent, "div", { className: "sv-row", title: help ?? "" });
  make(row, "label", { textContent: label, htmlFor: id });
  const range = quiet(make(row, "input", { type: "range", id, min: 0, step: 1, "aria-label": label }));
  const field = exact
    ? quiet(make(row, "input", { type: "number", className: "sv-number", "aria-label": `${label}, exactly` }))
    : make(row, "output");
  let values = [0],
    now = 0;
  const told = () => {
    if (exact) field.value = now;
    else field.textContent = show(now);
    range.setAttribute("aria-valuetext", show(now));
  };
  range.oninput = () => {
    now = values[+range.value];
    told();
    onchange(now);
  };
  if (exact)
    field.onchange = () => {
      const x = Math.round(+field.value);
      if (Number.isFinite(x)) {
        now = x;
        place();
        onchange(x);
      }
    };
  const place = () => {
    let best = 0;
    for (let k = 1; k < values.length; k++) if (Math.abs(values[k] - now) < Math.abs(values[best] - now)) best = k;
    range.value = best;
  };
  const focused = () => row.getRootNode().activeElement;
  return {
    row,
    range,
    field,
    update(list, value) {
      values = list;
      range.max = list.length - 1;
      if (focused() === range && range.dataset.held) return;
      if (value !== now || range.value === "") {
        now = value;
      }
      if (focused() !== field) told();
      if (values[+range.value] !== now) place();
    },
    enable(on) {
      range.disabled = !on;
      if (exact) field.disabled = !on;
    },
  };
}

function choice(parent, label, help, options, onchange) {
  const id = `sv${++serial}`,
    row = make(parent, "div", { className: "sv-row", title: help ?? "" });
  make(row, "label", { textContent: label, htmlFor: id });
  const select = make(row, "select", { id, onchange: () => onchange(select.value) });
  for (const x of options) make(select, "option", { value: x, textContent: x });
  return { row, select };
}
