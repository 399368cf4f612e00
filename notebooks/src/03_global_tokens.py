# %% [markdown]
# # 3. Global tokens
#
# A global token attends every token, and every token attends it. One of them beside a window, and two layers carry anything anywhere.
# Here is why it takes both halves, what one costs, why a causal mask takes one half away, and what does not fit through it.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## A row and a column
#
# Let G be a set of positions. Query i attends key j if **i is in G** (the row of a global token) **or j is in G** (its column). Over 12
# tokens with G = {0} that is a row of 12 and a column of 12, which share one pair: 12 + 12 - 1 = 23.

# %%
sv.plots.mask(sv.Global([0]), 12, title="Token 0 is global", size=4)
assert sv.cost(sv.Global([0]), 12).nnz == 12 + 12 - 1 == 23

# %% [markdown]
# The row **gathers**: the global token reads everything. The column **hands out**: everybody reads the global token. The two can be had
# apart.

# %%
parts = {
    "The row gathers": sv.Global([0], columns=False),
    "The column hands out": sv.Global([0], rows=False),
    "Both": sv.Global([0]),
}
sv.plots.compare_grid(parts, 12, size=9)
assert [sv.cost(p, 12).nnz for p in parts.values()] == [12, 12, 23]

# %% [markdown]
# ## Beside a window
#
# Other tokens would see nothing but token 0, so a window stands beside it. One key to each side is 3 keys a query, minus one at each
# end: 12 · 3 - 2 = 34 pairs. Three of them the global token has already: (0, 0), (0, 1) and (1, 0). Together 34 + 23 - 3 = 54.

# %%
near = sv.SlidingWindow(1, 1)
pattern = near | sv.Global([0])
sv.plots.mask(pattern, 12, title="A window and a global token", size=4)
assert sv.cost(pattern, 12).nnz == 34 + 23 - 3 == 54

# %% [markdown]
# ## Two layers reach everything
#
# Token 3 holds something that token 11 needs. In layer 1 the global token reads token 3, by its row. In layer 2 token 11 reads the
# global token, by its column. The window has no part in it.

# %%
field = sv.receptive_field(pattern, 12, layers=2)
sv.plots.graph(field, source=3, target=11, size=6)
assert field.path(11, 3) == [11, 0, 3]
assert field.diameter == 2

# %% [markdown]
# **"It is enough that everybody can read the global token."** It is not. With the column alone the global token still sees its
# neighbours only, so what it hands out is the beginning of the text. With the row alone it knows all and nobody asks it. Colours count
# the layers until a query has seen a key:

# %%
for name, part in parts.items():
    field = sv.receptive_field(near | part, 24, layers=4)
    sv.plots.hops(field, title=f"{name}: {field.hop_counts.sum()} of 576 pairs", size=4)
    print(name, "needs", field.saturated_at or "more than 4", "layers")
assert field.saturated_at == 2

# %% [markdown]
# At length: 65,536 tokens, a window of 256 to each side. The window adds 512 keys a layer, half of them on each side. With a
# single global token everything is seen after layer 2.

# %%
wide = sv.SlidingWindow(256, 256)
n, middle = 65_536, 32_768
alone = sv.receptive_field(wide, n, query=middle, layers=8)
helped = sv.receptive_field(wide | sv.Global([0]), n, query=middle, layers=8)
sv.plots.growth({"window": alone, "window + global": helped}, size=6)
assert alone.sizes.tolist() == [1 + 512 * layer for layer in range(1, 9)]
assert helped.sizes.tolist() == [514] + 7 * [n]

# %% [markdown]
# ## What one costs
#
# g global tokens have g rows and g columns of n, and share g² pairs: **2 g n - g²**. For g = 1 and n = 4,096 that is 8,191 pairs, half a
# thousandth of n². With the window it stays linear in n, as long as g does not grow with n.

# %%
counts = [sv.cost(sv.Global(range(g)), 4096).nnz for g in (1, 2, 64)]
assert counts == [2 * g * 4096 - g**2 for g in (1, 2, 64)]
print(counts)
print(f"{counts[0] / 4096**2:.3%} of all pairs")

