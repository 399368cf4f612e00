# %% [markdown]
# # 13. Inside a GPU kernel
#
# A GPU multiplies far faster than it reads. What makes a kernel fast is therefore which numbers its threads read, and with whom they
# share them. Here two kernels of this library run on your processor, in Numba's CUDA simulator, on arrays that remember who read them. No
# GPU is needed, only patience: every thread of a kernel is a thread of the operating system, thousands of times slower than on a GPU.

# %%
import os

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # before Numba is imported

import numpy as np

import sparsevis as sv

# %% [markdown]
# ## Two speeds
#
# An NVIDIA H200 does 67 · 10¹² operations a second in float32 and moves 4.8 · 10¹² bytes a second between its memory and its processors
# (NVIDIA's data sheet). While one byte arrives, it could do 67 / 4.8 ≈ 14 operations; a float32 number has 4 bytes, so 56 operations. A
# kernel that does fewer than 56 operations for each number it reads waits for memory. With 16-bit numbers on tensor cores, 989 · 10¹²
# operations a second, it is 206 operations for a byte.
#
# One pair of a query and a key costs 4d operations: d multiplications and d additions for the score, as many for the value under its
# weight.

# %%
operations_a_byte = 67e12 / 4.8e12
a_number = 4 * operations_a_byte
print(f"{operations_a_byte:.1f} operations a byte, {a_number:.0f} a number")
assert round(a_number) == 56
assert sv.cost(sv.Causal(), 64, head_dim=8).flops == 4 * 8 * (64 * 65 // 2)

# %% [markdown]
# ## One thread, one query
#
# A kernel is a function that thousands of **threads** run at the same time, each with a number of its own. The plainest kernel for
# attention, `cuda_rows`, gives each thread one query. It walks over the keys of its query, one after another, and carries along the
# largest score so far, the sum of exponentials, and the weighted sum of values: the online softmax of FlashAttention. It is a page of
# Python.

# %%
q, k, v = np.random.default_rng(0).standard_normal((3, 64, 8), dtype=np.float32)
o = sv.attention(q, k, v, sv.Causal(), impl="cuda_rows")
exact = sv.attention(q, k, v, sv.Causal(), impl="reference")
print(f"64 threads in the simulator, error {abs(o - exact).max():.1e}")
assert abs(o - exact).max() < 1e-5

# %% [markdown]
# Which numbers did they read? `sv.reads` runs the same kernel on arrays that count. Below, a line is a thread, a column is a row of k,
# and a pixel is deep where that thread reads that key. Query i attends keys 0 to i, so thread i reads i + 1 rows of k: the picture is the
# causal mask. Together 64 · 65 / 2 = 2,080 rows of 8 numbers: 16,640.

# %%
rows = sv.reads(q, k, v, sv.Causal(), impl="cuda_rows")
sv.plots.reads(rows, title="cuda_rows: each thread reads its keys", size=5)
assert rows.read("k") == 8 * (64 * 65 // 2) == 16_640
assert (rows.counts["k"][0] == 8 * sv.Causal().mask(64)).all()

# %% [markdown]
# k has 512 numbers, and they were read 16,640 times, 32.5 times each. The table has all four arrays: q is read again for every key, and
# the weighted sum grows in the output's own place, o, which is memory too.

# %%
print(rows)
operations = 4 * 8 * rows.pairs
print(f"{operations / rows.bytes:.2f} operations a byte")
assert operations / rows.bytes < 0.25

# %% [markdown]
# 0.24 operations a byte, where 14 are needed: if every read went to memory, an H200 would do at most 0.24 · 4.8 ≈ 1.2 of its 67 · 10¹²
# operations a second. Two things soften this. Threads run in **warps** of 32 that do the same at the same time; where all 32 ask for the
# same number, as these do for k[j], one read serves all. And caches keep what was read a moment ago. But a kernel that has to hope is not
# a fast kernel.
#
# **"A GPU is fast because it has thousands of threads."** They are needed, to have work while others wait for memory. But 64 threads that
# each read everything ask for 64 times as much; more threads do not make memory faster.
#
# ## A block of threads reads together
#
# Threads come in **blocks**. A block has a piece of fast memory of its own, **shared memory**: 227 KiB on an H200, where all its threads
# can read and write. `cuda_tiled` uses it so: a block owns a few neighbouring queries. For each tile of keys its threads copy k and v to
# shared memory, each thread a few numbers; all wait until the copy is complete; then each multiplies its part of the tile, with operands
# from shared memory and sums in registers. In the simulator a block has 32 threads, and a tile 8 queries and 16 keys; on a GPU tiles are
# larger, 64 queries and 64 keys.

# %%
tiles = sv.reads(q, k, v, sv.Causal(), impl="cuda_tiled")
sv.plots.reads(tiles, title="cuda_tiled: threads share the reading", size=5)
assert abs(tiles.o - exact).max() < 1e-5
assert (tiles.blocks, tiles.threads) == (64 // 8, 32)

# %% [markdown]
# Dark lines separate the blocks; those with longer lists of tiles start first, so the last queries stand on top. No thread reads
# a whole key any more: it reads one number in each of a few rows, and the others of its block read the rest. Let us count by hand. The
# block of queries 0 to 7 needs keys 0 to 7, one tile of 16. The next one too; then two tiles, two, three, three, four, four: 20 tiles of
# 16 rows of 8 numbers, 2,560.

# %%
listed = sum(-(-8 * (b + 1) // 16) for b in range(8))
print(f"{listed} tiles, {tiles.read('k'):,} reads of k instead of {rows.read('k'):,}")
assert tiles.read("k") == tiles.read("v") == listed * 16 * 8 == 2_560
assert tiles.read("q") == q.size
assert tiles.read("o") == 0

# %% [markdown]
# 6.5 times fewer, with 8 queries in a block: not quite 8, since tiles on the diagonal bring keys that not all 8 queries attend. A number
# of q is read once, and the sums do not leave the registers.

# %%
print(tiles)
saved = rows.bytes / tiles.bytes
a_byte = operations / tiles.bytes
print(f"{saved:.1f} times fewer bytes, {a_byte:.1f} operations a byte")
assert saved > 8

# %% [markdown]
# ## The larger the tile, the fewer the reads
#
# Let a block own T queries. Per tile of K keys it does 4d · T · K operations and reads 2d · K numbers, of k and of v: **2T operations a
# number**, whatever d and K are. T = 8 gives 16. In float32 an H200 needs 56, so T = 28 would do; 64 is on the safe side. The tile
# counts of a layout say the same without running anything.

# %%
n, d, per_number = 4096, 64, {}
for T in (8, 32, 128):
    layout = sv.Layout.of(sv.Causal(), n, block=(T, 64))
    numbers = 2 * d * 64 * layout.indices.size
    per_number[T] = 4 * d * layout.nnz / numbers
    print(f"T = {T:3}: {per_number[T]:5.1f} operations for a number of k or v")
assert all(0.9 * 2 * T < x <= 2 * T for T, x in per_number.items())

# %% [markdown]
# **"So the largest tile is the best."** A tile is computed whole. Sparse patterns are thin, and a large tile holds many pairs that nobody
# asked for. In a window of 256 keys, tiles of 64 compute 1.25 times the pairs that are needed, and tiles of 256 twice as many.

# %%
window, computed = sv.mistral(256), {}
for T in (64, 128, 256):
    computed[T] = sv.cost(window, 8192, block=T).computed / sv.cost(window, 8192).nnz
    print(f"tiles of {T:3}: {computed[T]:.2f} times the pairs that are needed")
assert computed[64] < 1.3 < 1.9 < computed[256]

# %% [markdown]
# ## What a sparse pattern saves
#
# A tile that the layout does not list is not read. With a window of 20 keys a block of 8 queries meets at most three tiles, wherever it
# stands, and its threads touch nothing else.

# %%
near = sv.reads(q, k, v, sv.mistral(20), impl="cuda_tiled")
sv.plots.reads(near, title="A window of 20 keys, by tiles", size=5)
listed = sv.Layout.of(sv.mistral(20), 64, block=(8, 16)).indices.size
assert near.read("k") == listed * 16 * 8 < tiles.read("k")
assert (near.counts["k"].sum(axis=(1, 2)) <= 3 * 16 * 8).all()

# %% [markdown]
# The faster kernels of the ladder, `cuda_mma` and `cuda_wgmma`, read in the same pattern, with tiles of 64 to 192 queries; what they
# change is who multiplies (tensor cores) and who copies (a copy engine, while the others compute).
#
# ## Exercises
#
# **1.** Under a window of 4 keys, `sv.mistral(4)`, which rows of k does thread 10 of `cuda_rows` read? Give a set.

# %% tags=["exercise"]
rows_of_10 = ...

# %% [markdown] tags=["solution"]
# Thread 10 has query 10, which attends itself and the three keys before it.

# %% tags=["solution"]
rows_of_10 = {7, 8, 9, 10}

# %% tags=["check"]
x = np.ones((16, 2), dtype=np.float32)
watched = sv.reads(x, x, x, sv.mistral(4), impl="cuda_rows")
sv.check(rows_of_10, set(np.flatnonzero(watched.counts["k"][0, 10]).tolist()))

# %% [markdown]
# **2.** Causal attention over n tokens, square tiles of T queries and T keys, and T divides n. How many numbers of k do all blocks read
# together, if keys have d numbers?

# %% tags=["exercise"]
def numbers_of_k(n, T, d):
    ...

# %% [markdown] tags=["solution"]
# There are n / T blocks; block b reads tiles 0 to b, so all read (n / T) (n / T + 1) / 2 tiles, each of T rows of d numbers.

# %% tags=["solution"]
def numbers_of_k(n, T, d):
    blocks = n // T
    return blocks * (blocks + 1) // 2 * T * d

# %% tags=["check"]
expected = lambda n, T, d: sv.Layout.of(sv.Causal(), n, T).indices.size * T * d
sv.check(numbers_of_k, expected, at=[(64, 64, 1), (64, 8, 3), (8192, 128, 64)])

# %% [markdown]
# **3.** A block owns T queries, numbers have two bytes, and tensor cores do `flops` operations a second while memory moves `bandwidth`
# bytes. What is the smallest T with which reading k and v takes no longer than computing?

# %% tags=["exercise"]
def smallest_block(flops, bandwidth):
    ...

# %% [markdown] tags=["solution"]
# 2T operations a number are T operations a byte, since a number has two bytes. They need to be flops / bandwidth: 206.04 on an H200, so
# 207. The kernels take 64 to 192, and count on the cache that all blocks share (L2): neighbouring blocks read the same keys.

# %% tags=["solution"]
def smallest_block(flops, bandwidth):
    return int(np.ceil(flops / bandwidth))

# %% tags=["check"]
per_tile = lambda T: (4 * 64 * T * 64, 2 * 2 * 64 * 64)  # operations, bytes
waits = lambda T, flops, bandwidth: per_tile(T)[1] / bandwidth > per_tile(T)[0] / flops
expected = lambda *gpu: next(T for T in range(1, 10_000) if not waits(T, *gpu))
sv.check(smallest_block, expected, at=[(989e12, 4.8e12), (312e12, 2e12), (1e12, 1e12)])

# %% [markdown]
# **4.** Be a thread. Write what thread i of `cuda_rows` does with its query: one key after another, `keys` says which. Keep the largest
# score m so far, the sum l of exp(score - m), and the weighted sum of values; when m grows, what was summed shrinks. Scores are divided
# by √d. Return the output row.

# %% tags=["exercise"]
def one_thread(query, k, v, keys):
    ...

# %% [markdown] tags=["solution"]
# With a new maximum m', exp(score - m') = exp(score - m) · exp(m - m'): all that was summed is multiplied by the same factor. Before the
# first key m is -∞, and the factor 0.

# %% tags=["solution"]
def one_thread(query, k, v, keys):
    m, l, acc = -np.inf, 0.0, np.zeros(v.shape[1])
    for j in keys:
        s = query @ k[j] / np.sqrt(query.size)
        new = max(m, s)
        shrink, p = np.exp(m - new), np.exp(s - new)
        m, l, acc = new, l * shrink + p, acc * shrink + p * v[j]
    return acc / l

# %% tags=["check"]
seen = [[3], range(0, 64, 7), range(64)]
inputs = [(300 * q[5], k, v, keys) for keys in seen] + [(q[9], k, v, [63, 0, 1])]
chosen = lambda *x: sv.reference.attention(x[0][None], x[1][x[3]], x[2][x[3]])[0][0]
expected = lambda query, k, v, keys: chosen(query, k, v, list(keys))
sv.check(one_thread, expected, at=inputs, tolerance=1e-4)

# %% [markdown]
# The whole ladder, with its speeds on a real GPU, is in the documentation: from one thread a query to Hopper's tensor cores.
