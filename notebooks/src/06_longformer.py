# %% [markdown]
# # 6. Longformer
#
# Longformer (arXiv 2004.05150) is a window and a few global tokens. What makes it more than a mask: a global token asks with projections
# of its own. Here is which query uses which of the two sets, why it is one softmax and not two, and what its numbers mean in the two
# published codes.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## The pattern
#
# Query i attends key j if **|i - j| ≤ W/2**, or **i or j is global**. W counts both sides together, without the query. With W = 4 over 16
# tokens and token 0 global: its row and column are 2 · 16 - 1 = 31 pairs, and the other 15 tokens have a window of 5, less 3 at each end,
# 15 · 5 - 6 = 69. Together 100.

# %%
pattern = sv.longformer(window=4, global_tokens=[0])
print(repr(pattern))
sv.plots.mask(pattern, 16, title="Longformer over 16 tokens", size=4)
assert sv.cost(pattern, 16).nnz == 31 + 69 == 100

# %% [markdown]
# At the size of the released base model: 4,096 tokens, W = 512, one global token. An eighth of the pairs.

# %%
base = sv.longformer(window=512, global_tokens=[0])
sv.plots.mask(base, 4096, title="Longformer base", size=6)
cost = sv.cost(base, 4096)
assert cost.nnz == 2 * 4096 - 1 + 4095 * 513 - 256 * 257
assert 8 < 1 / cost.density < 8.5

# %% [markdown]
# **"Both codes call it attention_window, so it is the same."** The authors' code counts one side, and 256 is the base model's number. The
# one in transformers counts both sides, and it is 512. Given the same number, one model sees twice as far as the other.

# %%
transformers = sv.dialects.DIALECTS["longformer"]
authors = sv.dialects.DIALECTS["longformer-allenai"]
print("transformers, 512:", repr(transformers.pattern(attention_window=512)))
print("authors, 256:     ", repr(authors.pattern(attention_window=256)))
print("authors, 512:     ", repr(authors.pattern(attention_window=512)))
same = transformers.pattern(attention_window=512)
assert same == authors.pattern(attention_window=256)
assert authors.pattern(attention_window=512) == sv.SlidingWindow(512, 512)

# %% [markdown]
# ## Two sets of projections
#
# A layer makes queries, keys and values from its input by three matrices: q, k, v. Longformer has three more, which make q_global, k_global
# and v_global. Which are used is decided **by the query alone**:
#
# * a query that is **not global** uses q, k and v for all its keys, the global ones among them;
# * a **global** query uses q_global, k_global and v_global for all keys, global or not.
#
# So the pairs fall into two kinds. On the left those of the first set, on the right those of the second:

# %%
row = sv.Global([0], columns=False)
sets = {"q, k, v": pattern & ~row, "q_global, k_global, v_global": pattern & row}
sv.plots.compare_grid(sets, 16, columns=2, size=7)
counts = [sv.cost(p, 16).nnz for p in sets.values()]
assert counts == [84, 16] and sum(counts) == 100

# %% [markdown]
# Make it small enough to reckon. 5 tokens, W = 2, token 0 global. All queries are 0, so all weights in a row are equal and an output is
# the plain mean of the values. The values are 1 to 5 from the first set, and 10 to 50 from the second.
#
# Query 3 is not global: its window holds tokens 2, 3, 4, and token 0 is global. (1 + 3 + 4 + 5) / 4 = 3.25. Query 0 is global: (10 + 20 +
# 30 + 40 + 50) / 5 = 30.

# %%
zero = np.zeros((5, 1), np.float32)
v = np.array([[1], [2], [3], [4], [5]], np.float32)
maps = (zero, zero, v, zero, zero, 10 * v)
output = sv.longformer_attention(*maps, window=2, global_tokens=[0])[:, 0]
print(output)
assert np.allclose(output, [30, 2, (1 + 2 + 3 + 4) / 4, 3.25, (1 + 4 + 5) / 3])

# %% [markdown]
# **"The global key is made by k_global, wherever it is read."** The name suggests it. But row 3 read token 0 as 1, from v, and not as 10.
# Put other numbers into k_global and v_global, and see which outputs move: only the global token's own.

