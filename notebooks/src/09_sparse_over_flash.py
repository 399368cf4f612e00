# %% [markdown]
# # 9. Sparse over Flash: tiles, and their tax
#
# A fast kernel does not walk over pairs but over tiles (notebook 8). So a sparse pattern saves time only where it empties whole tiles.
# Here is how to count what remains, and when sparse attention is not faster.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## Full, partial, empty
#
# Cut the matrix of pairs into tiles. A tile is
#
# - **full** if every pair in it is allowed: the kernel computes it without looking at the pattern;
# - **empty** if none is: it is not on the list, so it costs nothing;
# - **partial** otherwise: it is computed as a whole, and what is not allowed is masked.
#
# The list of the first and third kind is the **layout**. Take 24 positions in tiles of 4 and a window of 4 keys on each side. Tiles on
# the diagonal have no distance above 3: 6 full ones. Their neighbours, 5 above and 5 below, hold distances from 1 to 7: partial. All
# others lie 5 or more apart: empty. 36 = 6 + 10 + 20.

# %%
window = sv.SlidingWindow(4, 4)
layout = sv.Layout.of(window, 24, block=4)
sv.plots.layout(layout, title="A window, as a kernel walks it", size=5)
assert layout.tally() == (6, 10, 20)

# %% [markdown]
# ## The block tax
#
# The kernel computes 16 tiles of 16 pairs, 256 pairs. Allowed are 24 · 9, less the 2 · (1 + 2 + 3 + 4) that stick out at the ends:
# 216 - 20 = 196. The **block tax** is what is computed for one pair that is needed: 256 / 196 = 1.31.

# %%
print(layout)
assert layout.computed == 16 * 16 and layout.nnz == 196
assert round(layout.computed / layout.nnz, 2) == 1.31

# %% [markdown]
# Smaller tiles waste less. With tiles of one pair there is no tax at all, but there is no tile either: keys and values would be
# fetched anew for each query. Larger tiles do more operations for each byte they move. The same count for a window of 256 keys over
# 4,096 positions:

# %%
for block in (16, 32, 64, 128, 256):
    c = sv.cost(sv.mistral(256), 4096, block=block)
    print(f"{block:3}: tax {c.block_tax:.2f}, {c.intensity:4.1f} operations a byte")
assert sv.cost(sv.mistral(256), 4096, block=1).block_tax == 1
assert c.block_tax > 1.9 and c.intensity > 80

# %% [markdown]
# ## The same pairs, elsewhere
#
# **"A sixty-fourth of the pairs is a sixty-fourth of the work."** For a kernel that works in tiles, it depends on where they lie. Here
# are four patterns with about 64 keys a query, over 4,096 positions in tiles of 64. Tiles are what is computed; the solid part of a
# bar is what is needed.

# %%
patterns = {"blocks": sv.Chunked(64), "window": sv.SlidingWindow(32, 32)}
patterns |= {"every 64th": sv.Strided(64), "random": sv.RandomKeys(64)}
costs = {name: sv.cost(p, 4096) for name, p in patterns.items()}
sv.plots.cost_bars(costs, title="Equally many pairs, not equal work", size=7)
assert all(60 < c.keys_per_query < 66 for c in costs.values())
assert costs["blocks"].block_tax == 1 and costs["random"].block_tax == 64

# %% [markdown]
# A tile of 64 x 64 that is to be empty has to be missed by 64 queries at once. With 64 random keys each, the chance is
# (1 - 64/4096) to the power 4,096, about e⁻⁶⁴. So all 4,096 tiles are on the list, each nearly empty, and random attention computes as
# much as dense attention. That is why BigBird draws blocks and not keys (notebook 7).

# %%
sv.plots.layout(sv.Layout.of(sv.RandomKeys(4), 64, block=8), size=5)
full, partial, empty = sv.Layout.of(sv.RandomKeys(64), 4096, block=64).tally()
assert (full, partial, empty) == (0, 4096, 0)
assert sv.cost(sv.RandomBlocks(64, 1), 4096).block_tax == 1

# %% [markdown]
# ## Measured
#
# **"Sparse is always faster."** Four counter-examples, on this machine, two heads, dense attention on the same kernel in turn. First
# the good case: a window of 256 keys in blocks. The dashed line is what the count of tiles promises.

# %%
lengths = [256, 512, 1024, 2048, 4096]
near = sv.measure(sv.mistral(256), lengths, heads=2, name="window")
sv.plots.cost(near, quantity="seconds", title="It pays where the text is long", size=7)
assert near.rows[-1].speedup > 3

# %% [markdown]
# 1. **The text is short.** At 256 tokens a window of 256 keys is all of causal attention: nothing is left out but the upper half, and
# starting the threads costs the same. At twice the window little is gained; at sixteen times, much.

# %%
print(near)
shares = [row.cost.computed / row.dense_cost.computed for row in near.rows]
assert shares[0] > 0.6 and shares[-1] < 0.08
assert near.rows[0].speedup < near.rows[-1].speedup / 2

# %% [markdown]
# 2. **The pairs are scattered.** 32 random keys of 2,048 are 1.6 % of the pairs, and slower than all of them: every tile is computed, and
# every tile is masked besides.

