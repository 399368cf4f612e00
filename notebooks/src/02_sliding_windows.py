# %% [markdown]
# # 2. Sliding windows
#
# In a sliding window each query attends its nearest keys only, so the work grows with n and no longer with n². Here is what a window of
# W keys is, why the same W means five different things elsewhere, and how far a stack of windows sees: 1 + L (W - 1) keys after L
# layers.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## The window
#
# A window has two sides. Query i attends key j if **i - left ≤ j ≤ i + right**. The query itself is always in, and counted in neither
# side: far from the ends a query has left + 1 + right keys. With left = 3 and right = 0 query 7 attends the keys 4, 5, 6, 7.
#
# Over 12 tokens the first three queries have 1, 2 and 3 keys, because nothing stands before the text; the other nine have 4. Together
# 1 + 2 + 3 + 9 · 4 = 42.

# %%
window = sv.SlidingWindow(left=3, right=0)
sv.plots.mask(window, 12, title="A window that looks back", size=4)
assert set(np.flatnonzero(window.mask(12)[7])) == {4, 5, 6, 7}
assert sv.cost(window, 12).nnz == 1 + 2 + 3 + 9 * 4 == 42

# %% [markdown]
# A model that reads a finished text may look both ways. With left = right = 2 an inner query has 5 keys; at each end the window is cut
# off, not shifted: 2 + 1 keys are missing there. 12 · 5 - 2 · 3 = 54.

# %%
both = sv.SlidingWindow(left=2, right=2)
sv.plots.mask(both, 12, title="A window that looks both ways", size=4)
assert sv.cost(both, 12).nnz == 12 * 5 - 2 * (2 + 1) == 54

# %% [markdown]
# ## Twice the text, twice the work
#
# Mistral 7B (arXiv 2310.06825) gives every query W = 4,096 keys, itself included. W keys a query are n W pairs, minus the corner at the
# start: W - 1 keys are missing in the first row, W - 2 in the second, and so on, W (W - 1) / 2 altogether.

# %%
n, w = 32_768, 4096
pairs = sv.cost(sv.mistral(w), n).nnz
assert pairs == n * w - w * (w - 1) // 2
sv.plots.mask(sv.mistral(w), n, title="Mistral 7B over 32,768 tokens", size=6);

# %% [markdown]
# **"A window makes attention cheaper."** Only beyond W. Up to 4,096 tokens the window holds everything that a causal model sees, and
# the two cost the same to the last pair. From there on one line bends to a factor of 2 a doubling, and the other stays at 4.

# %%
lengths = [2**i for i in range(9, 21)]
curve = sv.cost_curve(sv.mistral(w), lengths, name="window", against=sv.Causal())
sv.plots.cost(curve, title="The gain begins where the text outgrows the window", size=6)
assert sv.cost(sv.mistral(w), 4096).nnz == sv.cost(sv.Causal(), 4096).nnz
assert abs(curve.rows[-1].nnz / curve.rows[-2].nnz - 2) < 0.01

# %% [markdown]
# ## "A window of W has W keys"
#
# In some libraries. The same number 4, given to the parameter that each of them calls the window:

# %%
names = ["mistral", "mistral-paper", "huggingface-two-sided", "longformer", "keras"]
keys = {}
for name in names:
    argument = {"longformer": "attention_window"}.get(name, "sliding_window")
    pattern = sv.dialects.DIALECTS[name].pattern(**{argument: 4})
    keys[name] = int(pattern.mask(32)[16].sum())
    print(f"{name:20} {keys[name]} keys  {pattern!r}")
assert list(keys.values()) == [4, 5, 9, 5, 7]

# %% [markdown]
# Mistral's paper says that a token attends the positions i - W to i, which are W + 1; its released code keeps W. In transformers 5 the
# causal mask has W keys and the two-sided one 2 W + 1. Longformer's W is both sides together, Keras' reaches W - 1 to each side. None
# of them is wrong, but a W says nothing without its rule.
#
# A difference of one key is one diagonal. Over 12 tokens with W = 4 it has 8 pairs:

# %%
paper, code = sv.SlidingWindow(4), sv.SlidingWindow(3)
difference = sv.diff(paper, code, 12, names=("paper", "code"))
sv.plots.diff(difference, size=4)
assert (difference.only_a, difference.only_b) == (8, 0)

