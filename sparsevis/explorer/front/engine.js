// Counts pairs exactly, as `tally` does in Python: a square is judged by the interval reading, squares that read alike are counted once,
// and the smallest are decided pair by pair. The rules are printed from Python (`script.py`); none is written here.

class Steps {
  constructor(ends) {
    this.ends = ends;
  }
  value(x) {
    // how many ends are <= x
    let lo = 0,
      hi = this.ends.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (this.ends[mid] <= x) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }
}

class Relation {
  constructor({ rows, columns, start, keys }) {
    Object.assign(this, { rows, columns, start, keys });
    this.shift = Math.max(0, Math.ceil(Math.log2(Math.max(rows, columns, 1) / 1024)));
    const w = (this.width = (columns >> this.shift) + 2),
      h = (rows >> this.shift) + 2;
    this.sums = new Int32Array(w * h); // summed-area table of squares of 2^shift
    for (let r = 0; r < rows; r++)
      for (let e = start[r]; e < start[r + 1]; e++) this.sums[((r >> this.shift) + 1) * w + (keys[e] >> this.shift) + 1]++;
    for (let y = 1; y < h; y++)
      for (let x = 1; x < w; x++)
        this.sums[y * w + x] += this.sums[y * w + x - 1] + this.sums[(y - 1) * w + x] - this.sums[(y - 1) * w + x - 1];
  }
  before(r, c) {
    // entries of row r that lie before column c
    let lo = this.start[r],
      hi = this.start[r + 1];
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (this.keys[mid] < c) lo = mid + 1;
      else hi = mid;
    }
    return lo;
  }
  has(r, c) {
    const at = this.before(r, c);
    return at < this.start[r + 1] && this.keys[at] === c;
  }
  // entries in a rectangle; -1 where that would take long to say
  held(r0, r1, c0, c1) {
    const size = 1 << this.shift,
      ends = (x, last) => (x + 1) % size === 0 || x + 1 === last;
    if (r0 % size === 0 && c0 % size === 0 && ends(r1, this.rows) && ends(c1, this.columns)) return this.around(r0, r1, c0, c1);
    if (r1 - r0 > 15) return -1;
    let found = 0;
    for (let r = r0; r <= r1; r++) found += this.before(r, c1 + 1) - this.before(r, c0);
    return found;
  }
  around(r0, r1, c0, c1) {
    const s = this.shift,
      w = this.width,
      y0 = (r0 >> s) * w,
      y1 = ((r1 >> s) + 1) * w,
      x0 = c0 >> s,
      x1 = (c1 >> s) + 1;
    return this.sums[y1 + x1] - this.sums[y0 + x1] - this.sums[y1 + x0] + this.sums[y0 + x0];
  }
  judge(r0, r1, c0, c1) {
    if (this.around(r0, r1, c0, c1) === 0) return 0;
    const held = this.held(r0, r1, c0, c1);
    return held === 0 ? 0 : held === (r1 - r0 + 1) * (c1 - c0 + 1) ? 2 : 1;
  }
}

const ints = (bytes) => new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const tableOf = (t) => (t.kind === "steps" ? new Steps(ints(t.ends)) : new Relation({ ...t, start: ints(t.start), keys: ints(t.keys) }));

