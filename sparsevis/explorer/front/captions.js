// Over and under the figures: what is shown, its numbers, and what the colours mean.

const sentence = (nnz, n) => {
  const keys = (nnz / n).toLocaleString("en-US", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
  return `${grouped(nnz)} of ${grouped(n * n)} pairs · ${percent(nnz / (n * n))} · ${keys} keys a query`;
};

function factsOf(counter, name, side, tiles) {
  const sum = counter.total(),
    nnz = sum.slice(0, counter.R).reduce((a, b) => a + b, 0);
  if (name === "difference") return side.labels.map((label, k) => `${grouped(sum[k])} ${label}`).join(" · ");
  if (!tiles) return sentence(nnz, counter.n);
  const [full, partial] = sum.slice(counter.R),
    b = counter.block,
    skipped = Math.ceil(counter.n / b) ** 2 - full - partial,
    computed = (full + partial) * b * b;
  const counts = `${grouped(full)} full, ${grouped(partial)} partial, ${grouped(skipped)} skipped tiles of ${b} × ${b}`;
  const tax = nnz ? ` · block tax ${(computed / nnz).toFixed(2)}` : "";
  return `${counts} · needs ${grouped(nnz)} pairs, computes ${grouped(computed)}${tax}`;
}

function swatch(box, colour, text) {
  const item = make(box, "span", { className: "sv-swatch" });
  make(item, "i").style.background = colour;
  item.append(text);
}

function captioned(figures, { get, theme, two, side: sideOf, counter: counterOf, tiles, answers }) {
  for (const { name, title, facts, key } of figures) {
    const side = sideOf(name);
    if (!side) continue;
    const counter = counterOf(name),
      counted = answers[name]?.answer;
    title.textContent = name === "difference" ? "A compared with B" : two ? `${name.toUpperCase()}: ${side.code}` : "";
    if (counter) facts.textContent = factsOf(counter, name, side, tiles(name));
    else if (side.key || !counted) facts.textContent = side.error ? "" : "computing …";
    else if (counted.nnz !== undefined) facts.textContent = sentence(counted.nnz, get("n"));
    key.replaceChildren();
    if (tiles(name)) {
      swatch(key, PALETTE.ingredient.window, "full tile, or a pair");
      swatch(key, css(paleOf(theme)), "partial tile");
      swatch(key, theme.ground, "skipped");
    } else side.colours.forEach((x, k) => swatch(key, PALETTE.ingredient[x], side.labels[k]));
  }
}