# %% [markdown]
# **"A global token costs next to nothing."** In pairs. A fast kernel computes whole tiles, here 64 × 64 (notebook 9), and a row of
# pairs runs through a row of tiles. 1,024 tokens are 16 blocks, so one global token touches 16 + 16 - 1 = 31 tiles, of 4,096 pairs
# each: 126,976 computed for 2,047 needed.

# %%
one = sv.cost(sv.Global([0]), 1024)
assert one.nnz == 2047 and one.computed == 31 * 64**2 == 126_976
sv.plots.layout(sv.Layout.of(sv.Global([0]), 1024), size=5);

# %% [markdown]
# 64 leading global tokens need 64 times the pairs and the very same tiles. 64 of them strewn over the text, one a block, touch every
# tile there is. Where global tokens stand decides what they cost.

# %%
leading = sv.cost(sv.Global(range(64)), 4096)
strewn = sv.cost(sv.Global(range(0, 4096, 64)), 4096)
print(f"computed: {leading.computed:,} leading, {strewn.computed:,} strewn")
assert leading.nnz == strewn.nnz
assert leading.computed == sv.cost(sv.Global([0]), 4096).computed
assert strewn.computed == 4096**2

# %% [markdown]
# ## "It works in a model that writes, too"
#
# Under a causal mask half of it is lost. The row of token 0 shrinks to one pair: it stands before everything and sees only itself. It
# can be read, but has nothing to tell. A leading global token is then no more than a `Sink`, a key that everybody attends (StreamingLLM,
# arXiv 2309.17453):

# %%
back = sv.SlidingWindow(3)
causal = sv.Causal() & (back | sv.Global([0]))
sv.plots.mask(causal, 16, title="Under a causal mask a column is left", size=4)
assert not sv.diff(causal, back | sv.Sink(1), 16)

# %% [markdown]
# So the receptive field grows as if there were no global token, but for that one key: 1 + 1 + 3 L. A global token further on has seen
# what stands before *it*: it carries that much to all that come later, and nothing to those before.

# %%
middle = sv.Causal() & (back | sv.Global([16]))
sink = sv.receptive_field(causal, 32, query=-1, layers=4)
later = sv.receptive_field(middle, 32, query=-1, layers=4)
sv.plots.receptive_field(later, name="Global token 16", size=6)
assert sink.sizes.tolist() == [5, 8, 11, 14]
assert set(range(17)) <= set(np.flatnonzero(later.seen(2)))

# %% [markdown]
# ## "Everything reaches everything, so nothing is lost"
#
# What passes through a global token passes as **one vector**: the mean of all values, under the weights of one row. Whoever reads it gets
# the same mean and can only choose how much of it. Take uniform weights. Over two layers, the weights between tokens that are far apart
# are a column times a row, a matrix of rank 1. g global tokens allow rank g, dense attention any.

# %%
uniform = pattern.mask(48) / pattern.mask(48).sum(axis=1, keepdims=True)
two = uniform @ uniform
sv.plots.attention(two, title="Two layers: near in detail, far in sum", size=5)
far = two[28:47, 4:20]  # 19 inner queries, 16 keys, none within two windows
assert far.min() > 0 and np.linalg.matrix_rank(far) == 1

# %% [markdown]
# Here each far key arrives with 1/48, the weight in the row, times 1/4, the weight in the column, since an inner query has 3 + 1 keys: 1
# part in 192. And it is the same for all far queries.

# %%
assert np.allclose(far, 1 / 48 * 1 / 4)
several = near | sv.Global([0, 1, 2])
weights = several.mask(48) * np.random.default_rng(0).random((48, 48))
weights = weights / weights.sum(axis=1, keepdims=True)
assert np.linalg.matrix_rank((weights @ weights)[28:, 6:20]) == 3

# %% [markdown]
# More heads have more rows, more layers more turns, and weights that depend on the text choose what is summed. But the way through g
# tokens stays that narrow.
#
# ## What real heads give to the first token
#
# The first token of the capture is `[CLS]`, a mark that stands for the whole text. In layer 4 of the trained model many heads put much
# of their weight there, though nobody told them to. A window of 16 to each side, without and with token 0 global:

# %%
layer = sv.data.load("alice").layer(4)
window = sv.SlidingWindow(16, 16)
tried = {"window": window, "window + global": window | sv.Global([0])}
table = sv.compare(*layer, tried, repeats=0)
for row in list(table)[1:]:
    print(f"{row.name:16} {row.cost.density:.1%} of pairs, {row.mass_kept:.0%} kept")
