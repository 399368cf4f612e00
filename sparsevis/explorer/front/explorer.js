// The explorer: state comes from traits and goes back to them; what can be drawn without Python is drawn at once.

const TITLES = { mask: "Mask", tiles: "Tiles", field: "Receptive field", graph: "Graph", cost: "Cost", real: "Real attention" };
const NS = (() => {
  const out = [];
  for (let x = 3; x <= 20; x += 0.25) out.push(Math.round(2 ** x));
  return out;
})();

function render({ model, el }) {
  const root = make(el, "div", { className: "sv-explorer" }),
    offline = !!model.get("offline");
  const get = (key) => model.get(key),
    quietly = (key, value) => {
      model.set(key, value);
      model.save_changes();
    };
  let mine = get("trees"),
    sides = get("sides"),
    optimistic = {},
    cursor = null,
    theme = PALETTE.light,
    drawn = 0,
    alive = true;
  const written = { n: get("n") };

  const programs = programsOf({
    get,
    quietly,
    offline,
    redraw: () => redraw(),
    view: () => viewOf(),
    sides: () => sides,
    edited: (name) => (sides.stamp < mine.stamp ? optimistic[name] : null) ?? {},
  });
  const { counter: counterOf, program: programOf, answer: answerOf, answers, failed } = programs;

  // ---- the view

  const viewOf = () => {
    const v = get("view");
    return v?.length === 3 ? v : [0, 0, get("n")];
  };
  function setView([i, j, cells]) {
    const n = get("n"),
      c = Math.min(Math.max(8, n), Math.max(8, Math.round(cells))),
      cell = cellOf(c);
    const placed = (x) => Math.floor(Math.max(0, Math.min(n - c, x)) / cell) * cell;
    const next = [placed(i), placed(j), c];
    if (next.some((x, k) => x !== viewOf()[k])) {
      quietly("view", next);
      redraw();
    }
  }

  // ---- the left side

  const left = make(root, "div", { className: "sv-left" }),
    main = make(root, "div", { className: "sv-main" });
  if (offline && get("states").length > 1) {
    const states = choice(left, "state", "what to show", get("states"), (x) => model.set("state", x));
    states.row.classList.add("sv-states");
  }
  const size = make(left, "div", { className: "sv-sizes", role: "group", "aria-label": "sizes" });
  const n = slider(size, "n", "number of positions", (x) => {
    const whole = Math.max(1, Math.min(1 << 20, x));
    model.set("view", [0, 0, whole]);
    cursor = null;
    quietly("n", whole);
    redraw();
  });
  const block = slider(
    size,
    "block",
    "tile of the kernel",
    (x) => {
      quietly("block", x);
      redraw();
    },
    { exact: false },
  );
  const layers = slider(size, "layers", "layers of the stack", (x) => {
    quietly("layers", x);
    redraw();
  });
  const head = slider(size, "head", "which head; all of them together below 0", (x) => quietly("head", x), {
    exact: false,
    show: (x) => (x < 0 ? "all" : x),
  });
  const panels = {};
  for (const name of ["a", "b"]) {
    const box = make(left, "section", { className: "sv-side", "aria-label": name === "a" ? "pattern A" : "pattern B" });
    const bar = make(box, "div", { className: "sv-bar" });
    const heading = make(bar, "strong", { textContent: name.toUpperCase() });
    const action = button(
      bar,
      "",
      "",
      () => {
        const trees = { ...mine, stamp: mine.stamp + 1, b: mine.b ? null : structuredClone(mine.a) };
        mine = trees;
        optimistic = {};
        quietly("trees", trees);
        redraw();
      },
      { className: "sv-wide" },
    );
    const code = make(box, "code", { className: "sv-code", tabIndex: 0, "aria-label": "the line of Python that makes it" });
    const body = make(box, "div", { className: "sv-body" }),
      error = make(box, "p", { className: "sv-error", role: "alert" });
    const host = {
      offline,
      words: () => get("words"),
      tree: () => mine[name],
      panel: () => sides[name]?.panel,
      direct: (field) => sides[name] && field in sides[name].direct,
      edit(change, field, value) {
        mine = { ...mine, [name]: change(mine[name]), stamp: mine.stamp + 1 };
        if (field !== undefined && typeof value === "number") (optimistic[name] ??= {})[field] = value;
        else optimistic = {};
        quietly("trees", mine);
        redraw();
      },
    };
    panels[name] = { box, heading, action, code, error, update: panelOf(body, host) };
  }

  // ---- the right side

  const tabs = make(main, "div", { className: "sv-tabs", role: "tablist", "aria-label": "views" });
  const views = VIEWS.filter((name) => get("views")?.includes(name) ?? true);
  const shown = views.map((name) =>
    button(
      tabs,
      TITLES[name],
      TITLES[name],
      () => {
        quietly("show", name);
        redraw();
      },
      { role: "tab", id: `sv-tab-${++serial}` },
    ),
  );
  tabs.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key],
      k = views.indexOf(get("show"));
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = shown[(k + step + shown.length) % shown.length];
    next.click();
    next.focus();
  };
  const tools = make(main, "div", { className: "sv-tools", role: "toolbar", "aria-label": "zoom" });
  const center = () => {
    const [i, j, c] = viewOf();
    return cursor ?? [i + c / 2, j + c / 2];
  };
  const zoomBy = (f) => figures[0]?.zoom(f, center());
  button(tools, "+", "zoom in", () => zoomBy(0.5));
  button(tools, "−", "zoom out", () => zoomBy(2));
  button(tools, "all", "show all positions", () => setView([0, 0, get("n")]));
  button(tools, "pairs", "zoom until single pairs can be told apart", () => {
    const [i, j] = center(),
      c = Math.min(get("n"), 32);
    setView([i - c / 2, j - c / 2, c]);
  });
  const stage = make(main, "div", { className: "sv-stage", role: "tabpanel" });
  const info = make(main, "div", { className: "sv-info" }),
    live = make(main, "div", { className: "sv-hidden", "aria-live": "polite" });
  const extra = make(main, "div", { className: "sv-extra" });

  const host = {
    n: () => get("n"),
    view: viewOf,
    setView,
    counter: (name) => {
      const c = counterOf(name);
      return c && c.n === get("n") ? c : null;
    },
    answer: answerOf,
    colours: (name) => sides[name].colours.map((x) => PALETTE.ingredient[x]),
    tiles: (name) => get("show") === "tiles" && name !== "difference",
    query: () => get("query"),
    showQuery: () => get("show") === "field" || get("show") === "graph",
    cursor: () => cursor,
    title: titleOf,
    most: () => (sides.b ? 420 : 560),
    stamp: programs.stamp,
    point(pair, name, aloud) {
      cursor = pair;
      pointed = name;
      tell(aloud);
      redraw();
    },
    pick(pair, name) {
      cursor = pair;
      quietly("query", pair[0]);
      host.point(pair, name, true);
    },
  };
  let figures = [],
    figuresFor = "",
    pointed = "a";
  function titleOf(name) {
    return name === "difference" ? "difference of A and B" : (sides[name]?.code ?? "");
  }
  function tell(aloud) {
    if (!cursor || !sides[pointed] || cursor.some((x) => x >= get("n"))) {
      info.textContent = HINT;
      return;
    }
    const names = sides.b && pointed !== "difference" ? ["a", "b"] : [pointed];
    info.textContent = names
      .map((name, k) => {
        const cell = figures.find((f) => f.name === name)?.cell() ?? 1;
        const text = described(cursor, cell, name, sides[name], counterOf(name), programOf(name)?.lists, answers[name]?.answer);
        return names.length < 2 ? text : k ? `B: ${text.slice(text.indexOf(": ") + 2)}` : text.replace(": ", ": A: ");
      })
      .join(". ");
    if (aloud) live.textContent = info.textContent;
  }
  const HINT = "Point at a pair, or move with the arrow keys; + and − zoom, drag moves, a click chooses the query.";

  // ---- drawing

  let waiting = 0,
    later = 0,
    themed = false;
  function redraw() {
    if (alive)
      waiting ||= requestAnimationFrame(() => {
        waiting = 0;
        draw();
      });
  }
  function draw() {
    if (!themed) {
      theme = themeOf(el);
      themed = true;
    }
    root.dataset.theme = theme.dark ? "dark" : "light";
    root.classList.toggle("sv-two", !!sides.b);
    n.update(NS.includes(get("n")) ? NS : [...NS, get("n")].sort((x, y) => x - y), get("n"));
    block.update([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096], get("block"));
    layers.update(valuesOf(1, 128, 1), get("layers"));
    const heads = Math.max(sides.a?.heads ?? 0, sides.b?.heads ?? 0);
    head.row.hidden = !heads;
    head.update(valuesOf(-1, Math.max(0, heads - 1), 1), get("head"));
    n.enable(!offline || ["a", "b"].every((x) => !sides[x] || (sides[x].key && sides[x].n === null)));
    layers.enable(!offline);
    head.enable(!offline);
    for (const [name, p] of Object.entries(panels)) {
      const side = sides[name];
      p.box.hidden = !mine[name] && offline;
      p.action.textContent = name === "a" ? "" : mine.b ? "close" : "compare with a second pattern";
      p.action.hidden = name === "a" || offline;
      p.heading.hidden = name === "a" ? !mine.b : !mine.b;
      p.code.textContent = mine[name] && side?.code ? side.code : "";
      p.code.hidden = !p.code.textContent;
      p.error.textContent = (mine[name] && side?.error) || (side && failed.get(side.key)) || "";
      p.error.hidden = !p.error.textContent;
      p.update();
    }
    views.forEach((name, k) => {
      const on = get("show") === name;
      shown[k].setAttribute("aria-selected", on);
      shown[k].tabIndex = on ? 0 : -1;
    });
    const wanted = sides.b ? ["a", "b", "difference"] : ["a"];
    if (figuresFor !== wanted.join()) {
      figures.forEach((f) => f.remove());
      figures = wanted.map((name) => Object.assign(figureOf(stage, host, name), { name }));
      figuresFor = wanted.join();
    }
    const pictured = extras(get("show"));
    stage.hidden = tools.hidden = info.hidden = !pictured;
    if (pictured) for (const f of figures) if (sides[f.name]) f.draw(theme);
    if (pictured) tell(false);
    root.dataset.drawn = ++drawn;
    root.dataset.stamp = sides.stamp;
    clearTimeout(later);
    later = setTimeout(captions, 40);
  }
  function captions() {
    if (!alive) return;
    for (const f of figures) {
      const side = sides[f.name],
        counter = side && host.counter(f.name);
      if (!side) continue;
      f.title.textContent = f.name === "difference" ? "A compared with B" : sides.b ? `${f.name.toUpperCase()}: ${side.code}` : "";
      if (!counter && (side.key || !answers[f.name])) f.facts.textContent = side.error ? "" : "computing …";
      if (counter) f.facts.textContent = factsOf(counter, f.name, side);
      else if (answers[f.name]?.answer.nnz !== undefined) f.facts.textContent = sentence(answers[f.name].answer.nnz, get("n"));
      f.key.replaceChildren();
      if (host.tiles(f.name))
        for (const [colour, text] of [
          [PALETTE.ingredient.window, "full tile, or a pair"],
          [css(paleOf(theme)), "partial tile"],
          [theme.ground, "skipped"],
        ])
          swatch(f.key, colour, text);
      else side.colours.forEach((x, k) => swatch(f.key, PALETTE.ingredient[x], side.labels[k]));
    }
  }
  const sentence = (nnz, n) =>
    `${grouped(nnz)} of ${grouped(n * n)} pairs · ${percent(nnz / (n * n))} · ${(nnz / n).toLocaleString("en-US", { maximumFractionDigits: 1, minimumFractionDigits: 1 })} keys a query`;
  function factsOf(counter, name, side) {
    const sum = counter.total(),
      nnz = sum.slice(0, counter.R).reduce((a, b) => a + b, 0);
    if (name === "difference") return side.labels.map((label, k) => `${grouped(sum[k])} ${label}`).join(" · ");
    if (!host.tiles(name)) return sentence(nnz, counter.n);
    const [full, partial] = sum.slice(counter.R),
      b = counter.block,
      all = Math.ceil(counter.n / b) ** 2,
      computed = (full + partial) * b * b;
    return (
      `${grouped(full)} full, ${grouped(partial)} partial, ${grouped(all - full - partial)} skipped tiles of ${b} × ${b} · needs ${grouped(nnz)} pairs, computes ${grouped(computed)}` +
      (nnz ? ` · block tax ${(computed / nnz).toFixed(2)}` : "")
    );
  }
  function swatch(box, colour, text) {
    const item = make(box, "span", { className: "sv-swatch" });
    make(item, "i").style.background = colour;
    item.append(text);
  }
  const extras = viewsOf(extra, {
    get,
    quietly,
    redraw,
    sides: () => sides,
    theme: () => theme,
    counter: (name) => (sides[name] ? host.counter(name) : null),
    offline,
    changed: () => mine.stamp > sides.stamp || get("n") !== written.n,
  });

  // ---- what changes

  function changed() {
    const trees = get("trees");
    if (trees && (trees.stamp ?? 0) >= (mine?.stamp ?? 0)) mine = trees;
    sides = get("sides");
    if (sides.stamp >= mine.stamp) optimistic = {};
    for (const [key, program] of Object.entries(get("programs") ?? {})) programs.load(key, program);
    redraw();
  }
  const events = [
    "trees",
    "sides",
    "programs",
    "numbers",
    "n",
    "block",
    "layers",
    "query",
    "head",
    "show",
    "view",
    "capture",
    "heads",
    "head_dim",
    "rate",
    "attention",
  ];
  events.forEach((x) => model.on(`change:${x}`, changed));
  const onAnswer = () => {
    programs.answered();
    redraw();
  };
  model.on("change:answer", onAnswer);
  const stored = () => {
    // on a page: what Python counted when it was written
    for (const a of Object.values(get("offline_answers") ?? {})) programs.keep(a);
  };
  if (offline)
    model.on("change:state", () => {
      mine = get("trees");
      optimistic = {};
      cursor = null;
      written.n = get("n");
      stored();
      changed();
    });
  if (offline) stored();
  else programs.answered();
  changed();
  const turned = () => {
    themed = false;
    redraw();
  };
  const watch = new MutationObserver(turned),
    scheme = matchMedia("(prefers-color-scheme: dark)"),
    sized = new ResizeObserver(turned);
  for (const x of [document.documentElement, document.body])
    watch.observe(x, {
      attributes: true,
      attributeFilter: ["class", "style", "data-theme", "data-mode", "data-jp-theme-light", "data-jp-theme-name"],
    });
  scheme.addEventListener("change", turned);
  sized.observe(el);
  return () => {
    alive = false;
    events.forEach((x) => model.off(`change:${x}`, changed));
    model.off("change:answer", onAnswer);
    watch.disconnect();
    sized.disconnect();
    scheme.removeEventListener("change", turned);
  };
}