class Counter {
  // Of each square: the pairs each rule is the first to allow, then how many tiles of `block` are full, and how many partial;
  // the latter hold only if `tiles` are asked for.
  constructor(rules, P, T, n, block, tiles = true) {
    Object.assign(this, { rules, P, T, n, block, tiles, R: rules.length, V: rules.length + 2 });
    this.first = [];
    let words = 0;
    for (const rule of rules) {
      this.first.push(words);
      words += rule.words;
    }
    this.M = new Float64Array(words);
    this.D = new Uint8Array(this.R);
    this.K = 3 + this.R + words;
    this.spare = [];
    this.depth = 0;
    this.forget();
  }
  forget() {
    this.used = 0;
    this.room = 1 << 10;
    this.slots = new Int32Array(4 * this.room);
    this.keys = new Float64Array(this.room * this.K);
    this.values = new Float64Array(this.room * this.V);
  }
  which(i, j) {
    for (let k = 0; k < this.R; k++) if (this.rules[k].test(i, j, this.n, this.P, this.T)) return k;
    return -1;
  }
  // -1 empty, 0 ... R - 1 all of that rule, -2 undecided; D and M say what is known. `live` has a bit for each rule that may hold.
  decide(ia, ib, ja, jb, live = -1) {
    let open = false,
      k = 0;
    this.live = 0;
    for (; k < this.R; k++) {
      const told = (this.D[k] = !(live & (1 << (k & 31)))
        ? 0
        : this.rules[k].judge(ia, ib, ja, jb, this.n, this.P, this.T, this.M, this.first[k]));
      if (told) this.live |= 1 << (k & 31);
      if (told === 1) open = true;
      else this.M.fill(0, this.first[k], this.first[k] + this.rules[k].words);
      if (told === 2) break; // a rule that is full hides those after it
    }
    if (!open) return k < this.R ? k : -1;
    for (k++; k < this.R; k++) {
      this.D[k] = 0;
      this.M.fill(0, this.first[k], this.first[k] + this.rules[k].words);
    }
    return -2;
  }
  add(i, j, side, out, live = -1) {
    const h = Math.min(side, this.n - i),
      w = Math.min(side, this.n - j);
    if (h <= 0 || w <= 0) return;
    const told = this.decide(i, i + h - 1, j, j + w - 1, live);
    if (told === -1) return;
    if (told >= 0) {
      out[told] += h * w;
      if (side >= this.block) {
        const full = Math.floor(h / this.block) * Math.floor(w / this.block);
        out[this.R] += full;
        out[this.R + 1] += Math.ceil(h / this.block) * Math.ceil(w / this.block) - full;
      }
      return;
    }
    const own = (this.spare[this.depth] ??= new Float64Array(this.V));
    this.resolve(i, j, side, h, w, own);
    for (let v = 0; v < this.V; v++) out[v] += own[v];
  }
  // Counts an undecided square right after `decide`; returns its entry, or -1 where no other square reads alike.
  resolve(i, j, side, h, w, own) {
    let e = -1;
    this.depth++;
    if (this.unlike()) {
      if (!this.byEntries(own.fill(0), i, j, h, w)) this.count(own, i, j, side, h, w);
    } else if ((e = this.entry(side, h, w)) >= 0) for (let v = 0, at = e * this.V; v < this.V; v++) own[v] = this.values[at + v];
    else {
      e = -1 - e;
      this.count(own.fill(0), i, j, side, h, w);
      this.values.set(own, e * this.V);
    }
    this.depth--;
    return e;
  }
  unlike() {
    // a table is open: no other square reads alike
    for (let k = 0; k < this.R; k++) if (this.D[k] === 1 && this.rules[k].unlike) return true;
    return false;
  }
  // A table of blocks alone is open: its entries say how many pairs there are.
  byEntries(own, i, j, h, w) {
    let k = -1;
    for (let x = 0; x < this.R; x++)
      if (this.D[x]) {
        if (k >= 0 || !this.rules[x].table) return false;
        k = x;
      }
    const { size, table } = this.rules[k],
      b = size(this.P);
    if (i % b || j % b || h % b || w % b || (this.tiles && b % this.block)) return false;
    const held = table(this.T).held(i / b, (i + h) / b - 1, j / b, (j + w) / b - 1);
    if (held < 0) return false;
    own[k] = held * b * b;
    own[this.R] = this.tiles ? held * (b / this.block) ** 2 : 0;
    return true;
  }
  count(own, i, j, side, h, w) {
    if (side <= Math.min(4, this.block)) {
      for (let a = i; a < i + h; a++)
        for (let b = j; b < j + w; b++) {
          const k = this.which(a, b);
          if (k >= 0) own[k]++;
        }
    } else {
      const half = side / 2,
        live = this.live;
      this.add(i, j, half, own, live);
      this.add(i, j + half, half, own, live);
      this.add(i + half, j, half, own, live);
      this.add(i + half, j + half, half, own, live);
    }
    if (side === this.block) {
      let held = 0;
      for (let k = 0; k < this.R; k++) held += own[k];
      own[this.R] = held === side * side ? 1 : 0;
      own[this.R + 1] = held && held < side * side ? 1 : 0;
    }
  }
  // the entry of a square that reads like this one; -1 - entry if it is new
  entry(side, h, w) {
    const { K, R, M, D } = this,
      key = (this.scratch ??= new Float64Array(K));
    key[0] = side;
    key[1] = h;
    key[2] = w;
    for (let k = 0; k < R; k++) key[3 + k] = D[k];
    for (let k = 0; k < M.length; k++) key[3 + R + k] = M[k];
    let hash = 0;
    for (let k = 0; k < K; k++) hash = Math.imul(hash ^ key[k], 0x9e3779b1) ^ (hash >>> 15);
    const mask = this.slots.length - 1;
    for (let at = (hash ^ (hash >>> 13)) & mask; ; at = (at + 1) & mask) {
      const e = this.slots[at] - 1;
      if (e < 0) break;
      let same = true;
      for (let k = 0, from = e * K; k < K && same; k++) same = this.keys[from + k] === key[k];
      if (same) return e;
    }
    if (this.used === this.room) this.grow();
    this.keys.set(key, this.used * K);
    this.place(this.used, hash);
    return -1 - this.used++;
  }
  place(e, hash) {
    const mask = this.slots.length - 1;
    let at = (hash ^ (hash >>> 13)) & mask;
    while (this.slots[at]) at = (at + 1) & mask;
    this.slots[at] = e + 1;
  }
  grow() {
    this.room *= 2;
    const longer = (old, size) => {
      const made = new Float64Array(size);
      made.set(old);
      return made;
    };
    this.keys = longer(this.keys, this.room * this.K);
    this.values = longer(this.values, this.room * this.V);
    this.slots = new Int32Array(4 * this.room);
    for (let e = 0; e < this.used; e++) {
      let hash = 0;
      for (let k = 0, from = e * this.K; k < this.K; k++) hash = Math.imul(hash ^ this.keys[from + k], 0x9e3779b1) ^ (hash >>> 15);
      this.place(e, hash);
    }
  }
  total() {
    if (!this.sum) {
      this.sum = new Float64Array(this.V);
      this.add(0, 0, Math.max(this.block, 1 << Math.ceil(Math.log2(Math.max(this.n, 1)))), this.sum);
    }
    return this.sum;
  }
  // Calls leaf(i, j, side, told) for squares that cover a view: decided ones, as large as they come, but those that hang over an edge no
  // larger than `least`, and undecided ones of `cell`. D and M are as `decide` left them. Of undecided squares that read alike and lie in
  // the view as a whole, the first is gone through; again(i, j, side, from i, from j) is called for the others.
  visit(i0, j0, cells, cell, leaf, again, least = 0) {
    let side = cell;
    while (side < cells || side < least) side *= 2;
    const met = new Map(),
      walk = (i, j, s, above) => {
        if (i >= this.n || j >= this.n || i >= i0 + cells || j >= j0 + cells || i + s <= i0 || j + s <= j0) return;
        const h = Math.min(s, this.n - i),
          w = Math.min(s, this.n - j),
          told = this.decide(i, i + h - 1, j, j + w - 1, above),
          live = this.live;
        const ragged = told >= 0 && s > least && least > 0 && (h < s || w < s);
        if (s <= cell || (told !== -2 && !ragged) || s === least) {
          leaf(i, j, s, told);
          return;
        }
        const whole = told === -2 && i >= i0 && j >= j0 && i + h <= i0 + cells && j + w <= j0 + cells && !this.unlike();
        const e = whole ? this.entry(-s, h, w) : 0,
          name = e < 0 ? -1 - e : e;
        if (whole && met.has(name)) {
          again(i, j, s, ...met.get(name));
          return;
        }
        s /= 2;
        walk(i, j, s, live);
        walk(i, j + s, s, live);
        walk(i + s, j, s, live);
        walk(i + s, j + s, s, live);
        if (whole) met.set(name, [i, j]);
      };
    for (let i = Math.floor(i0 / side) * side; i < i0 + cells; i += side)
      for (let j = Math.floor(j0 / side) * side; j < j0 + cells; j += side) walk(i, j, side, -1);
  }
}
