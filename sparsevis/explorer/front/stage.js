// The figures: masks, tiles and differences on canvases that share one view. Zoom, pan and a cursor by mouse and by keys.

const LEFT = 46,
  TOP = 8,
  BELOW = 34;

// host: { n, view, setView, counter, answer, colours, tiles, query, showQuery, cursor, title, most, stamp, point, pick } and, for pictures
// of another kind, custom(name, theme, view)
function figureOf(root, host, name) {
  const box = make(root, "figure", { className: "sv-figure" });
  const caption = make(box, "figcaption"),
    title = make(caption, "code", { className: "sv-title" }),
    facts = make(caption, "div", { className: "sv-facts" });
  const canvas = make(box, "canvas", { tabIndex: 0, role: "application" });
  const key = make(box, "div", { className: "sv-key" });
  let kept = null,
    keptFor = "",
    side = 400;

  const geometry = () => {
    const [i0, j0, cells] = host.view();
    return { i0, j0, cells, unit: side / cells };
  };
  const pairAt = (event) => {
    const r = canvas.getBoundingClientRect(),
      { i0, j0, unit } = geometry();
    const i = Math.floor((event.clientY - r.top - TOP) / unit) + i0,
      j = Math.floor((event.clientX - r.left - LEFT) / unit) + j0;
    return i >= i0 && j >= j0 && i < host.n() && j < host.n() && event.clientX - r.left <= LEFT + side ? [i, j] : null;
  };
  let held = null;
  canvas.onpointerdown = (event) => {
    held = { x: event.clientX, y: event.clientY, view: host.view(), moved: false };
    canvas.setPointerCapture(event.pointerId);
    canvas.focus();
  };
  canvas.onpointermove = (event) => {
    if (held) {
      const dx = event.clientX - held.x,
        dy = event.clientY - held.y;
      if (Math.hypot(dx, dy) > 4) held.moved = true;
      if (held.moved) {
        const [i, j, cells] = held.view,
          pairs = cells / side;
        host.setView([i - dy * pairs, j - dx * pairs, cells]);
      }
    } else host.point(pairAt(event), name, false);
  };
  canvas.onpointerup = (event) => {
    const pair = pairAt(event);
    if (held && !held.moved && pair) host.pick(pair, name);
    held = null;
  };
  canvas.onpointerleave = () => {
    if (!held) host.point(null, name, false);
  };
  canvas.ondblclick = (event) => {
    const pair = pairAt(event);
    if (pair) zoom(0.5, pair);
  };
  canvas.addEventListener(
    "wheel",
    (event) => {
      // a page scrolls on, unless the figure was chosen or ctrl is held
      if (!event.ctrlKey && canvas.getRootNode().activeElement !== canvas) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 0.5 : 2, pairAt(event));
    },
    { passive: false },
  );
  canvas.onfocus = () => host.point(host.cursor() ?? [host.query(), Math.min(host.query(), host.n() - 1)], name, true);

  function zoom(factor, pair) {
    const [i0, j0, cells] = host.view(),
      n = host.n(),
      next = Math.min(Math.max(n, 8), Math.max(8, Math.round(cells * factor)));
    const [i, j] = pair ?? host.cursor() ?? [i0 + cells / 2, j0 + cells / 2];
    host.setView([i - ((i - i0) / cells) * next, j - ((j - j0) / cells) * next, next]);
  }
  canvas.onkeydown = (event) => {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const [i0, j0, cells] = host.view(),
      step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const known = step || ["+", "=", "-", "_", "0", "Home", "Enter", " ", "Escape"].includes(event.key);
    if (!known) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "+" || event.key === "=") zoom(0.5);
    else if (event.key === "-" || event.key === "_") zoom(2);
    else if (event.key === "0" || event.key === "Home") host.setView([0, 0, host.n()]);
    else if (event.key === "Escape") {
      host.point(null, name, false);
    } else if (event.key === "Enter" || event.key === " ") {
      const c = host.cursor();
      if (c) host.pick(c, name);
    } else if (event.shiftKey) host.setView([i0 + (step[0] * cells) / 8, j0 + (step[1] * cells) / 8, cells]);
    else {
      const cell = kept?.cell ?? 1,
        n = host.n(),
        [i, j] = host.cursor() ?? [i0, j0];
      const next = [i + step[0] * cell, j + step[1] * cell].map((x) => Math.max(0, Math.min(n - 1, x)));
      const into = (x, first) => (x < first ? x : x >= first + cells ? x - cells + cell : first);
      host.setView([into(next[0], i0), into(next[1], j0), cells]);
      host.point(next, name, true);
    }
  };

  function draw(theme) {
    const counter = host.counter(name),
      answer = counter ? null : host.answer(name),
      custom = host.custom;
    box.classList.toggle("sv-waiting", !counter && !answer && !custom);
    if (!counter && !answer && !custom) return;
    const width = Math.max(160, Math.floor(box.clientWidth)),
      dpr = window.devicePixelRatio || 1,
      n = host.n();
    side = Math.min(width - LEFT - 6, host.most());
    canvas.style.width = `${LEFT + side + 6}px`;
    canvas.style.height = `${side + TOP + BELOW}px`;
    canvas.width = Math.round((LEFT + side + 6) * dpr);
    canvas.height = Math.round((side + TOP + BELOW) * dpr);
    const view = host.view(),
      what = JSON.stringify([host.stamp(name), view, host.tiles(name), counter?.block, theme.paper]);
    if (what !== keptFor) {
      kept = custom
        ? custom(name, theme, view)
        : counter
          ? picture(counter, host.colours(name), theme, view, host.tiles(name))
          : pictureOf(answer, host.colours(name), theme);
      kept.canvas = Object.assign(document.createElement("canvas"), { width: kept.px, height: kept.px });
      kept.canvas.getContext("2d").putImageData(kept.image, 0, 0);
      keptFor = what;
    }
    const c = canvas.getContext("2d"),
      { i0, j0, cells, unit } = geometry();
    c.scale(dpr, dpr);
    c.clearRect(0, 0, LEFT + side + 6, side + TOP + BELOW);
    c.save();
    c.beginPath();
    c.rect(LEFT, TOP, side, side);
    c.clip();
    const single = counter && cells <= 48 && !host.tiles(name);
    if (single) cellsOf(c, counter, theme, i0, j0, cells, unit);
    else {
      c.imageSmoothingEnabled = false;
      c.drawImage(
        kept.canvas,
        LEFT + (kept.j0 - j0) * unit,
        TOP + (kept.i0 - i0) * unit,
        kept.px * kept.cell * unit,
        kept.px * kept.cell * unit,
      );
    }
    if (host.tiles(name)) gutters(c, theme, i0, j0, cells, unit, counter?.block ?? 1, n);
    marks(c, theme, i0, j0, unit, kept.cell);
    c.restore();
    ticks(c, theme, i0, j0, cells, unit, n);
    canvas.setAttribute(
      "aria-label",
      `${host.title(name)}: queries ${i0} to ${Math.min(n, i0 + cells) - 1} down, keys ${j0} to ${Math.min(n, j0 + cells) - 1} across. ` +
        "Arrows move the cursor, shift and arrows the view, plus and minus zoom, 0 shows all, enter chooses the query.",
    );
  }
  function cellsOf(c, counter, theme, i0, j0, cells, unit) {
    const ground = theme.ground,
      hues = host.colours(name),
      n = counter.n,
      gap = Math.max(0.5, 0.11 * unit),
      r = 0.2 * unit;
    for (let i = i0; i < Math.min(n, i0 + cells); i++)
      for (let j = j0; j < Math.min(n, j0 + cells); j++) {
        const k = counter.which(i, j);
        c.fillStyle = k < 0 ? ground : hues[k];
        c.beginPath();
        c.roundRect(LEFT + (j - j0) * unit + gap, TOP + (i - i0) * unit + gap, unit - 2 * gap, unit - 2 * gap, r);
        c.fill();
      }
  }
  function gutters(c, theme, i0, j0, cells, unit, block, n) {
    if (block * unit < 6) return;
    c.fillStyle = theme.paper;
    for (let x = Math.ceil(j0 / block) * block; x <= Math.min(n, j0 + cells); x += block)
      c.fillRect(LEFT + (x - j0) * unit - 0.75, TOP, 1.5, side);
    for (let y = Math.ceil(i0 / block) * block; y <= Math.min(n, i0 + cells); y += block)
      c.fillRect(LEFT, TOP + (y - i0) * unit - 0.75, side, 1.5);
  }
  function marks(c, theme, i0, j0, unit, cell) {
    const size = Math.max(unit * cell, 3),
      q = host.query(),
      cursor = host.cursor();
    c.strokeStyle = theme.ink;
    c.lineWidth = 1;
    const line = (i) => {
      c.globalAlpha = 0.75;
      c.setLineDash([5, 3]);
      c.strokeRect(LEFT - 2, TOP + (Math.floor(i / cell) * cell - i0) * unit, side + 4, size);
      c.setLineDash([]);
      c.globalAlpha = 1;
    };
    if (host.showQuery()) line(q);
    if (!cursor) return;
    const [i, j] = cursor.map((x, k) => Math.floor((x - [i0, j0][k]) / cell) * cell * unit);
    c.lineWidth = 2;
    c.strokeRect(LEFT + j, TOP + i, size, size);
    c.globalAlpha = 0.35;
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(LEFT, TOP + i + size / 2);
    c.lineTo(LEFT + j, TOP + i + size / 2);
    c.moveTo(LEFT + j + size / 2, TOP + i + size);
    c.lineTo(LEFT + j + size / 2, TOP + side);
    c.stroke();
    c.globalAlpha = 1;
  }
  function ticks(c, theme, i0, j0, cells, unit, n) {
    c.fillStyle = theme.soft;
    c.font = "11px system-ui, sans-serif";
    const last = (first) => Math.min(n, first + cells) - 1,
      of = (first) => [...new Set([first, Math.floor((first + last(first)) / 2), last(first)])];
    c.textBaseline = "top";
    of(j0).forEach((x, k, all) => {
      c.textAlign = k === 0 ? "left" : k === all.length - 1 ? "right" : "center";
      c.fillText(grouped(x), LEFT + (k === 0 ? 0 : k === all.length - 1 ? (x + 1 - j0) * unit : (x + 0.5 - j0) * unit), TOP + side + 5);
    });
    c.textAlign = "right";
    of(i0).forEach((y, k, all) => {
      c.textBaseline = k === 0 ? "top" : k === all.length - 1 ? "bottom" : "middle";
      c.fillText(grouped(y), LEFT - 6, TOP + (k === 0 ? 0 : k === all.length - 1 ? (y + 1 - i0) * unit : (y + 0.5 - i0) * unit));
    });
    c.textAlign = "center";
    c.textBaseline = "top";
    c.fillText(
      kept.cell > 1 ? `key · 1 pixel = ${grouped(kept.cell)} × ${grouped(kept.cell)} pairs` : "key",
      LEFT + side / 2,
      TOP + side + 19,
    );
    c.save();
    c.translate(9, TOP + side * 0.3);
    c.rotate(-Math.PI / 2);
    c.textBaseline = "middle";
    c.fillText("query", 0, 0);
    c.restore();
  }
  return {
    box,
    canvas,
    title,
    facts,
    key,
    draw,
    zoom,
    remove() {
      box.remove();
    },
    cell: () => kept?.cell ?? 1,
  };
}
