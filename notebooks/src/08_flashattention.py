# %% [markdown]
# # 8. FlashAttention: the same numbers in another order
#
# FlashAttention (Dao et al. 2022, arXiv 2205.14135) walks over the scores tile by tile and never stores them. Here is why the result
# is exact, what the walk saves, counted in bytes, and what it does not reduce: the pairs.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## Softmax in one pass
#
# Softmax seems to need all scores of a query at once: the largest, to subtract it, and the sum, to divide by it. It does not. Keep
# three things for each query (Milakov & Gimelshein 2018, arXiv 1805.02867):
#
# - **m**, the largest score so far;
# - **l**, the sum of exp(score - m) so far;
# - **o**, the mean of the values so far, under the weights exp(score - m) / l.
#
# When a larger score comes, everything that was summed **shrinks** by exp(old m - new m).
#
# Four keys with the scores ln 1, ln 3, ln 4, ln 8 and the values 0, 8, 4, 2 come in two tiles.
#
# 1. Tile 1: m = ln 3, l = 1/3 + 3/3 = 4/3, o = (1 · 0 + 3 · 8) / 4 = 6.
# 2. Tile 2: m = ln 8. The old sum shrinks by 3/8: l = 3/8 · 4/3 + 4/8 + 8/8 = 2. The old mean had the weight 4 of 16:
#    o = (4 · 6 + 4 · 4 + 8 · 2) / 16 = 3.5.
#
# And all at once: (1 · 0 + 3 · 8 + 4 · 4 + 8 · 2) / 16 = 3.5.

# %%
q, k = np.array([[1.0]]), np.log([[1.0], [3.0], [4.0], [8.0]])
v = np.array([[0.0], [8.0], [4.0], [2.0]])
walked = sv.walk(q, k, v, block=(1, 2), scale=1.0)
sv.plots.tiling_grid(walked, columns=1, size=6)
first, second = walked.steps
assert np.allclose([first.l[0], first.o[0, 0]], [4 / 3, 6])
assert np.allclose([second.shrink[0], second.l[0], second.o[0, 0]], [3 / 8, 2, 3.5])

# %% [markdown]
# At the end m + ln l = ln 8 + ln 2 = ln 16 is the logarithm of the sum of all exponentials: the **lse**, one number a query. We shall
# need it twice.

# %%
assert np.isclose(walked.lse[0], np.log(1 + 3 + 4 + 8))

# %% [markdown]
# ## Tile by tile
#
# A **tile** is a block of queries against a block of keys. One block of queries walks over all blocks of keys, from left to right, and
# carries m, l and o along; then comes the next block of queries. Here are 24 tokens of *Alice* in tiles of 6 x 6 (layer 2, head 8,
# tokens 64 to 87).

# %%
alice = [x[8] for x in sv.data.load("alice").layer(2)]
some = [x[64:88] for x in alice]
walked = sv.walk(*some, block=6)
sv.plots.tiling(walked, step=9, size=4)
assert len(walked.steps) == 4 * 4

# %% [markdown]
# This is what the last block of queries knows after each of its four tiles (of the output, eight of 32 numbers). A bold maximum has
# just risen; the orange number beside it is what the old sums shrink by. Only after the last tile is the output attention's.

# %%
narrow = sv.walk(*some[:2], some[2][:, :8], block=6)
sv.plots.tiling_grid(narrow, columns=1, size=7)
assert [step.raised.sum() for step in narrow.of(-1)] == [0, 6, 3, 6]
assert np.allclose(narrow.o, sv.attention(*some[:2], some[2][:, :8]), atol=1e-5)

# %% [markdown]
# ## Exact
#
# **"FlashAttention is an approximation."** No. Nothing is dropped, and nothing is estimated. Only the order of the additions differs,
# and with it the last bits. Against dense attention in float64, with tiles of any size, over all 512 tokens:

# %%
exact = [x.astype(np.float64) for x in alice]
dense = sv.reference.attention(*exact)[0]
for block in (8, 64, 100, 512):
    o = sv.attention(*exact, impl="loops", block=block)
    print(f"tiles of {block}: largest difference {np.abs(o - dense).max():.1e}")
    assert np.abs(o - dense).max() < 1e-13