# %%
layer = sv.data.load("alice").layer(2)
asked = {"window": 32, "global_tokens": [0]}
before = sv.longformer_attention(*layer, *layer, **asked)
q_global, k_global, v_global = sv.data.load("alice").layer(4)
after = sv.longformer_attention(*layer, layer[0], k_global, v_global, **asked)
moved = np.flatnonzero(np.abs(after - before).max(axis=(0, 2)) > 1e-4)
print("queries whose output moved:", moved)
assert moved.tolist() == [0]

# %% [markdown]
# This also says when the second set makes no difference at all. Training starts with copies of the first, and with equal sets the layer
# is attention over a mask:

# %%
masked = sv.attention(*layer, sv.longformer(32, [0]))
assert np.allclose(before, masked, atol=1e-5)

# %% [markdown]
# DeepSpeed's `BSLongformerSparsityConfig` and the global mask of attention-gym are the mask alone. With trained weights, in which the sets
# differ, a mask gives every global token a wrong row.
#
# ## One softmax
#
# **"Attention over the window plus attention over the global tokens, averaged."** No: the scores of the window and those of the global
# columns stand in one row and share one softmax. In the small example the window's mean is (3 + 4 + 5) / 3 = 4 and the global one's 1.
# Averaged they make 2.5; in one softmax each of the four keys weighs a quarter, 3.25. To join two parts rightly each must bring the
# logarithm of its sum:

# %%
others, first = np.array([[4.0]]), np.array([[1.0]])  # means of 3 keys, and of 1
joined, _ = sv.merge((others, np.log([3.0])), (first, np.log([1.0])))
print(joined.item(), "and not", (4 + 1) / 2)
assert np.isclose(joined.item(), output[3]) and np.isclose(joined.item(), 3.25)

# %% [markdown]
# And a key that is both near and global counts **once**. Query 1 has token 0 in its window and in the global column. Once: (1 + 2 + 3) / 3
# = 2. Twice it would be (1 + 1 + 2 + 3) / 4 = 1.75; the code takes the global columns out of the window to avoid that.

# %%
assert np.isclose(output[1], 2)
assert sv.longformer(2, [0]).mask(5)[1].sum() == 3

# %% [markdown]
# ## What a layer sees, and what a stack
#
# Through a global token everything is two layers away (notebook 3). Without one, W keys a layer: 1 + L W. For the 12 layers of the base
# model 1 + 12 · 512 = 6,145. That is a query with text on both sides; the first of 4,096 tokens looks one way only, 1 + 12 · 256 = 3,073,
# and never hears of the end.

# %%
plain = sv.longformer(512, [])
bands = sv.receptive_field(plain, 16_384, query=8192, layers=12)
globals_too = sv.receptive_field(base, 16_384, query=8192, layers=12)
sv.plots.growth({"window": bands, "window + global": globals_too}, size=6)
assert bands.sizes[-1] == 1 + 12 * 512 == 6145
assert sv.receptive_field(plain, 4096, query=0, layers=12).sizes[-1] == 1 + 12 * 256
assert globals_too.saturated_at == 2

# %% [markdown]
# The paper's model for single characters has no global tokens. It lets windows grow with depth instead, 32 at the bottom, 512 at the top:
# details first, the wide view later. And it dilates two heads of the upper layers. Here with an eighth of the widths and a dilation of 2 in
# two layers; where heads differ, the picture has them together.

# %%
stack = sv.schedules.longformer(windows=(4, 8, 16, 32, 64), dilations=(1, 1, 1, 2, 2))
sv.plots.layers_grid(stack, 192, columns=3, size=9)
field = sv.receptive_field(stack, 512, query=256)
print(field.sizes)
assert field.gridding == 1  # six heads of each layer have no gaps
assert field.sizes[-1] == 1 + 4 + 8 + 16 + 2 * 32 + 2 * 64

# %% [markdown]
# The released checkpoints for text have no dilation: that form existed only as a special kernel.
#
# ## On real heads
#
# A window of 16 to each side, and global tokens at the start, `[CLS]`, or at both ends, `[CLS]` and `[SEP]`. The model is not Longformer;
# it was trained dense. This shows what a mask drops, not what a model trained with it would do.

# %%
alice = sv.data.load("alice")
ends = {"window": [], "first": [0], "first and last": [0, -1]}
tried = {name: sv.longformer(32, tokens) for name, tokens in ends.items()}
for number in (0, 2, 4):
    table = sv.compare(*alice.layer(number), tried, repeats=0)
    kept = {row.name: f"{row.mass_kept:.0%}" for row in list(table)[1:]}
    print(f"layer {number}: {kept}")
