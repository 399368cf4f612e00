// Colours of squares and pixels. A pixel's hue mixes its ingredients, its depth grows with the cube root of the exact share of its pairs,
// and never so little that a line gets lost (as `plots.shade.blend`).

const rgb = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
const css = (c) => `rgb(${c.map(Math.round).join(",")})`;
const packed = (c) => (0xff000000 | (Math.round(c[2]) << 16) | (Math.round(c[1]) << 8) | Math.round(c[0])) >>> 0;
const mixed = (a, b, share) => a.map((x, k) => x + (b[k] - x) * share);
const strength = (share) => (share > 0 ? 0.2 + 0.8 * Math.cbrt(share) : 0);

function blended(ground, colours, shares) {
  let all = 0,
    total = 0;
  const hue = [0, 0, 0];
  for (let k = 0; k < colours.length; k++)
    if (shares[k] > 0) {
      const s = strength(shares[k]);
      all += s;
      total += shares[k];
      for (let c = 0; c < 3; c++) hue[c] += s * colours[k][c];
    }
  return all
    ? mixed(
        ground,
        hue.map((x) => x / all),
        strength(Math.min(1, total)),
      )
    : ground;
}

const paleOf = (theme) => mixed(rgb(theme.paper), rgb(PALETTE.ingredient.partial), theme.dark ? 0.27 : 0.42);

// The picture of a view: { px, cell, data }, a pixel a square of cell x cell pairs; `tiles` draws what a kernel walks.
function picture(counter, colours, theme, [i0, j0, cells], tiles) {
  const cell = 1 << Math.max(0, Math.ceil(Math.log2(cells / 512))),
    px = Math.ceil(cells / cell),
    n = counter.n;
  const image = new ImageData(px, px),
    data = new Uint32Array(image.data.buffer);
  const ground = rgb(theme.ground),
    paper = packed(rgb(theme.paper)),
    solid = rgb(PALETTE.ingredient.window),
    pale = paleOf(theme);
  const hues = colours.map(rgb),
    flat = hues.map(packed),
    vec = new Float64Array(counter.V),
    shares = new Float64Array(counter.R),
    seen = [];
  const fill = (i, j, side, colour) => {
    const x0 = Math.max(0, Math.floor((j - j0) / cell)),
      x1 = Math.min(px, Math.ceil((Math.min(j + side, n) - j0) / cell));
    for (let y = Math.max(0, Math.floor((i - i0) / cell)), y1 = Math.min(px, Math.ceil((Math.min(i + side, n) - i0) / cell)); y < y1; y++)
      data.fill(colour, y * px + x0, y * px + x1);
  };
  data.fill(paper);
  fill(0, 0, n, packed(ground));
  const area = (i, j, side) => Math.min(side, n - i) * Math.min(side, n - j);
  const pairs = (i, j, side, told) => {
    // undecided squares, in their ingredients' colours
    if (told >= 0) fill(i, j, side, flat[told]);
    if (told !== -2) return;
    if (side === 1) {
      const k = counter.which(i, j);
      if (k >= 0) fill(i, j, 1, flat[k]);
      return;
    }
    const h = Math.min(side, n - i),
      w = Math.min(side, n - j),
      e = counter.resolve(i, j, side, h, w, vec);
    let colour = e < 0 ? undefined : seen[e];
    if (colour === undefined) {
      for (let k = 0; k < counter.R; k++) shares[k] = vec[k] / (h * w);
      colour = packed(blended(ground, hues, shares));
      if (e >= 0) seen[e] = colour;
    }
    fill(i, j, side, colour);
  };
  const again = (i, j, side, a, b) => {
    const x = (j - j0) / cell,
      from = (b - j0) / cell,
      wide = Math.ceil(Math.min(side, n - j) / cell);
    for (let y = (i - i0) / cell, at = (a - i0) / cell, end = y + Math.ceil(Math.min(side, n - i) / cell); y < end; y++, at++)
      data.copyWithin(y * px + x, at * px + from, at * px + from + wide);
  };
  if (!tiles) {
    counter.visit(i0, j0, cells, cell, pairs, again);
    return { image, cell, px, i0, j0 };
  }
  const block = counter.block,
    kinds = [solid, rgb(PALETTE.ingredient.partial)];
  counter.visit(
    i0,
    j0,
    cells,
    Math.max(cell, block),
    (i, j, side, told) => {
      if (told === -1) return;
      vec.fill(0);
      counter.add(i, j, side, vec);
      const full = vec[counter.R],
        partial = vec[counter.R + 1],
        all = Math.ceil(side / block) ** 2;
      if (full === all) fill(i, j, side, packed(solid));
      else if (block < cell) fill(i, j, side, packed(blended(ground, kinds, [full / all, partial / all])));
      else if (partial) {
        fill(i, j, side, packed(pale));
        const inside = (a, b, s, t) => {
          // the true pairs of a partial tile
          if (t === -1) return;
          vec.fill(0);
          counter.add(a, b, s, vec);
          let held = 0;
          for (let k = 0; k < counter.R; k++) held += vec[k];
          fill(a, b, s, packed(mixed(pale, solid, strength(held / area(a, b, s)))));
        };
        counter.visit(i, j, side, cell, inside, again);
      }
    },
    again,
    block,
  );
  return { image, cell, px, i0, j0 };
}

// What Python counted where the browser cannot: counts of each rule for each pixel, the same colours.
function pictureOf(answer, colours, theme) {
  const { px, cell, rules, i0, j0 } = answer,
    image = new ImageData(px, px),
    data = new Uint32Array(image.data.buffer);
  const hues = colours.map(rgb),
    ground = rgb(theme.ground),
    shares = new Float64Array(rules),
    room = answer.room;
  for (let p = 0; p < px * px; p++) {
    for (let k = 0; k < rules; k++) shares[k] = room[p] ? answer.counts[k * px * px + p] / room[p] : 0;
    data[p] = packed(room[p] ? blended(ground, hues, shares) : rgb(theme.paper));
  }
  return { image, cell, px, i0, j0 };
}

function themeOf(el) {
  const frame = () => {
    try {
      return window.frameElement;
    } catch {
      return null;
    }
  };
  for (let at = el; at; at = at.parentElement ?? at.getRootNode()?.host ?? (at.ownerDocument === document ? frame() : null)) {
    const found = getComputedStyle(at)
      .backgroundColor.match(/[\d.]+/g)
      ?.map(Number);
    if (found && (found[3] ?? 1) > 0.5) return found[0] * 0.299 + found[1] * 0.587 + found[2] * 0.114 < 110 ? PALETTE.dark : PALETTE.light;
  }
  const scheme = getComputedStyle(document.documentElement).colorScheme;
  return scheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches ? PALETTE.dark : PALETTE.light;
}
