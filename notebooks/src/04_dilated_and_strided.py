# %% [markdown]
# # 4. Dilated and strided patterns
#
# A query can reach farther with the same number of keys if it leaves gaps. Here is what gaps cost: positions that no number of layers
# will ever see. And here is how the Sparse Transformer avoids that, with n √n pairs in place of n².

# %%
from math import isqrt

import numpy as np

import sparsevis as sv

# %% [markdown]
# ## A window with gaps
#
# In a **dilated** window each key stands d positions from the next: query i attends **j = i + t d** for t from -left to right. With two
# slots on each side and d = 3, query 8 attends 2, 5, 8, 11, 14. Five keys, as a plain window of 2 has, but 13 positions from end to end.
#
# Over 17 tokens 17 · 5 = 85 pairs would fit. The first slot to the left is missing for 3 queries, the second for 6; the same on the
# right. 85 - 2 · (3 + 6) = 67.

# %%
dilated = sv.Dilated(2, 2, dilation=3)
sv.plots.mask(dilated, 17, title="Five keys, 13 positions", size=4)
assert set(np.flatnonzero(dilated.mask(17)[8])) == {2, 5, 8, 11, 14}
assert sv.cost(dilated, 17).nnz == 17 * 5 - 2 * (3 + 6) == 67

# %% [markdown]
# Longformer counts slots, as above. The mask in attention-gym counts positions: |i - j| ≤ W and |i - j| a multiple of d. The same
# pattern is left = right = 2 in the one and W = 6 in the other; who takes that 6 for slots gets a reach three times too long.

# %%
assert sv.Dilated.by_reach(6, 6, dilation=3) == dilated
assert sv.Dilated(6, 6, dilation=3).mask(64)[32].sum() == 13

# %% [markdown]
# ## "Dilation widens the receptive field"
#
# Longformer's paper (arXiv 2004.05150) puts it at layers times dilation times window: three layers of this one, 3 · 3 · 4 = 36
# positions. That is how far it **spans**. But every step is a multiple of 3, and sums of multiples of 3 are multiples of 3.

# %%
field = sv.receptive_field(dilated, 48, query=24, layers=3)
sv.plots.receptive_field(field, name="Dilation 3", size=7)
seen = np.flatnonzero(field.seen())
assert seen.max() - seen.min() == 36 and len(seen) == 1 + 3 * 4
assert set(seen % 3) == {0} and field.gridding == 3

# %% [markdown]
# Seen are 13 keys, not 36. This is **gridding**: query 24 never hears of a position that leaves another remainder modulo 3, whatever the
# number of layers. The text falls apart into three texts that know nothing of one another.

# %%
deep = sv.receptive_field(dilated, 24, layers=5)
sv.plots.hops(deep, title="Two thirds of the pairs are never seen", size=4)
print("query 0 never sees the remainders", deep.missed_residues(query=0))
assert deep.closed  # more such layers add nothing
assert deep.unreachable.sum() == 24 * 16

# %% [markdown]
# ## Filling the gaps
#
# One layer, or one head, without gaps is enough, **if its window is as wide as the gap**. Dilation 5 jumps by multiples of 5; a window of
# 1 to each side widens each of the 7 landing places to 3 positions, and leaves 2 of every 5 unseen. A window of 2 makes it 5, and
# leaves none: 7 · 5 = 35 positions without a hole.

# %%
jumps, fields = sv.Dilated(3, 3, dilation=5), {}
for w in (1, 2):
    fields[w] = sv.receptive_field([sv.SlidingWindow(w, w), jumps], 41, query=20)
    sv.plots.receptive_field(fields[w], name=f"Window {w}, then dilation 5", size=7)
assert fields[1].sizes[-1] == 7 * 3
assert fields[2].sizes[-1] == 7 * 5 and fields[2].seen()[20 - 17 : 20 + 18].all()

# %% [markdown]
# Taken further: dilations 1, 2, 4, 8 with one key back. Each layer doubles what has been seen, as every number below 16 is a sum of
# some of 1, 2, 4, 8, in exactly one way. Windows of two keys would need 15 layers for what takes 4 here.

# %%
doubling = [sv.Dilated(1, dilation=2**layer) for layer in range(4)]
field = sv.receptive_field(doubling, 24, query=-1)
sv.plots.graph(field, source=10, target=23, size=7)
assert field.sizes.tolist() == [2, 4, 8, 16]
assert sv.receptive_field(sv.SlidingWindow(1), 24, -1, layers=15).sizes[-1] == 16

# %% [markdown]
# The price: only one path leads from each key to the query. In a stack of windows there are many (notebook 2).
#
# ## Every s-th key
#
# The Sparse Transformer (arXiv 1904.10509) drops the end of the dilated window: query i attends **all** earlier keys with **(i - j) a
# multiple of s**. That is one head. The other is a window of s keys. Over 16 tokens with s = 4 the window has 1 + 2 + 3 + 13 · 4 = 58
# pairs, and the strided head 4 · (1 + 2 + 3 + 4) = 40.