# %% [markdown]
# The order is free altogether: two halves of the keys, attended apart, on two machines if you like, are joined by their lse. Each
# output counts by its share of the whole sum, exp(lse of the half - lse of both).

# %%
q, k, v = exact
left = sv.attention(q, k[:200], v[:200], return_lse=True)
right = sv.attention(q, k[200:], v[200:], return_lse=True)
o, lse = sv.merge(left, right)
assert np.abs(o - dense).max() < 1e-13

# %% [markdown]
# The way back needs no stored weights either: a weight is exp(score - lse), computed anew tile by tile. n numbers are kept instead of n².

# %%
scores = q @ k.T / np.sqrt(32)
weights = np.exp(scores - lse[:, None])
assert np.allclose(weights.sum(axis=1), 1) and np.allclose(weights @ v, dense)

# %% [markdown]
# ## What is saved: memory
#
# The plain method stores n² scores and n² weights. For one head over 4,096 tokens, 4 bytes a number: 2 · 4,096² · 4 = 134 million
# bytes. The walk stores one tile at a time; our kernel adds a list of tiles, 8 bytes for 64 · 64 pairs instead of 8 bytes for each.

# %%
counted = sv.cost(None, 4096, head_dim=64, block=64)
print(f"plain: {counted.memory_naive:,} bytes, tiled: {counted.memory_tiled:,}")
assert counted.memory_naive == 2 * 4096**2 * 4
assert counted.memory_naive > 4000 * counted.memory_tiled

# %%
lengths = [2**i for i in range(10, 18)]
curve = sv.cost_curve(None, lengths, name="tiled")
sv.plots.cost(curve, quantity="memory_tiled", title="Memory: 4,000 times less", size=6);

# %% [markdown]
# ## What is saved: bytes moved
#
# A processor computes in a small fast memory, and everything in it was fetched from a large slow one. That traffic can be counted.
# Again n = 4,096 and d = 64, in numbers instead of bytes:
#
# - plain: the scores are written and read back, and so are the weights: 4 n² = 67 million;
# - tiled: each of the 4,096 / 64 = 64 blocks of queries reads all keys and values: 64 · 4,096 · 2 · 64 = 34 million.
#
# In general 2 d n² / B for tiles with B rows of queries. Twice the rows, half the traffic; how many fit is a matter of the fast
# memory's size M, and that is the paper's theorem 2: traffic grows as n² d² / M.

# %%
assert counted.key_rows * 2 * 64 == 64 * 4096 * 2 * 64 == 33_554_432
for rows in (64, 128, 256):
    moved = sv.cost(None, 4096, head_dim=64, block=(rows, 64)).bytes_tiled
    less = counted.bytes_naive / moved
    print(f"{rows} rows: {moved:,} bytes, {less:.1f} times less than the plain method")
assert 7 < less < 8

# %%
rows = {f"{b} rows": b for b in (64, 128, 256)}
moved = {x: [sv.cost(None, n, block=(b, 64)) for n in lengths] for x, b in rows.items()}
words = "Traffic: less, and quadratic"
sv.plots.cost(moved, quantity="bytes_tiled", title=words, size=7);

# %% [markdown]
# ## What is not saved: pairs
#
# **"FlashAttention makes attention linear."** Its memory, yes. Not its work: every pair is scored, 4 n² d operations as ever, and even
# the traffic still grows as n². Eight times the text is 64 times the work, and the seconds follow:

# %%
lengths = [512, 1024, 2048, 4096]
measured = sv.measure(sv.Dense(), lengths, heads=2, dense=False, name="tiled")
sv.plots.cost(measured, quantity="seconds", title="Tiled, and quadratic", size=6)
first, last = measured.rows[0], measured.rows[-1]
print(f"8 times the text took {last.seconds / first.seconds:.0f} times as long")
assert last.cost.flops == 64 * first.cost.flops
assert last.seconds > 12 * first.seconds

# %% [markdown]
# **"With FlashAttention nobody needs sparse attention; they compete."** They answer different questions. A sparse pattern says *which*
# pairs; FlashAttention says *in which order*, whatever the pairs. Leave out the tiles that hold no allowed pair, and the same walk
# computes sparse attention, exactly: here a causal window of 7 keys, 7 tiles instead of 16.

