// The left side: sizes, and for each pattern its code, its controls and what is wrong with it.

const NS = (() => {
  const out = [];
  for (let x = 3; x <= 20; x += 0.25) out.push(Math.round(2 ** x));
  return out;
})();

const BLOCKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

// Returns a function that brings it up to date.
function leftOf(root, { get, offline, quietly, choose, sides, trees, said, failed, resize, set, edit }) {
  const left = make(root, "div", { className: "sv-left" });
  if (offline && get("states").length > 1) choice(left, "state", "what to show", get("states"), choose);
  const size = make(left, "div", { className: "sv-sizes", role: "group", "aria-label": "sizes" });
  const n = slider(size, "n", "number of positions", (x) => resize(Math.max(1, Math.min(1 << 20, x))));
  const block = slider(size, "block", "tile of the kernel", (x) => set("block", x), { exact: false });
  const layers = slider(size, "layers", "layers of the stack", (x) => set("layers", x));
  const head = slider(size, "head", "which head; all of them together below 0", (x) => quietly("head", x), {
    exact: false,
    show: (x) => (x < 0 ? "all" : x),
  });
  const panels = ["a", "b"].map((name) => {
    const box = make(left, "section", { className: "sv-side", "aria-label": name === "a" ? "pattern A" : "pattern B" });
    const bar = make(box, "div", { className: "sv-bar" });
    const heading = make(bar, "strong", { textContent: name.toUpperCase() });
    const compare = () => edit({ b: trees().b ? null : structuredClone(trees().a) });
    const action = button(bar, "", "", compare, { className: "sv-wide", hidden: name === "a" || offline });
    const code = make(box, "code", { className: "sv-code", tabIndex: 0, "aria-label": "the line of Python that makes it" });
    const body = make(box, "div", { className: "sv-body" }),
      error = make(box, "p", { className: "sv-error", role: "alert" });
    const panel = panelOf(body, {
      offline,
      words: () => get("words"),
      tree: () => trees()[name],
      panel: () => sides()[name]?.panel,
      direct: (field) => sides()[name] && field in sides()[name].direct,
      edit: (change, field, value) => edit({ [name]: change(trees()[name]) }, name, field, value),
    });
    return () => {
      const side = sides()[name],
        here = !!trees()[name];
      box.hidden = !here && offline;
      action.textContent = trees().b ? "close" : "compare with a second pattern";
      action.setAttribute("aria-label", action.textContent);
      action.title = action.textContent;
      heading.hidden = !trees().b;
      code.textContent = (here && said(name)?.code) || "";
      code.hidden = !code.textContent;
      error.textContent = (here && side?.error) || (side && failed.get(side.key)) || "";
      error.hidden = !error.textContent;
      panel();
    };
  });
  return () => {
    const { a, b } = sides(),
      heads = Math.max(a?.heads ?? 0, b?.heads ?? 0);
    n.update(NS.includes(get("n")) ? NS : [...NS, get("n")].sort((x, y) => x - y), get("n"));
    n.enable(!offline || [a, b].every((x) => !x || (x.key && x.n === null)));
    block.update(BLOCKS, get("block"));
    layers.update(valuesOf(1, 128, 1), get("layers"));
    layers.enable(!offline);
    head.row.hidden = !heads;
    head.update(valuesOf(-1, Math.max(0, heads - 1), 1), get("head"));
    head.enable(!offline);
    for (const panel of panels) panel();
  };
}
