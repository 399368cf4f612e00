// The views beside the picture: costs, receptive fields, real attention. Each draws what Python computed (`answers.py`).

const VIEWS = ["mask", "tiles", "field", "graph", "cost", "real"];
const ratio = (x) => `${x >= 1000 ? grouped(x) : x.toPrecision(3)}×`;
const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

// Returns extras(show): brings the view up to date, and says whether the figures belong to it.
function viewsOf(box, host) {
  const made = { field: fieldView(box, host), graph: graphView(box, host), cost: costView(box, host), real: realView(box, host) };
  return (show) => {
    for (const [name, view] of Object.entries(made)) {
      view.box.hidden = name !== show;
      if (name === show) view.update();
    }
    return show !== "cost" && show !== "real";
  };
}
// What Python computed for a view: on a page without Python, what was computed when it was written.
function numbersOf(host, show) {
  const found = host.offline ? host.get("offline_numbers")?.[show] : host.get("numbers");
  return found?.show === show ? found : null;
}
function problem(p, found) {
  p.textContent = found ? (found.error ?? "") : "computing …";
  p.hidden = !!found && !found.error;
  return !found || !!found.error;
}
function outdated(host, p) {
  const stale = host.offline && host.changed();
  p.textContent = stale ? "These numbers are for the pattern as it was when this page was written." : "";
  p.hidden = !stale;
}