# %%
heads = sv.sparse_transformer_strided(4)
sv.plots.heads_grid(heads, 16, columns=2, size=7)
assert [sv.cost(head, 16).nnz for head in heads.patterns] == [58, 40]

# %% [markdown]
# Why this suits images: write a picture of 8 × 8 pixels line by line, and take s = 8. The key 8 back is the pixel above. Pixel (5, 3),
# number 43, attends the 8 pixels before it, itself included, and those straight above.

# %%
picture = sv.sparse_transformer_strided(8, merged=True).mask(64)[5 * 8 + 3]
print(picture.reshape(8, 8).astype(int))
assert picture.reshape(8, 8)[:6, 3].all()

# %% [markdown]
# ## Two steps to anywhere
#
# Any distance is a multiple of s and a rest below s. One layer takes the rest with the window, another the multiple with the stride. To
# get from token 63 to token 22 with s = 8: 41 = 5 · 8 + 1, so one step of 1 and one of 40.

# %%
merged = sv.sparse_transformer_strided(8, merged=True)
field = sv.receptive_field(merged, 64, layers=2)
sv.plots.hops(field, title="Everything before is two layers away", size=5)
assert field.diameter == 2
assert field.hops(63, 22) == 2

# %% [markdown]
# **"A window of about s will do."** It takes s keys to the last one. With s - 1 the rest s - 1 cannot be taken in one step, and a line
# of holes stays after two layers. The published forms are both wide enough: the paper's window reaches from i - s to i and has s + 1
# keys, the code's has s.

# %%
short = sv.SlidingWindow(6) | (sv.Strided(8) & sv.Causal())
holes = sv.receptive_field(short, 64, layers=2)
sv.plots.hops(holes, title="One key less: holes", size=5)
row = np.flatnonzero(~holes.seen(query=63))
print("query 63 does not see", row)
assert set((63 - row) % 8) == {7}

# %% [markdown]
# ## n √n
#
# Query i has s keys in its window and i / s on the stride, n / (2 s) on average. Over 4,096 tokens: with s = 32 that is 32 + 64, with s =
# 64 it is 64 + 32, the same 96. Smaller and larger strides have more. The best is √(n/2) = 45; √n, which the paper speaks of, has 6 %
# more.

# %%
count = lambda s, n: sv.cost(sv.sparse_transformer_strided(s, merged=True), n).nnz
for s in (8, 16, 32, 45, 64, 128, 256):
    print(f"stride {s:3}: {count(s, 4096) / 4096:5.1f} keys a query")
assert abs(count(32, 4096) / count(64, 4096) - 1) < 0.01
assert count(45, 4096) < count(64, 4096) < 1.1 * count(45, 4096)

# %% [markdown]
# **"One key in s is linear."** Only if s grows. A stride of 16 keeps a sixteenth of the pairs at any length, and a sixteenth of n² is
# still quadratic: four times the text, sixteen times the pairs. With s = √n it is 4 · √4 = 8 times.

# %%
lengths = [4**i for i in range(4, 11)]
rooted = lambda n: sv.sparse_transformer_strided(isqrt(n), merged=True)
curves = {
    "stride √n": sv.cost_curve(rooted, lengths, against=sv.Causal()),
    "stride 16": sv.cost_curve(rooted(256), lengths, against=sv.Causal()),
}
sv.plots.cost(curves, title="A fixed stride runs beside dense attention", size=6)
growth = [c.rows[-1].nnz / c.rows[-2].nnz for c in curves.values()]
assert abs(growth[0] - 8) < 0.1 and abs(growth[1] - 16) < 0.1

# %% [markdown]
# **"So it is that much faster."** Not on tiles. With s = 64 the strided head has a diagonal of single pairs in every tile of 64 × 64 below
# the main one: few pairs, and not one tile skipped. The published kernel sorts the tokens by their remainder first. Then the 64 tokens
# of one remainder stand side by side, and the head is 64 chunks of 64: 64 tiles.

# %%
strided = sv.Causal() & sv.Strided(64)
sv.plots.layout(sv.Layout.of(strided, 1024), size=5)
here, causal = sv.cost(strided, 4096), sv.cost(sv.Causal(), 4096)
in_order = sv.cost(sv.Causal() & sv.Chunked(64), 4096)
print(f"pairs: {here.nnz:,}")
print(f"computed: {here.computed:,}, and {in_order.computed:,} if sorted")
assert here.computed == causal.computed and causal.nnz > 60 * here.nnz
assert in_order.nnz == here.nnz and in_order.computed == 64 * 64**2

