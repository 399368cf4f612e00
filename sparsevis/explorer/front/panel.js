// The composition of one pattern: a card for each member with a control for each field, joined by | and &, turned round by ~.
// What there is to control comes from Python (`controls.py`).

const at = (node, path) => [...path].reduce((x, side) => x[side], node);

function shapeOf(node, panel, path = "") {
  if ("op" in node) return [node.op, shapeOf(node.a, panel, path + "a"), node.b ? shapeOf(node.b, panel, path + "b") : null];
  return ["given" in node ? node.given : node.make, (panel?.[path]?.controls ?? []).map((c) => [c.field, c.kind, c.value?.rows?.length])];
}

// host: { tree(), panel(), words, edit(change(tree) -> tree, direct), offline }
function panelOf(root, host) {
  let drawn = "",
    updates = [];
  const replaced = (tree, path, made) => {
    if (path === "") return made(tree);
    const copy = { ...tree };
    copy[path[0]] = replaced(tree[path[0]], path.slice(1), made);
    return copy;
  };
  const edit = (path, made) => host.edit((tree) => replaced(tree, path, made));

  function draw(box, node, path) {
    if (node.op === "~") {
      const group = make(box, "div", { className: "sv-group", role: "group", "aria-label": "not" });
      button(group, "~", "not: remove", () => edit(path, (x) => x.a), { className: "sv-op", disabled: host.offline });
      draw(group, node.a, path + "a");
    } else if ("op" in node) {
      const group = make(box, "div", { className: "sv-group", role: "group", "aria-label": node.op === "|" ? "or" : "and" });
      draw(group, node.a, path + "a");
      const select = make(group, "select", {
        className: "sv-op",
        "aria-label": "how the two are joined",
        disabled: host.offline,
        onchange: () => edit(path, (x) => ({ ...x, op: select.value })),
      });
      for (const [op, text] of [
        ["|", "|  or"],
        ["&", "&  and"],
      ])
        make(select, "option", { value: op, textContent: text });
      select.value = node.op;
      draw(group, node.b, path + "b");
    } else leaf(box, node, path);
  }

  function leaf(box, node, path) {
    const card = make(box, "fieldset", { className: "sv-leaf" }),
      known = host.panel()?.[path];
    make(card, "legend", { textContent: node.make ?? "passed in", className: "sv-hidden" });
    const head = make(card, "div", { className: "sv-head" });
    if ("given" in node) make(head, "code", { textContent: known?.code ?? "", className: "sv-given" });
    else {
      const select = make(head, "select", {
        "aria-label": "pattern",
        disabled: host.offline,
        onchange: () => edit(path, () => ({ make: select.value })),
      });
      for (const kind of ["pattern", "preset"]) {
        const group = make(select, "optgroup", { label: kind === "pattern" ? "patterns" : "published systems" });
        for (const w of host.words()) if (w.kind === kind) make(group, "option", { value: w.name, textContent: w.name });
      }
      select.value = node.make;
    }
    if (!host.offline) {
      const more = { make: "Causal" };
      button(head, "|", "combine: or", () => edit(path, (x) => ({ op: "|", a: x, b: { make: "Global" } })));
      button(head, "&", "combine: and", () => edit(path, (x) => ({ op: "&", a: x, b: more })));
      button(head, "~", "turn round: not", () => edit(path, (x) => ({ op: "~", a: x })));
      if (path) button(head, "×", "remove", () => host.edit((tree) => removed(tree, path)));
    }
    for (const control of known?.controls ?? []) updates.push(field(card, path, control));
  }

  function removed(tree, path) {
    const up = path.slice(0, -1),
      parent = at(tree, up);
    if (parent.op === "~") return up ? removed(tree, up) : { make: "Causal" };
    return replaced(tree, up, (x) => x[path.endsWith("a") ? "b" : "a"]);
  }

  function field(card, path, { field: name, kind, help, choices }) {
    const change = (value) =>
      host.edit((tree) => replaced(tree, path, (x) => ({ ...x, values: { ...x.values, [name]: value } })), `${path}.${name}`, value);
    const fresh = () => host.panel()?.[path]?.controls.find((c) => c.field === name);
    const value = () => at(host.tree(), path).values?.[name];
    const live = () => !host.offline || host.direct(`${path}.${name}`);
    if (kind === "number" || kind === "optional") {
      const made = slider(card, name, help, change);
      let none = null;
      if (kind === "optional") {
        const label = make(made.row, "label", { className: "sv-none", title: "no bound" });
        none = make(label, "input", {
          type: "checkbox",
          "aria-label": `${name}: none`,
          onchange: () => change(none.checked ? null : Math.max(fresh().lo, 8)),
        });
        label.append("none");
      }
      return () => {
        const { lo, hi, step } = fresh() ?? { lo: 0, hi: 1, step: 1 },
          x = value();
        if (none) ((none.checked = x === null), (none.disabled = host.offline));
        made.enable(x !== null && live());
        made.update(valuesOf(lo, hi, step), x ?? lo);
      };
    }
    if (kind === "switch") {
      const row = make(card, "label", { className: "sv-row", title: help }, make(null, "span", { textContent: name }));
      const box = make(row, "input", { type: "checkbox", onchange: () => change(box.checked) });
      return () => {
        box.checked = value();
        box.disabled = host.offline;
      };
    }
    if (kind === "choice") {
      const made = choice(card, name, help, choices, change);
      return () => {
        made.select.value = value();
        made.select.disabled = host.offline;
      };
    }
    if (kind === "list") {
      const row = make(card, "label", { className: "sv-row", title: help }, make(null, "span", { textContent: name }));
      const text = quiet(
        make(row, "input", { type: "text", inputMode: "numeric", onchange: () => change((text.value.match(/-?\d+/g) ?? []).map(Number)) }),
      );
      return () => {
        if (row.getRootNode().activeElement !== text) text.value = (value() ?? []).join(", ");
        text.disabled = host.offline;
      };
    }
    if (kind === "table") return table(card, name, help, value, change);
    make(
      card,
      "div",
      { className: "sv-row", title: help },
      make(null, "span", { textContent: name }),
      make(null, "output", { textContent: String(value()) }),
    );
    return () => {};
  }

  // A small table of pairs, or of blocks: a grid of switches. Arrow keys move, space switches.
  function table(card, name, help, value, change) {
    const { columns, rows } = value(),
      grid = make(card, "div", { className: "sv-table", role: "grid", title: help, "aria-label": `${name}: which pairs` });
    grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    const cells = rows.map((_, i) =>
      Array.from({ length: columns }, (_, j) =>
        button(
          grid,
          "",
          `query ${i}, key ${j}`,
          () => {
            const old = value();
            change({
              ...old,
              rows: old.rows.map((row, r) =>
                r !== i ? row : row.includes(j) ? row.filter((x) => x !== j) : [...row, j].sort((a, b) => a - b),
              ),
            });
          },
          {
            role: "gridcell",
            tabIndex: i + j ? -1 : 0,
            disabled: host.offline,
            onkeydown: (event) => {
              const [di, dj] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
              const next = cells[i + di]?.[j + dj];
              if ((di || dj) && next) {
                next.focus();
                event.preventDefault();
                event.stopPropagation();
              }
            },
          },
        ),
      ),
    );
    return () => value().rows.forEach((row, i) => cells[i]?.forEach((cell, j) => cell.setAttribute("aria-pressed", row.includes(j))));
  }

  return function update() {
    const tree = host.tree();
    if (!tree) {
      root.replaceChildren();
      drawn = "";
      return;
    }
    const shape = JSON.stringify(shapeOf(tree, host.panel()));
    if (shape !== drawn) {
      const open = root.getRootNode().activeElement,
        place = root.contains(open) ? [...root.querySelectorAll("select, input, button")].indexOf(open) : -1;
      drawn = shape;
      updates = [];
      root.replaceChildren();
      draw(root, tree, "");
      if (place >= 0) [...root.querySelectorAll("select, input, button")][place]?.focus();
    }
    for (const f of updates) f();
  };
}