function fieldView(parent, host) {
  const box = make(parent, "div", { className: "sv-view" }),
    bar = make(box, "div", { className: "sv-tools" });
  let layer = Infinity,
    timer = null,
    most = 1;
  const play = button(bar, "▶", "play layer by layer", () => (timer ? stop() : start()));
  const at = slider(
    bar,
    "after layer",
    "layers shown",
    (x) => {
      stop();
      layer = x >= most ? Infinity : x;
      draw();
    },
    { exact: false },
  );
  const asked = slider(bar, "query", "the query whose field is shown", (x) => {
    host.quietly("query", Math.max(0, Math.min(host.get("n") - 1, x)));
    host.redraw();
  });
  const warn = make(box, "p", { className: "sv-error", role: "status" }),
    old = make(box, "p", { className: "sv-error" }),
    body = make(box, "div");
  const words = make(box, "div", { "aria-live": "polite" });
  const start = () => {
    if (layer === Infinity || layer >= most) layer = -1;
    const tick = () => {
      layer++;
      if (layer >= most) {
        layer = Infinity;
        stop();
      }
      draw();
    };
    timer = setInterval(tick, 700);
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "pause");
    tick();
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "play layer by layer");
  };
  function draw() {
    const found = numbersOf(host, "field");
    asked.update(valuesOf(0, host.get("n") - 1, 1), host.get("query"));
    asked.enable(!host.offline);
    body.hidden = problem(warn, found);
    if (body.hidden) return;
    outdated(host, old);
    const theme = host.theme(),
      dpr = window.devicePixelRatio || 1,
      said = [];
    most = Math.max(...Object.values(found.fields).map((f) => f.rows - 1));
    at.update(
      Array.from({ length: most + 1 }, (_, k) => k),
      Math.min(layer, most),
    );
    const now = Math.min(layer, most),
      names = Object.keys(found.fields);
    while (body.children.length > names.length) body.lastChild.remove();
    names.forEach((name, k) => {
      const f = found.fields[name],
        canvas = body.children[k] ?? make(body, "canvas", { className: "sv-strip", role: "img" });
      const width = Math.max(200, Math.min(900, box.clientWidth)),
        left = 62,
        right = 118,
        row = Math.max(5, Math.min(22, 260 / f.rows)),
        high = f.rows * row;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${high + 22}px`;
      canvas.width = width * dpr;
      canvas.height = (high + 22) * dpr;
      const c = canvas.getContext("2d"),
        wide = width - left - right,
        seen = bytesOf(f.seen),
        n = host.get("n");
      c.scale(dpr, dpr);
      c.font = "11px system-ui, sans-serif";
      c.textBaseline = "middle";
      const ground = rgb(theme.ground),
        blue = rgb(PALETTE.ingredient.window),
        every = Math.ceil(13 / row);
      for (let l = 0; l < f.rows; l++) {
        for (let x = 0; x < f.wide; x++) {
          const share = l <= now ? seen[l * f.wide + x] / 255 : 0,
            before = l > 0 && l <= now ? seen[(l - 1) * f.wide + x] / 255 : share;
          c.fillStyle = css(mixed(ground, l === now && share > before ? rgb(PALETTE.ingredient.partial) : blue, strength(share)));
          const a = left + Math.floor((x * wide) / f.wide),
            b = left + Math.floor(((x + 1) * wide) / f.wide);
          c.fillRect(a, l * row, Math.max(1, b - a), row - (row > 7 ? 1.5 : 0));
        }
        if (l % every && l !== f.rows - 1) continue;
        c.fillStyle = l === now ? theme.ink : theme.soft;
        c.textAlign = "right";
        c.fillText(l ? `layer ${l}` : "input", left - 6, (l + 0.5) * row);
        c.textAlign = "left";
        if (l <= now) c.fillText(`${grouped(f.sizes[l])} of ${grouped(f.visible)}`, left + wide + 6, (l + 0.5) * row);
      }
      c.fillStyle = theme.soft;
      c.textAlign = "left";
      c.fillText("key 0", left, high + 11);
      c.textAlign = "right";
      c.fillText(grouped(n - 1), left + wide, high + 11);
      c.textAlign = "center";
      const q = left + ((found.query + 0.5) / n) * wide;
      if (q > left + 60 && q < left + wide - 60) c.fillText(`▲ query ${grouped(found.query)}`, q, high + 11);
      const title = names.length > 1 ? `${name.toUpperCase()}: ` : "";
      said.push(
        `${title}after layer ${now}, query ${grouped(found.query)} has seen ${grouped(f.sizes[now])} of ${grouped(f.visible)} keys. ${f.notes.join("; ")}.`,
      );
      canvas.setAttribute("aria-label", said[k]);
    });
    words.textContent = said.join(" ");
  }
  return { box, update: draw };
}

function costView(parent, host) {
  const box = make(parent, "div", { className: "sv-view" }),
    bar = make(box, "div", { className: "sv-grid" });
  const sizes = ["heads", "head_dim", "rate"].map((name) => {
    const help = {
      heads: "query heads",
      head_dim: "dimensions of a head",
      rate: "GFLOP a second of the machine the time is estimated for",
    }[name];
    return [name, slider(bar, name === "rate" ? "GFLOP/s" : name, help, (x) => host.quietly(name, Math.max(1, x)))];
  });
  const go = button(
    bar,
    "measure on this machine",
    "time the pattern and dense attention on this machine",
    () => {
      go.textContent = "measuring …";
      go.disabled = true;
      host.quietly("measure", host.get("measure") + 1);
    },
    { className: "sv-wide" },
  );
  const warn = make(box, "p", { className: "sv-error", role: "status" }),
    old = make(box, "p", { className: "sv-error" }),
    table = make(box, "table", { className: "sv-costs" }),
    notes = make(box, "p");
  let drawn = null;
  return {
    box,
    update() {
      const found = numbersOf(host, "cost");
      sizes.forEach(([name, s]) => {
        s.update(valuesOf(1, { heads: 128, head_dim: 256, rate: 1000000 }[name], 1), host.get(name));
        s.enable(!host.offline);
      });
      go.hidden = host.offline;
      table.hidden = notes.hidden = problem(warn, found);
      if (table.hidden) return;
      outdated(host, old);
      if (drawn === found) return;
      drawn = found;
      go.textContent = "measure on this machine";
      go.disabled = false;
      const names = ["a", "b"].filter((x) => `${x}_text` in found.rows[0]),
        titles = names.length > 1 ? ["A", "B"] : ["this pattern"];
      table.replaceChildren();
      make(table, "caption", {
        textContent: `n = ${grouped(host.get("n"))}, ${found.heads} heads of ${host.get("head_dim")}, tiles of ${host.get("block")} × ${host.get("block")}`,
      });
      const head = make(make(table, "thead"), "tr");
      for (const x of ["", ...titles, "dense", ...names.map((_, k) => (names.length > 1 ? `dense / ${titles[k]}` : "dense / this")), ""])
        make(head, "th", { scope: "col", textContent: x });
      const body = make(table, "tbody");
      for (const row of found.rows) {
        const tr = make(body, "tr");
        make(tr, "th", { scope: "row", textContent: row.what });
        for (const x of names) make(tr, "td", { textContent: row[`${x}_text`] });
        make(tr, "td", { textContent: row.dense_text });
        for (const x of names) make(tr, "td", { textContent: row.dense && row[x] ? ratio(row.dense / row[x]) : "–" });
        const bars = make(make(tr, "td", { className: "sv-bars", "aria-hidden": "true" }), "div"),
          most = Math.max(row.dense ?? 0, ...names.map((x) => row[x] ?? 0));
        for (const [x, colour] of [
          ["a", "window"],
          ["b", "global"],
          ["dense", "dense"],
        ])
          if (row[x] && most)
            make(bars, "i").style.cssText = `width:${Math.max(0.6, (100 * row[x]) / most)}%;background:${PALETTE.ingredient[colour]}`;
      }
      notes.textContent = `${found.notes.join(". ")}. Bars are to scale: ${names.length > 1 ? "A, B" : "this pattern"}, and dense in grey.`;
    },
  };
}