# %% [markdown]
# `sv.dialects.explain(pattern)` writes a window in the words of every library that can say it. In this course a window is always
# `(left, right)`.
#
# ## Layers widen it
#
# One layer with 4 keys lets the last of 16 queries see 4 tokens. But the keys of the second layer are outputs of the first, and each of
# them has seen 4 tokens itself. The oldest of the four stands 3 back, and has seen 3 further back: 7 tokens. Then 10. A token's
# **receptive field** is what can have reached it.

# %%
field = sv.receptive_field(sv.SlidingWindow(3), 16, query=-1, layers=3)
sv.plots.receptive_field(field, name="A window of 4 keys", size=6)
assert field.sizes.tolist() == [4, 7, 10]

# %% [markdown]
# The same as a graph: layers from bottom to top, an arc from each key to each query that attends it. The marked path brings token 6 to
# token 15, three steps to the right at every layer.

# %%
sv.plots.graph(field, source=6, target=15, size=6)
assert field.path(15, 6) == [15, 12, 9, 6]
assert not field.seen()[5]

# %% [markdown]
# **"L layers of W keys see L · W tokens."** Nearly. Each layer adds W - 1 keys, because one of the W is the query itself, which has been
# counted: **1 + L (W - 1)**. The paper says 32 · 4,096 = 131,072 for Mistral's 32 layers. It is 1 + 32 · 4,095 = 131,041. Three layers
# of 4 keys see 10, not 12.

# %%
mistral = sv.receptive_field(sv.schedules.mistral(), 2**18, query=-1)
sv.plots.receptive_field(mistral, name="Mistral 7B", size=8)
assert mistral.sizes[-1] == 1 + 32 * 4095 == 131_041

# %% [markdown]
# ## "So it uses 131,041 tokens"
#
# A receptive field says what **can** arrive, not how much of it. Take the plainest heads: three layers of windows with 3 keys, each key
# with weight 1/3. The last query is reached by key 6 back on one path only, 2 + 2 + 2, with 1/27; by key 3 back on seven paths. The
# numbers of paths are 1, 3, 6, 7, 6, 3, 1, and 27 together.

# %%
allowed = sv.SlidingWindow(2).mask(24)
weights = allowed / allowed.sum(axis=1, keepdims=True)
three = np.linalg.matrix_power(weights, 3)
paths = np.rint(27 * three[-1, -7:]).astype(int)
print(paths)
assert paths.tolist() == [1, 3, 6, 7, 6, 3, 1] and paths.sum() == 27
sv.plots.attention(three, title="Three layers of uniform heads", size=5);

# %% [markdown]
# With 32 such layers the farthest key would weigh 3⁻³². Trained heads are not uniform, and each layer also passes its input on
# unchanged, but the field remains an upper bound. What lies outside has no influence at all:

# %%
assert np.all(three[-1, :-7] == 0)
print(f"3 to the power of -32 is {3.0**-32:.1g}")

# %% [markdown]
# ## What is kept of real heads
#
# The trained model of notebook 1 reads both ways, so it gets a window that does: 16 keys to each side, 33 of 512. How much of each
# head's weight falls inside? The picture shows layer 2, a line a head; dark is kept.

# %%
layer = sv.data.load("alice").layer(2)
kept = sv.compare(*layer, {"window": sv.SlidingWindow(16, 16)}, repeats=0)["window"]
sv.plots.mass_kept(kept, size=7)
near, elsewhere = kept.mass_by_head[8], kept.mass_by_head[9]
print(f"head 8 keeps {near:.1%}, head 9 {elsewhere:.1%}")
print(f"the window holds {kept.cost.density:.1%} of the pairs")
assert near > 0.7 and elsewhere < 1.25 * kept.cost.density

# %% [markdown]
# Head 8 reads its neighbourhood, and a window suits it. Head 9 looks for the same word elsewhere on the page: it keeps
# little more than the window's share of the pairs, as with any other 6 % of them. Does a wider window help?

# %%
widths = {f"{r}": sv.SlidingWindow(r, r) for r in (4, 16, 64, 128)}
table = sv.compare(*layer, widths, repeats=0)
for row in list(table)[1:]:
    print(f"{row.name:>4} to each side:", row.mass_by_head[[8, 9]].round(2))
assert table["64"].mass_by_head[9] < table["4"].mass_by_head[8]

# %% [markdown]
# Four keys to each side keep more of head 8 than 64 keep of head 9. No width suits both; notebook 10 takes that up.
#
# ## What a window saves while writing
#
# A model that writes keeps the keys and values of earlier tokens in memory. With a window, a key older than W - 1 steps is never asked
# for again: the cache holds W positions, and position p overwrites position p - W.

