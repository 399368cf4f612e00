// Real attention: a head of a trained model reading a text, what the pattern keeps of it and what it drops.

function realView(parent, host) {
  const box = make(parent, "div", { className: "sv-view" }),
    bar = make(box, "div", { className: "sv-grid" });
  const pick = (k, x) => {
    const c = [...host.get("capture")];
    c[k] = x;
    host.quietly("capture", c);
  };
  const layer = slider(bar, "layer", "captured layer", (x) => pick(0, x), { exact: false }),
    head = slider(bar, "head", "head of that layer", (x) => pick(1, x), { exact: false });
  const warn = make(box, "p", { className: "sv-error", role: "status" }),
    fit = button(box, "n = 512", "set n to the text's 512 tokens", () => {
      host.quietly("n", 512);
      host.redraw();
    });
  const old = make(box, "p", { className: "sv-error" }),
    stage = make(box, "div", { className: "sv-stage" }),
    words = make(box, "div", { className: "sv-info", "aria-live": "polite" });
  const heads = make(box, "div", { className: "sv-heads", role: "group", "aria-label": "attention kept by each head of the layer" });
  let view = [0, 0, 512],
    cursor = null,
    figures = {},
    data = null,
    depth = null,
    kept = {},
    at = "a";
  const has = (name, i, j) => (kept[name][(i * data.n + j) >> 3] >> ((i * data.n + j) & 7)) & 1;
  const figureHost = {
    n: () => data?.n ?? 512,
    view: () => view,
    most: () => (Object.keys(kept).length > 1 ? 460 : 560),
    counter: () => null,
    answer: () => null,
    colours: () => [],
    tiles: () => false,
    query: () => cursor?.[0] ?? 0,
    showQuery: () => false,
    cursor: () => cursor,
    stamp: (name) => `${data.layer}/${data.head}/${kept[`${name}-stamp`]}`,
    title: () => "real attention",
    setView([i, j, cells]) {
      const n = data.n,
        c = Math.min(n, Math.max(8, Math.round(cells))),
        p = (x) => Math.floor(Math.max(0, Math.min(n - c, x)));
      view = [p(i), p(j), c];
      host.redraw();
    },
    point(pair, name) {
      cursor = pair;
      at = name;
      host.redraw();
    },
    pick(pair, name) {
      cursor = pair;
      at = name;
      host.redraw();
    },
    custom(name, theme, [i0, j0, cells]) {
      // kept from sky to blue, dropped from orange to vermilion
      const image = new ImageData(cells, cells),
        out = new Uint32Array(image.data.buffer),
        ground = rgb(theme.ground),
        ink = rgb(theme.ink);
      const ramp = (stops, from) =>
        Array.from({ length: 256 }, (_, v) => {
          const [a, b] = (theme.dark ? [...stops].reverse() : stops).map((x) => rgb(PALETTE.ingredient[x])),
            end = mixed(rgb(PALETTE.ingredient[stops[1]]), ink, 0.6),
            x = v / 255;
          const c = x < 0.35 ? mixed(from, a, x / 0.35) : x < 0.75 ? mixed(a, b, (x - 0.35) / 0.4) : mixed(b, end, (x - 0.75) / 0.25);
          return packed(c);
        });
      const blue = ramp(["partial", "window"], mixed(ground, rgb(PALETTE.ingredient.window), 0.13)),
        orange = ramp(["sink", "global"], ground);
      for (let y = 0; y < cells; y++)
        for (let x = 0; x < cells; x++) out[y * cells + x] = (has(name, i0 + y, j0 + x) ? blue : orange)[depth[(i0 + y) * data.n + j0 + x]];
      return { image, cell: 1, px: cells, i0, j0 };
    },
  };
  return {
    box,
    update() {
      const found = numbersOf(host, "real"),
        fresh = host.get("attention");
      fit.hidden = host.offline || !found?.error || host.get("n") === 512;
      stage.hidden = words.hidden = heads.hidden = problem(warn, found && fresh?.depth ? found : null);
      if (stage.hidden) return;
      outdated(host, old);
      if (data !== fresh) {
        data = fresh;
        depth = bytesOf(data.depth);
      }
      layer.update(data.layers, host.get("capture")[0]);
      head.update(valuesOf(0, data.heads - 1, 1), host.get("capture")[1]);
      layer.enable(!host.offline);
      head.enable(!host.offline);
      kept = {};
      for (const [name, x] of Object.entries(found.kept)) {
        kept[name] = bytesOf(x.mask);
        kept[`${name}-stamp`] = `${found.stamp}`;
      }
      const names = Object.keys(found.kept);
      if (Object.keys(figures).join() !== names.join()) {
        Object.values(figures).forEach((f) => f.remove());
        figures = Object.fromEntries(names.map((x) => [x, figureOf(stage, figureHost, x)]));
      }
      for (const name of names) {
        const f = figures[name],
          x = found.kept[name],
          share = x.kept[found.head];
        f.title.textContent = names.length > 1 ? `${name.toUpperCase()}: ${host.sides()[name]?.code ?? ""}` : "";
        f.facts.textContent = `keeps ${percent(share)} of this head's attention, drops ${percent(1 - share)} · ${percent(x.pairs)} of the pairs`;
        f.draw(host.theme());
        if (!f.key.children.length)
          for (const [c, text] of [
            ["window", "kept"],
            ["global", "dropped"],
          ]) {
            const s = make(f.key, "span", { className: "sv-swatch" });
            make(s, "i").style.background = PALETTE.ingredient[c];
            s.append(`${text}; depth follows the cube root of the probability`);
          }
      }
      const told = (i, j) =>
        `“${data.tokens[i]}” (${i}) gives “${data.tokens[j]}” (${j}) ${percent((depth[i * data.n + j] / 255) ** 3 * data.top)} of its attention: `;
      words.textContent = cursor
        ? told(...cursor) +
          names.map((x) => (names.length > 1 ? `${x.toUpperCase()} ` : "") + (has(x, ...cursor) ? "kept" : "dropped")).join(", ")
        : "Attention of all-MiniLM-L6-v2 reading a page of Alice in Wonderland. Point at a pair, or move with the arrow keys.";
      heads.replaceChildren();
      make(heads, "span", { textContent: "kept by each head:" });
      found.kept[names[0]].kept.forEach((share, h) => {
        const b = button(heads, "", `head ${h}: ${names.map((x) => percent(found.kept[x].kept[h])).join(" and ")} kept`, () => pick(1, h), {
          disabled: host.offline,
        });
        b.setAttribute("aria-pressed", h === found.head);
        make(b, "span", { textContent: `${h}` });
        for (const x of names)
          make(b, "i").style.cssText =
            `height:${Math.max(1, 40 * found.kept[x].kept[h])}px;background:${PALETTE.ingredient[x === "a" ? "window" : "global"]}`;
      });
    },
  };
}