assert table["window + global"].mass_kept > 1.7 * table["window"].mass_kept

# %%
sv.plots.mass_kept(table["window + global"], size=7)
gain = table["window + global"].mass_by_head - table["window"].mass_by_head
print("gained, head by head:", gain.round(2))
assert gain.argmax() == 10 and gain[10] > 0.4

# %% [markdown]
# 0.4 % more pairs, and nearly twice the weight. What these numbers do not show: that the weight matters. Head 10 leaves 0.45 of its weight
# on `[CLS]`, whose value is short, so little of it reaches the output: a place to put weight that has nowhere to go. Cutting it off hurts
# all the same, since softmax then spreads the weight over other keys.

# %%
q, k, v = (x[10] for x in layer)
length = np.linalg.norm(v, axis=1)
print(f"length of the values: [CLS] {length[0]:.2f}, median {np.median(length):.2f}")
head = sv.compare(q, k, v, tried, repeats=0)
errors = [head[name].relative_error for name in tried]
print("error of the head's output:", np.round(errors, 2))
assert length[0] < np.median(length) / 20 and errors[1] < errors[0] / 2

# %% [markdown]
# ## Exercises
#
# **1.** A window of 2 to each side and the global tokens 0 and 9. Which of 16 keys does query 6 attend, and how many does query 9?

# %% tags=["exercise"]
keys_of_6 = ...
count_of_9 = ...

# %% [markdown] tags=["solution"]
# Query 6 has its window, 4 to 8, and both columns. Query 9 is global itself: its row is full.

# %% tags=["solution"]
keys_of_6 = {0, 4, 5, 6, 7, 8, 9}
count_of_9 = 16

# %% tags=["check"]
rows = (sv.SlidingWindow(2, 2) | sv.Global([0, 9])).mask(16)
expected = {"keys of 6": set(np.flatnonzero(rows[6])), "count of 9": int(rows[9].sum())}
sv.check({"keys of 6": keys_of_6, "count of 9": count_of_9}, expected)

# %% [markdown]
# **2.** Write the rule of the same pattern: may this query attend this key?

# %% tags=["exercise"]
def allowed(query, key):
    ...

# %% tags=["solution"]
def allowed(query, key):
    return abs(query - key) <= 2 or query in (0, 9) or key in (0, 9)

# %% tags=["check"]
sv.check(allowed, sv.SlidingWindow(2, 2) | sv.Global([0, 9]), at=[10, 24])

# %% [markdown]
# **3.** How many pairs do g leading global tokens and a window of w to each side have over n tokens together? For w < n - g. A pair that
# both allow counts once. One way: all rows and columns of the global tokens, and then what the window has among the other n - g tokens.

# %% tags=["exercise"]
def pairs(n, w, g):
    ...

# %% [markdown] tags=["solution"]
# The other tokens stand side by side, so their window is that of a text of n - g tokens: (n - g) (2 w + 1) pairs, less w (w + 1) at the
# two ends.

# %% tags=["solution"]
def pairs(n, w, g):
    return 2 * g * n - g**2 + (n - g) * (2 * w + 1) - w * (w + 1)

# %% tags=["check"]
count = lambda n, w, g: sv.cost(sv.SlidingWindow(w, w) | sv.Global(range(g)), n).nnz
sv.check(pairs, count, at=[(12, 1, 1), (12, 0, 1), (100, 7, 3), (4096, 256, 16)])

# %% [markdown]
# **4.** A question stands at positions 0 to 2, its text at 3 to 7. Every token of the question shall attend everything, and everything
# shall attend the question; in the text each token attends 1 key to each side. But token 2 is the mark that ends the question: it
# gathers, and hands out to nobody but its neighbours. Write the pattern.

# %% tags=["exercise"]
question = ...

# %% tags=["solution"]
question = sv.SlidingWindow(1, 1) | sv.Global([0, 1]) | sv.Global([2], columns=False)

# %% tags=["check"]
sv.check(question, """
    ████████
    ████████
    ████████
    █████···
    ██·███··
    ██··███·
    ██···███
    ██····██
""")

# %% [markdown]
# Next: long steps without a meeting point.