# %%
q, k, v = np.random.default_rng(0).standard_normal((3, 1, 20, 8), dtype=np.float32)
cache = sv.KVCache(sv.mistral(4), kv_heads=1, head_dim=8)
steps = [cache.attend(q[:, [i]], k[:, [i]], v[:, [i]]) for i in range(20)]
print(cache)
whole = sv.attention(q, k, v, sv.mistral(4))
assert np.allclose(np.concatenate(steps, axis=1), whole, atol=1e-5)

# %% [markdown]
# Mistral 7B has 8 key heads of 128 numbers, as many for values, 2 bytes each: 2 · 8 · 128 · 2 = 4,096 bytes a token and layer. Times
# 4,096 tokens and 32 layers that is half a GiB, however long the text. Without the window, 131,072 tokens take 32 times as much.

# %%
asked = {"heads": 32, "kv_heads": 8, "head_dim": 128, "dtype": "float16"}
model = sv.cost_schedule(sv.schedules.mistral(), 131_072, **asked)
gib, without = model.kv_bytes / 2**30, model.kv_bytes_dense / 2**30
print(f"{gib} GiB, and {without} without a window")
assert model.kv_bytes == 4096 * 4096 * 32
assert model.kv_bytes_dense == 32 * model.kv_bytes

# %% [markdown]
# ## Exercises
#
# **1.** The window has left = 2 and right = 1. Which of 12 keys does query 0 attend, and which does query 6?

# %% tags=["exercise"]
keys_of_0 = ...
keys_of_6 = ...

# %% [markdown] tags=["solution"]
# 6 - 2 = 4 is the first, 6 + 1 = 7 the last. Before 0 there is nothing: the window is cut, and no key takes the place of the missing.

# %% tags=["solution"]
keys_of_0 = {0, 1}
keys_of_6 = {4, 5, 6, 7}

# %% tags=["check"]
answers = {"query 0": keys_of_0, "query 6": keys_of_6}
rows = sv.SlidingWindow(2, 1).mask(12)
sv.check(answers, {f"query {i}": set(np.flatnonzero(rows[i])) for i in (0, 6)})

# %% [markdown]
# **2.** Make the mask of a causal window with exactly W keys, as an array of n × n booleans, from `np.tri` or `np.tril` and `np.triu`.
# Released libraries have been off by one just here.

# %% tags=["exercise"]
def window_mask(n, w):
    ...

# %% [markdown] tags=["solution"]
# `np.triu(x, -k)` keeps k diagonals below the main one, which is itself kept: W keys need k = W - 1.

# %% tags=["solution"]
def window_mask(n, w):
    return np.triu(np.tri(n, dtype=bool), -(w - 1))

# %% tags=["check"]
sv.check(window_mask, lambda n, w: sv.mistral(w).mask(n), at=[(12, 4), (12, 1), (5, 8)])

# %% [markdown]
# **3.** How many layers does it take at least until a query can have heard of a key that stands `distance` positions before it, if each
# layer has a causal window of w keys? Far from the start of the text, for w of 2 and more.

# %% tags=["exercise"]
def layers_needed(distance, w):
    ...

# %% [markdown] tags=["solution"]
# A layer takes at most W - 1 steps back, so it is distance / (W - 1), rounded up.

# %% tags=["solution"]
def layers_needed(distance, w):
    return -(-distance // (w - 1))

# %% tags=["check"]
field_of = lambda w: sv.receptive_field(sv.mistral(w), 200, query=199, layers=199)
hops = lambda distance, w: field_of(w).hops(199, 199 - distance)
sv.check(layers_needed, hops, at=[(1, 4), (3, 4), (4, 4), (10, 4), (0, 3), (199, 2)])

# %% [markdown]
# **4.** Another way to save: cut the text into chunks of C tokens; each query attends the keys before it in its own chunk, and itself.
# How many layers does the last of 16 queries need to see all 16 tokens, with C = 4? Answer with a number, or with `"never"`.

# %% tags=["exercise"]
layers_for_chunks = ...

# %% [markdown] tags=["solution"]
# The last query sees the four tokens of its chunk, all of which have seen only one another. No layer adds anything: chunks do not
# overlap, and it is the overlap that makes windows grow.

# %% tags=["solution"]
layers_for_chunks = "never"

# %% tags=["check"]
chunks = sv.receptive_field(sv.Causal() & sv.Chunked(4), 16, query=-1, layers=16)
sv.check(layers_for_chunks, "never" if chunks.unreachable else chunks.saturated_at)

# %% [markdown]
# Next: a few tokens that everybody attends, so that two layers are enough.
