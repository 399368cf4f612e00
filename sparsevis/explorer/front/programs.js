// Programs and what they count: text becomes a module, parameters and length make a counter; where Python counts, it is asked for the view.

const cellOf = (cells) => 1 << Math.max(0, Math.ceil(Math.log2(cells / 512)));

// edited(name): numbers the interface has changed and Python has not told back, by field
function programsOf({ get, quietly, offline, redraw, view, sides, edited }) {
  const loaded = new Map(),
    counters = {},
    answers = {},
    failed = new Map();

  async function load(key, { source, tables }) {
    if (loaded.has(key)) return;
    loaded.set(key, null);
    try {
      let lists = KNOWN.get(key);
      if (!lists) {
        const url = URL.createObjectURL(new Blob([`export default ${source};`], { type: "text/javascript" }));
        lists = (await import(url)).default;
        URL.revokeObjectURL(url);
      }
      loaded.set(key, { lists, tables: tables.map(tableOf) });
    } catch (error) {
      failed.set(key, String(error));
    }
    redraw();
  }
  const program = (name) => (sides()[name]?.key ? loaded.get(sides()[name].key) : null);
  const paramsOf = (name) => {
    const side = sides()[name],
      params = [...side.params];
    for (const [field, value] of Object.entries(edited(name))) if (field in side.direct) params[side.direct[field]] = value;
    return params;
  };
  function counter(name) {
    const side = sides()[name],
      found = program(name);
    if (!side || !found) return null;
    const n = side.n ?? get("n"),
      params = paramsOf(name),
      tiles = get("show") === "tiles",
      what = JSON.stringify([side.key, params, n, tiles && get("block")]);
    if (counters[name]?.what !== what)
      counters[name] = { what, counter: new Counter(found.lists[0], params, found.tables, n, get("block"), tiles) };
    return counters[name].counter;
  }
  const remote = (name) => sides()[name] && !sides()[name].key && !sides()[name].error;
  const viewKey = (name) => JSON.stringify([name, sides()[name]?.stamp ?? sides().stamp, get("n"), view()]);
  function answer(name) {
    if (!remote(name)) return null;
    const found = answers[name];
    if (found?.what === viewKey(name) || offline) return found?.answer ?? null;
    const [i0, j0, cells] = view(),
      cell = cellOf(cells),
      asked = get("asked");
    if (asked?.what !== viewKey(name))
      quietly("asked", { figure: name, what: viewKey(name), i0, j0, cells, cell, px: Math.ceil(cells / cell) });
    return found?.answer ?? null;
  }
  function answered() {
    const a = get("answer");
    if (a?.figure) keep(a);
  }
  function keep(a) {
    const n = a.n,
      room = new Float64Array(a.px * a.px);
    for (let y = 0; y < a.px; y++)
      for (let x = 0; x < a.px; x++)
        room[y * a.px + x] = Math.max(0, Math.min(a.cell, n - a.i0 - y * a.cell)) * Math.max(0, Math.min(a.cell, n - a.j0 - x * a.cell));
    answers[a.figure] = { what: a.what, answer: { ...a, counts: ints(a.counts), room } };
  }
  // What is told of a pattern in words, with the numbers that the interface has changed since.
  function worded(name) {
    const side = sides()[name];
    if (!side?.paths) return side;
    let { labels, leaves, code } = side;
    for (const [field, value] of Object.entries(edited(name))) {
      if (!(field in side.direct)) continue;
      const dot = field.lastIndexOf("."),
        k = side.paths.indexOf(field.slice(0, dot)),
        old = leaves[k],
        said = `${field.slice(dot + 1)}=${value}`,
        known = new RegExp(`\\b${field.slice(dot + 1)}=-?\\d+`);
      const now = known.test(old) ? old.replace(known, said) : old.replace(/\)$/, old.endsWith("()") ? `${said})` : `, ${said})`);
      const swap = (text) => text.split(old).join(now);
      [labels, leaves, code] = [labels.map(swap), leaves.map((x, l) => (l === k ? now : x)), swap(code)];
    }
    return { ...side, labels, leaves, code };
  }
  const stamp = (name) => (counter(name) ? counters[name].what : viewKey(name) + (answers[name]?.what ?? ""));
  return { load, program, counter, answer, answers, failed, answered, keep, stamp, worded };
}