# %% [markdown]
# ## Fixed positions
#
# In a text "8 back" means nothing in particular. The paper's second form has groups of s tokens: a query attends its own group, and the
# last c tokens of every group, which can sum it up for all later ones. The steps of a path are columns here, not diagonals. With s = 4
# and c = 1 over 16 tokens: four triangles of 10, and below them 3 + 2 + 1 columns of 4.

# %%
fixed = sv.sparse_transformer_fixed(4, 1, merged=True)
sv.plots.mask(fixed, 16, title="Groups of 4, the last speaks for all", size=4)
assert sv.cost(fixed, 16).nnz == 4 * 10 + (3 + 2 + 1) * 4 == 64
assert sv.receptive_field(fixed, 16, layers=2).diameter == 2

# %% [markdown]
# ## The same number of keys, near or far
#
# 33 keys a query on real heads: in one piece, or with gaps of 2 and of 4. All twelve heads of layer 2 of the trained model:

# %%
layer = sv.data.load("alice").layer(2)
gaps = {f"dilation {d}": sv.Dilated(16, 16, dilation=d) for d in (1, 2, 4)}
table = sv.compare(*layer, gaps, repeats=0)
print({row.name: f"{row.mass_kept:.0%}" for row in list(table)[1:]})
near, far = (table[f"dilation {d}"].mass_by_head for d in (1, 4))
print("head by head, near less far:", (near - far).round(2))
assert np.flatnonzero(near <= far).tolist() == [9]

# %% [markdown]
# Eleven heads have more of their weight on 32 neighbours than on every fourth of 128. The twelfth, head 9, looks for the same word
# wherever it stands, and has little on either. These heads were trained dense and read prose; a model trained with gaps may learn to use
# them. Longformer's paper mixes: it dilates two heads, and the others stay whole.
#
# ## Exercises
#
# **1.** Two slots to the left, none to the right, dilation 4: which of 24 keys does query 9 attend, and which query 5?

# %% tags=["exercise"]
keys_of_9 = ...
keys_of_5 = ...

# %% [markdown] tags=["solution"]
# 9, 9 - 4 and 9 - 8. For query 5 the second slot would be at -3: it is missing, and nothing takes its place.

# %% tags=["solution"]
keys_of_9 = {1, 5, 9}
keys_of_5 = {1, 5}

# %% tags=["check"]
rows = sv.Dilated(2, dilation=4).mask(24)
expected = {f"query {i}": set(np.flatnonzero(rows[i])) for i in (9, 5)}
sv.check({"query 9": keys_of_9, "query 5": keys_of_5}, expected)

# %% [markdown]
# **2.** All layers have the dilation d and w slots to each side. Of n keys, how many can query i see at most, with as many layers as you
# like?

# %% tags=["exercise"]
def ever_seen(n, d, i):
    ...

# %% [markdown] tags=["solution"]
# Those with the same remainder: i itself, i // d of them before it and (n - 1 - i) // d after it.

# %% tags=["solution"]
def ever_seen(n, d, i):
    return 1 + i // d + (n - 1 - i) // d

# %% tags=["check"]
many = lambda n, d, i: sv.receptive_field(sv.Dilated(2, 2, d), n, i, layers=n)
cases = [(24, 3, 0), (24, 3, 10), (25, 3, 24), (7, 1, 3), (9, 8, 4)]
sv.check(ever_seen, lambda n, d, i: many(n, d, i).sizes[-1], at=cases)

# %% [markdown]
# **3.** Write the Sparse Transformer's strided pattern, both heads together, as a rule, with s = 6.

# %% tags=["exercise"]
def strided_rule(query, key):
    ...

# %% tags=["solution"]
def strided_rule(query, key):
    back = query - key
    return back >= 0 and (back < 6 or back % 6 == 0)

# %% tags=["check"]
sv.check(strided_rule, sv.sparse_transformer_strided(6, merged=True), at=[5, 30])

# %% [markdown]
# **4.** A stack has three layers. The second is `sv.Dilated(1, 1, dilation=3)`, and every layer has one slot to each side. Choose the other
# two so that query 13 has seen 27 keys in the end, all that there are; the smaller dilation first.

# %% tags=["exercise"]
first_dilation = ...
third_dilation = ...

# %% [markdown] tags=["solution"]
# Steps of -1, 0, 1 times 1, 3 and 9 make every number from -13 to 13 exactly once. The order of the layers does not
# matter, since steps add up the same way.

# %% tags=["solution"]
first_dilation = 1
third_dilation = 9

# %% tags=["check"]
of = lambda a, c: [sv.Dilated(1, 1, dilation=d) for d in (a, 3, c)]
all_seen = lambda a, c: sv.receptive_field(of(a, c), 27, 13).sizes[-1] == 27
found = [(a, c) for a in range(1, 14) for c in range(a, 14) if all_seen(a, c)]
sv.check([first_dilation, third_dilation], found[0])

# %% [markdown]
# Next: no rule at all, and why that reaches far.
