// The token graph: tokens as nodes, a row for the input and one for each layer, an arc for every pair a layer allows. What flows to the
// query at the top is coloured by the part that allows it. Arcs are read off the program, node by node.

const MOST_NODES = 48,
  MOST_ROWS = 6;

function graphView(parent, host) {
  const box = make(parent, "div", { className: "sv-view" }),
    one = Object.fromEntries(["a", "b"].map((name) => [name, graphOf(box, host, name)]));
  return {
    box,
    update() {
      for (const [name, graph] of Object.entries(one)) graph(!!host.sides()[name]);
    },
  };
}

function graphOf(parent, host, name) {
  const box = make(parent, "div"),
    warn = make(box, "p", { className: "sv-error", role: "status" });
  const canvas = make(box, "canvas", { className: "sv-strip", tabIndex: 0, role: "application" }),
    words = make(box, "div", { "aria-live": "polite" });
  let place = null;
  const choose = (x) => {
    host.quietly("query", Math.max(0, Math.min(host.get("n") - 1, x)));
    host.redraw();
  };
  canvas.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    choose(host.get("query") + step);
  };
  canvas.onclick = (event) => {
    if (place) choose(place.first + Math.round((event.clientX - canvas.getBoundingClientRect().left - place.left) / place.gap));
  };

  return function update(shown_) {
    box.hidden = !shown_;
    if (!shown_) return;
    const side = host.sides()[name],
      counter = host.counter(name);
    warn.hidden = !!counter;
    canvas.hidden = words.hidden = !counter;
    if (!counter) {
      warn.textContent = side?.key ? "" : "The table of this pattern is too large to be drawn as a graph: choose a smaller n.";
      return;
    }
    const n = counter.n,
      shown = Math.min(n, MOST_NODES),
      rows = Math.min(host.get("layers"), MOST_ROWS),
      q = Math.min(host.get("query"), n - 1);
    const first = Math.max(0, Math.min(n - shown, q - Math.floor(shown * 0.75))),
      theme = host.theme(),
      dpr = window.devicePixelRatio || 1;
    const width = Math.max(260, Math.min(900, box.clientWidth)),
      left = 64,
      gap = (width - left - 20) / Math.max(1, shown - 1),
      high = 74,
      top = 14,
      tall = top + rows * high + 34;
    place = { first, left, gap };
    canvas.style.width = `${width}px`;
    canvas.style.height = `${tall}px`;
    canvas.width = width * dpr;
    canvas.height = tall * dpr;
    const links = []; // of each query shown: [key, rule]
    for (let i = first; i < first + shown; i++) {
      const own = [];
      for (let j = first; j < first + shown; j++) {
        const k = counter.which(i, j);
        if (k >= 0) own.push([j, k]);
      }
      links.push(own);
    }
    const flows = Array.from({ length: rows + 1 }, () => new Set()); // what the query at the top rests on
    flows[rows].add(q);
    for (let l = rows; l > 0; l--)
      for (const i of flows[l]) {
        flows[l - 1].add(i);
        for (const [j] of links[i - first]) flows[l - 1].add(j);
      }
    const c = canvas.getContext("2d"),
      x = (j) => left + (j - first) * gap,
      y = (l) => top + (rows - l) * high;
    const hues = side.colours.map((name) => PALETTE.ingredient[name]);
    c.scale(dpr, dpr);
    const arc = (j, i, l) => {
      c.beginPath();
      c.moveTo(x(j), y(l));
      c.bezierCurveTo(x(j), y(l) - high / 2, x(i), y(l) - high / 2, x(i), y(l + 1));
      c.stroke();
    };
    c.lineWidth = 0.6;
    c.strokeStyle = theme.grid;
    for (let l = 0; l < rows; l++) links.forEach((own, k) => own.forEach(([j]) => arc(j, first + k, l)));
    c.lineWidth = 1.3;
    for (let l = 0; l < rows; l++)
      for (const i of flows[l + 1])
        for (const [j, k] of links[i - first]) {
          c.globalAlpha = l === rows - 1 ? 1 : 0.55;
          c.strokeStyle = hues[k];
          arc(j, i, l);
        }
    c.globalAlpha = 1;
    for (let l = 0; l <= rows; l++)
      for (let j = first; j < first + shown; j++) {
        const on = flows[l].has(j),
          r = Math.max(1.6, Math.min(4.5, gap * 0.3));
        c.fillStyle = on ? theme.ink : css(mixed(rgb(theme.paper), rgb(PALETTE.ingredient.dense), 0.5));
        c.beginPath();
        c.arc(x(j), y(l), l === rows && j === q ? r + 2 : r, 0, 7);
        c.fill();
      }
    c.font = "11px system-ui, sans-serif";
    c.fillStyle = theme.soft;
    c.textBaseline = "middle";
    c.textAlign = "right";
    for (let l = 0; l <= rows; l++) c.fillText(l ? `layer ${l}` : "input", left - 10, y(l));
    c.textAlign = "center";
    const ends = [...new Set([first, first + shown - 1])].filter((j) => Math.abs(j - q) * gap > 42);
    for (const j of ends) c.fillText(grouped(j), x(j), y(0) + 18);
    c.fillStyle = theme.ink;
    c.fillText(grouped(q), x(q), y(0) + 18);
    const part =
      shown < n ? `Tokens ${grouped(first)} to ${grouped(first + shown - 1)} of ${grouped(n)}; links to others are not drawn. ` : "";
    const deeper = host.get("layers") > rows ? `The last ${rows} of ${host.get("layers")} layers. ` : "";
    words.textContent = `${host.sides().b ? `${name.toUpperCase()}: ` : ""}${part}${deeper}Query ${grouped(q)} rests on ${flows[0].size} of ${shown} tokens shown after ${rows} layer${rows > 1 ? "s" : ""}; in one layer it attends ${links[q - first].length}.`;
    canvas.setAttribute("aria-label", `Token graph. ${words.textContent} Left and right arrows choose the query.`);
  };
}
