// The explorer: state comes from traits and goes back to them; what can be drawn without Python is drawn at once.

const TITLES = { mask: "Mask", tiles: "Tiles", field: "Receptive field", graph: "Graph", cost: "Cost", real: "Real attention" };
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
  const said = (name) => programs.worded(name);
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

  const left = leftOf(root, {
    get,
    quietly,
    offline,
    choose: (state) => model.set("state", state),
    sides: () => sides,
    trees: () => mine,
    said,
    failed,
    resize(whole) {
      model.set("view", [0, 0, whole]);
      cursor = null;
      quietly("n", whole);
      redraw();
    },
    set(key, value) {
      quietly(key, value);
      redraw();
    },
    edit(trees, name, field, value) {
      mine = { ...mine, ...trees, stamp: mine.stamp + 1 };
      if (typeof value === "number") (optimistic[name] ??= {})[field] = value;
      else optimistic = {};
      quietly("trees", mine);
      redraw();
    },
  });
  const main = make(root, "div", { className: "sv-main" });

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
    return name === "difference" ? "difference of A and B" : (said(name)?.code ?? "");
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
        const text = described(cursor, cell, name, said(name), counterOf(name), programOf(name)?.lists, answers[name]?.answer);
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
    left();
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
  const captions = () =>
    alive && captioned(figures, { get, theme, two: !!sides.b, side: said, counter: host.counter, tiles: host.tiles, answers });
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