assert table["first"].mass_kept > 1.7 * table["window"].mass_kept
assert table["first and last"].mass_kept < table["first"].mass_kept + 0.01

# %% [markdown]
# One global token helps much in layer 4, hardly in layer 0; a second one adds nothing here. Which tokens to make global is no property of
# the pattern. Longformer leaves it to the task: `[CLS]` to classify a text, all tokens of the question to answer one.
#
# ## Exercises
#
# **1.** W = 4, global tokens 0 and 7, 12 tokens. Which keys does query 5 attend? From which set come the keys and values it uses for token
# 7? Answer `"local"` or `"global"`.

# %% tags=["exercise"]
keys_of_5 = ...
set_for_7 = ...

# %% [markdown] tags=["solution"]
# The window is 3 to 7, and 0 is global. Query 5 is not, so it uses the first set for every key.

# %% tags=["solution"]
keys_of_5 = {0, 3, 4, 5, 6, 7}
set_for_7 = "local"

# %% tags=["check"]
one, two = np.zeros((2, 12, 1), np.float32), np.ones((12, 1), np.float32)
told = sv.longformer_attention(*one, 0 * two, *one, two, window=4, global_tokens=[0, 7])
keys = set(np.flatnonzero(sv.longformer(4, [0, 7]).mask(12)[5]))
expected = {"keys": keys, "set": "global" if told[5, 0] > 0 else "local"}
sv.check({"keys": keys_of_5, "set": set_for_7}, expected)

# %% [markdown]
# **2.** A configuration for transformers says `attention_window=64`. Write it as a `SlidingWindow`, and the number that the authors' code
# needs for the same window.

# %% tags=["exercise"]
as_window = ...
authors_number = ...

# %% [markdown] tags=["solution"]
# 64 are both sides together, 32 each; the authors' code counts one side.

# %% tags=["solution"]
as_window = sv.SlidingWindow(32, 32)
authors_number = 32

# %% tags=["check"]
theirs = transformers.pattern(attention_window=64)
expected = {"window": theirs, "number": authors.arguments(theirs)["attention_window"]}
sv.check({"window": as_window, "number": authors_number}, expected)

# %% [markdown]
# **3.** 4,096 tokens, W = 512, and 2 leading global tokens. How many pairs are computed with the second set of projections, and how many
# with the first? No pair counts twice.

# %% tags=["exercise"]
second_set = ...
first_set = ...

# %% [markdown] tags=["solution"]
# The two rows, all of them: 2 · 4,096. The other 4,094 queries read both columns, and their windows are those of a text of 4,094 tokens:
# 513 each, less 256 · 257 at the two ends.

# %% tags=["solution"]
second_set = 2 * 4096
first_set = 4094 * 2 + 4094 * 513 - 256 * 257

# %% tags=["check"]
whole, rows = sv.longformer(512, [0, 1]), sv.Global([0, 1], columns=False)
counted = {"second": sv.cost(rows, 4096), "first": sv.cost(whole & ~rows, 4096)}
expected = {name: cost.nnz for name, cost in counted.items()}
sv.check({"second": second_set, "first": first_set}, expected)

# %% [markdown]
# **4.** Write the layer for one head, from `sv.attention(q, k, v, pattern)`. All six arrays have the shape (n, d); `tokens` lists the
# global tokens, and may be empty.

# %% tags=["exercise"]
def two_sets(q, k, v, q_global, k_global, v_global, window, tokens):
    ...

# %% [markdown] tags=["solution"]
# Compute both, and choose by the query. The published code does the same: it computes the global rows a second time, over all keys, and
# writes them over the first result.

# %% tags=["solution"]
def two_sets(q, k, v, q_global, k_global, v_global, window, tokens):
    output = sv.attention(q, k, v, sv.longformer(window, tokens))
    output[tokens] = sv.attention(q_global, k_global, v_global)[tokens]
    return output

# %% tags=["check"]
x = np.random.default_rng(0).standard_normal((6, 24, 8), dtype=np.float32)
cases = [(*x, 4, [0]), (*x, 2, [5, 23]), (*x, 8, [])]
published = lambda *a: sv.longformer_attention(*a[:6], window=a[6], global_tokens=a[7])
sv.check(two_sets, published, at=cases, tolerance=1e-4)

# %% [markdown]
# Next: a third ingredient, and a theorem.
