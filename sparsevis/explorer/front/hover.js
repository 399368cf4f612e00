// What stands under the cursor, in words: the pair, and which parts of the composition allow it.

const listed = (names) => (names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`);
const span = (what, first, size, n) =>
  size > 1 ? `${what} ${grouped(first)}–${grouped(Math.min(n, first + size) - 1)}` : `${what} ${grouped(first)}`;

// side: labels of its rules, its leaves; lists: the program's [parts, leaves]
function described([i, j], cell, name, side, counter, lists, answer) {
  const n = counter?.n ?? answer?.n;
  if (cell > 1 || !counter) {
    const a = Math.floor(i / cell) * cell,
      b = Math.floor(j / cell) * cell,
      vec = new Float64Array(counter?.V ?? side.labels.length);
    if (counter) counter.add(a, b, cell, vec);
    else if (answer) {
      const at = Math.floor((a - answer.i0) / cell) * answer.px + Math.floor((b - answer.j0) / cell);
      for (let k = 0; k < answer.rules; k++) vec[k] = answer.counts[k * answer.px * answer.px + at];
    }
    const area = Math.min(cell, n - a) * Math.min(cell, n - b),
      held = side.labels.map((label, k) => [vec[k], label]).filter(([x]) => x > 0);
    const all = held.reduce((sum, [x]) => sum + x, 0);
    const by = held.map(([x, label]) => `${grouped(x)} ${name === "difference" ? "" : "first allowed by "}${label}`).join("; ");
    return `${span("queries", a, cell, n)}, ${span("keys", b, cell, n)}: ${grouped(all)} of ${grouped(area)} pairs${by ? ` — ${by}` : ""}`;
  }
  const pair = `query ${grouped(i)}, key ${grouped(j)}: `,
    first = counter.which(i, j);
  if (name === "difference") return pair + (first < 0 ? "in neither" : side.labels[first]);
  const told = (rule) => rule.test(i, j, counter.n, counter.P, counter.T),
    [parts, leaves] = lists;
  const by = side.labels.filter((_, k) => told(parts[k]));
  const yes = side.leaves.filter((_, k) => told(leaves[k])),
    no = side.leaves.filter((_, k) => !told(leaves[k]));
  const why =
    side.leaves.length > 1
      ? ` (${[yes.length ? `yes: ${listed(yes)}` : "", no.length ? `no: ${listed(no)}` : ""].filter(Boolean).join("; ")})`
      : "";
  return pair + (first < 0 ? "not allowed" : `allowed by ${listed(by)}`) + why;
}