# %%
window = sv.mistral(7)
sparse = sv.walk(*some, window, block=6)
sv.plots.tiling(sparse, size=4)
print(f"{len(sparse.steps)} tiles walked of {len(walked.steps)}")
expected = sv.reference.attention(*some, window.mask(24))[0]
assert len(sparse.steps) == 1 + 2 + 2 + 2 and np.allclose(sparse.o, expected)

# %% [markdown]
# ## Exercises
#
# **1.** After some tiles, one query has m = ln 2, l = 3/2 and o = 4. The next tile holds a single key, with score ln 3 and value 8. What
# are m, l and o after it?

# %% tags=["exercise"]
after = {"m": ..., "l": ..., "o": ...}

# %% [markdown] tags=["solution"]
# m = ln 3. The old sum shrinks by 2/3: l = 2/3 · 3/2 + 1 = 2. Old and new part weigh the same, so o = (4 + 8) / 2 = 6.

# %% tags=["solution"]
after = {"m": np.log(3), "l": 2.0, "o": 6.0}

# %% tags=["check"]
k3, v3 = np.log([[2.0], [1.0], [3.0]]), np.array([[5.0], [2.0], [8.0]])
end = sv.walk(np.array([[1.0]]), k3, v3, block=(1, 2), scale=1.0).steps[-1]
sv.check(after, {"m": end.m[0], "l": end.l[0], "o": end.o[0, 0]})

# %% [markdown]
# **2.** Join two parts: outputs o1, o2 of shape (n, d) and their lse1, lse2 of shape (n,). Return the output over all keys.

# %% tags=["exercise"]
def joined(o1, lse1, o2, lse2):
    ...

# %% tags=["solution"]
def joined(o1, lse1, o2, lse2):
    lse = np.logaddexp(lse1, lse2)
    return o1 * np.exp(lse1 - lse)[:, None] + o2 * np.exp(lse2 - lse)[:, None]

# %% tags=["check"]
parts = [(*left, *right), (*right, *left), (left[0], left[1] + 900, *right)]
both = lambda o1, lse1, o2, lse2: sv.merge((o1, lse1), (o2, lse2))[0]
sv.check(joined, both, at=parts)

# %% [markdown]
# **3.** How many numbers does the tiled walk read from keys and values together, for one head of n tokens of dimension d, when a tile
# has `rows` queries? n need not be a multiple of `rows`.

# %% tags=["exercise"]
def numbers_read(n, d, rows):
    ...

# %% [markdown] tags=["solution"]
# Every block of queries, the last short one too, reads all n keys and n values of d numbers.

# %% tags=["solution"]
def numbers_read(n, d, rows):
    return -(-n // rows) * n * 2 * d

# %% tags=["check"]
key_rows = lambda n, d, rows: sv.cost(None, n, head_dim=d, block=(rows, 64)).key_rows
read = lambda n, d, rows: key_rows(n, d, rows) * 2 * d
sv.check(numbers_read, read, at=[(4096, 64, 64), (1000, 32, 64), (1, 8, 128)])

# %% [markdown]
# **4.** Write the walk: attention of one head, (n, d) arrays, over keys in tiles of `block`, without ever holding more than n · block
# scores. Let m start at -inf, l at 0, and instead of o carry l · o, which needs dividing only once, at the end.

# %% tags=["exercise"]
def flash(q, k, v, block):
    ...

# %% tags=["solution"]
def flash(q, k, v, block):
    m, l, acc = np.full(len(q), -np.inf), np.zeros(len(q)), np.zeros(v.shape)
    for j in range(0, len(k), block):
        s = q @ k[j : j + block].T / np.sqrt(q.shape[1])
        new = np.maximum(m, s.max(axis=1))
        p, shrink = np.exp(s - new[:, None]), np.exp(m - new)
        l = shrink * l + p.sum(axis=1)
        acc = shrink[:, None] * acc + p @ v[j : j + block]
        m = new
    return acc / l[:, None]

# %% tags=["check"]
inputs = [(q, k, v, 64), (40 * q, 40 * k, v, 7), (q[:9], k[:9], v[:9], 99)]
expected = lambda q, k, v, block: sv.reference.attention(q, k, v)[0]
sv.check(flash, expected, at=inputs)

# %% [markdown]
# Next: both together, and why leaving out pairs does not always save time.