# %%
apart = sv.measure(sv.RandomKeys(32), [2048], heads=2, name="random")
row = apart.rows[0]
print(f"density {row.cost.density:.1%}, every tile computed: {row.speedup:.2f}x")
assert row.cost.computed == row.dense_cost.computed
assert row.speedup < 1.2

# %% [markdown]
# 3. **The pattern is hardly sparse.** BigBird at its published size, over 1,024 tokens, has half of all pairs. It cannot be more than
# twice as fast.

# %%
half = sv.measure(sv.bigbird(), [1024], heads=2, name="BigBird").rows[0]
print(f"density {half.cost.density:.0%}: {half.speedup:.2f}x")
assert half.cost.density > 0.5 and half.speedup < 3.5

# %% [markdown]
# 4. **Attention is a small part.** If attention takes a share a of the whole time and becomes s times faster, the whole takes
# (1 - a) + a / s. With a = 1/4 and s = 10: 0.775, so 1.29 times faster; were it free, 1.33 times. Notebook 1 counts the share: at
# n = 6 · width attention and the matrices around it do equally much.

# %%
a, s = 1 / 4, 10
print(f"{1 / ((1 - a) + a / s):.2f} times faster, {1 / (1 - a):.2f} at most")
assert round(1 / ((1 - a) + a / s), 2) == 1.29

# %% [markdown]
# ## Bring them together
#
# Scattered pairs may be neighbours in another order. *Every 64th key* means that i and j leave the same remainder when divided by 64.
# Sort the tokens by this remainder, and those that attend each other stand side by side: chunks, all of full tiles. The Sparse
# Transformer's kernel does this (arXiv 1904.10509). In small: 24 positions, every fourth key.

# %%
order = np.arange(24).reshape(6, 4).T.ravel()
print(order)
before = sv.Strided(4).mask(24)
after = before[order][:, order]
assert (after == sv.Chunked(6).mask(24)).all()
sorted_by = {"Every 4th": sv.Strided(4), "Sorted": sv.Chunked(6)}
sv.plots.compare_grid(sorted_by, 24, size=8);

# %% [markdown]
# The output is the same, row by row, once it is put back in order. At 4,096 positions the list shrinks from 4,096 tiles to 64.

# %%
n, stride = 4096, 64
q, k, v = np.random.default_rng(0).standard_normal((3, n, 64), dtype=np.float32)
order = np.arange(n).reshape(n // stride, stride).T.ravel()
o = np.empty_like(v)
o[order] = sv.attention(q[order], k[order], v[order], sv.Chunked(n // stride))
assert np.abs(o - sv.attention(q, k, v, sv.Strided(stride))).max() < 1e-4
scattered, sorted_ = sv.cost(sv.Strided(stride), n), sv.cost(sv.Chunked(n // stride), n)
assert scattered.computed == 64 * sorted_.computed

# %% [markdown]
# ## Exercises
#
# **1.** Causal attention over 24 positions in tiles of 4: how many tiles are full, partial, empty?

# %% tags=["exercise"]
tiles = {"full": ..., "partial": ..., "empty": ...}

# %% [markdown] tags=["solution"]
# 6 tiles on the diagonal are partial, 1 + 2 + 3 + 4 + 5 = 15 below it full, and as many above it empty.

# %% tags=["solution"]
tiles = {"full": 15, "partial": 6, "empty": 15}

# %% tags=["check"]
counted = sv.Layout.of(sv.Causal(), 24, block=4).tally()
sv.check(tiles, dict(zip(("full", "partial", "empty"), counted, strict=True)))

# %% [markdown]
# **2.** The block tax of causal attention over n positions in tiles of B, where B divides n. Write it as a fraction of n and B.

# %% tags=["exercise"]
def causal_tax(n, block):
    ...

# %% [markdown] tags=["solution"]
# N = n / B blocks have N (N + 1) / 2 tiles of B² pairs; needed are n (n + 1) / 2. So the tax is n (n + B) / (n (n + 1)).

# %% tags=["solution"]
def causal_tax(n, block):
    return (n + block) / (n + 1)

# %% tags=["check"]
tax = lambda n, block: sv.cost(sv.Causal(), n, block=block).block_tax
sv.check(causal_tax, tax, at=[(24, 4), (64, 64), (4096, 64), (4096, 1)])

# %% [markdown]
# **3.** A pattern for kernels. Write one that allows, over 64 positions in tiles of 8, exactly the tiles that
# `sv.SlidingWindow(8, 8)` touches, but all of their pairs, so that its tax is 1.

# %% tags=["exercise"]
whole_tiles = ...

# %% [markdown] tags=["solution"]
# The first query of a block reaches 8 to the left, into the block before, and the last one 8 to the right: one block each way.

# %% tags=["solution"]
whole_tiles = sv.BlockWindow(8, left=1, right=1)

# %% tags=["check"]
touched = sv.Layout.of(sv.SlidingWindow(8, 8), 64, block=8)
mask = np.zeros((8, 8), bool)
mask[np.repeat(np.arange(8), np.diff(touched.indptr)), touched.indices] = True
sv.check(whole_tiles, sv.Chosen.from_blocks(mask, 8), at=64)

# %% [markdown]
# Next: what the pairs that were left out were worth.
