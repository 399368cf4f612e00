# %% [markdown]
# # 10. What is lost
#
# A pattern drops pairs, and the output changes. Here is how much of a trained model's attention a pattern keeps, why that is not yet
# the error, what happens to a single far fact, and how models mix local and full layers to keep both price and sight.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## Mass
#
# Four keys have the scores ln 4, ln 2, ln 1, ln 1, so the weights are 4/8, 2/8, 1/8, 1/8. The values are 8, 4, 16, 0. Dense attention
# gives 4 + 1 + 2 + 0 = 7. A pattern that keeps keys 0 and 3 keeps the **mass** 4/8 + 1/8 = 5/8. What is left is divided by its own sum:
# 4/5 and 1/5, and the output is 32/5 + 0 = 6.4.
#
# The dropped keys alone would give (2 · 4 + 1 · 16) / 3 = 8, and the dense output is the mean of both under their masses:
# 5/8 · 6.4 + 3/8 · 8 = 4 + 3 = 7. So the error is 6.4 - 7 = 3/8 · (6.4 - 8): the mass dropped, times how much the two parts differ.

# %%
weights = np.array([[4, 2, 1, 1]]) / 8
keeps = sv.Chosen.from_mask(np.array([[True, False, False, True]]))
sv.plots.attention(weights, pattern=keeps, offset=0, title="Kept: 5/8", size=4)
assert weights[keeps.mask(1, 4, 0)].sum() == 5 / 8

# %%
q, k = np.ones((1, 1)), np.log([[4.0], [2.0], [1.0], [1.0]])
v = np.array([[8.0], [4.0], [16.0], [0.0]])
dense = sv.attention(q, k, v, scale=1.0, return_lse=True)
kept = sv.attention(q, k, v, keeps, scale=1.0, offset=0, return_lse=True)
dropped = sv.attention(q, k, v, ~keeps, scale=1.0, offset=0, return_lse=True)
assert np.allclose([dense[0], kept[0], dropped[0]], np.reshape([7, 6.4, 8], (3, 1, 1)))

# %% [markdown]
# Nothing n x n is needed for the mass: it is the sum of the kept exponentials over the sum of all, exp(lse kept - lse dense). And
# joining both parts by their lse (notebook 8) gives the dense output back.

# %%
assert np.isclose(np.exp(kept[1] - dense[1]), 5 / 8)
assert np.allclose(sv.merge(kept, dropped)[0], dense[0])

# %% [markdown]
# ## On a real model
#
# Layer 2 of a trained model on a page of *Alice*: 12 heads, 512 tokens. `compare` runs dense attention and each pattern on the same
# queries, keys and values. In the picture up is mass kept, to the right is work; small dots are single heads.

# %%
alice = sv.data.load("alice")
asked = {"window": sv.SlidingWindow(32, 32), "Longformer": sv.longformer(64, (0, -1))}
asked |= {"BigBird": sv.bigbird(block=16, random_blocks=2), "random": sv.RandomKeys(65)}
result = sv.compare(*alice.layer(2), asked, block=16, repeats=0)
sv.plots.compare(result, size=7)
print(result)
assert result["random"].mass_kept < 0.15 < 0.5 < result["window"].mass_kept

# %% [markdown]
# The window and 65 random keys need equally many pairs. The window keeps half of the attention, the random keys no more than their
# share: trained heads do not look just anywhere. But they do not look at the same places either. Head by head, query by query:

# %%
sv.plots.mass_kept(result["window"], title="What the window keeps", size=7)
heads = result["window"].mass_by_head
assert heads[8] > 0.7 and heads[9] < 0.2

# %% [markdown]
# Heads 0, 1, 3, 8, 10 and 11 keep three quarters; head 9, which looks for the same word elsewhere, an eighth. An average over heads
# hides that, so a pattern for each head is worth more than one for all (`sv.PerHead`). What is shown is one layer of one small model
# on one text.
#
# ## Mass is not error
#
# **"The more mass a pattern keeps, the smaller its error."** The error is the dropped mass times a difference, and the difference may
# be small. Head 7 of layer 0 spreads over more than 400 keys. For such a head 65 random keys are a fair sample, and 65 neighbours are
# not: the sample keeps less and is nearer.

# %%
seventh = [x[7] for x in alice.layer(0)]
spread = sv.compare(*seventh, {x: asked[x] for x in ("window", "random")}, repeats=0)
print(spread)
near, sample = spread["window"], spread["random"]
assert sample.mass_kept < near.mass_kept
assert sample.relative_error < 0.8 * near.relative_error

# %% [markdown]
# **"A key whose value is next to nothing can be dropped."** Head 10 of layer 4 leaves 45 % of its weight on the first token, `[CLS]`,
# whose value is a thirtieth as long as the others. It is a **sink**: weight put where it does nothing. Drop it, and that weight is
# spread over the others, which become 1 / 0.55 times as loud. One key a query, kept in addition to the window, mends most of it.

# %%
tenth = [x[10] for x in alice.layer(4)]
loud = {"all but [CLS]": ~sv.Sink(1), "window": asked["window"]}
loud["window + sink"] = asked["window"] | sv.Sink(1)
sinks = sv.compare(*tenth, loud, repeats=0)
print(sinks)
assert sinks["all but [CLS]"].relative_error > 0.7
assert sinks["window + sink"].relative_error < sinks["window"].relative_error / 2

# %% [markdown]
# ## A needle
#
# A **needle** is one key that matters, far away in a text that does not. Let all scores be 0 but the needle's, ln(99 · 511): among 512
# keys it has the weight 99 · 511 / (99 · 511 + 511) = 99 %. Sixteen needles at sixteen depths make sixteen heads here; every query looks
# for each.

# %%
n, depths = 512, 16 + 32 * np.arange(16)
q, k, v = np.ones((16, n, 1)), np.zeros((16, n, 1)), np.zeros((16, n, 1))
k[np.arange(16), depths], v[np.arange(16), depths] = np.log(99 * 511), 1
assert np.allclose(sv.attention(q, k, v, scale=1.0), 0.99)
needles = sv.compare(q, k, v, asked, scale=1.0, block=16, repeats=0)
sv.plots.mass_kept(needles["window"], title="A window finds near needles", size=7);

# %% [markdown]
# All or nothing: a query finds the needle if the pair is allowed, and otherwise answers 0, however loud the needle is. The share
# found is the share of allowed pairs in the columns of the needles. Global tokens and random blocks find a few more, by luck, not by
# looking. (The last needle stands in BigBird's last block, which is global: all find it.)

# %%
sv.plots.mass_kept(needles["BigBird"], title="BigBird finds some far ones", size=7)
for name, pattern in asked.items():
    answers = sv.attention(q, k, v, pattern, scale=1.0)[..., 0]
    found = pattern.mask(n)[:, depths].T
    print(f"{name}: {found.mean():.0%} of the needles found")
    assert (answers[found] > 0.98).all() and (answers[~found] == 0).all()

# %% [markdown]
# ## Reaching is not arriving
#
# **"Nine layers of a window of 8 reach all 64 tokens, so nothing is lost."** The first half is right: 1 + 9 · 7 = 64. But a receptive
# field says that there *is* a path. Let every query weigh its keys equally. From token 63 to token 0 in nine steps there is one path
# only, 7 back each time, and each step weighs 1/8. So token 0 has the weight 8⁻⁹ in the output of token 63, seven billionths; in one
# dense layer it has 1/64.

# %%
mask = sv.mistral(8).mask(64)
mean = mask / mask.sum(axis=1, keepdims=True)
arrives = np.linalg.matrix_power(mean, 9)[63, 0]
print(f"{arrives:.1e} through nine windows, {1 / 64:.1e} through one dense layer")
assert sv.receptive_field([sv.mistral(8)] * 9, 64, query=-1).sizes[-1] == 64
assert np.isclose(arrives, 8.0**-9)

# %% [markdown]
# Trained weights are not equal, and can carry a fact step by step. But every layer has to pass it on, before anyone knows that it
# will be asked for.
#
# ## Mixed schedules
#
# So models keep some layers full. Gemma 3 (arXiv 2503.19786) has five layers with a window, then a full one, and so on. In small: a
# window of 4 over 24 tokens, 12 layers.

# %%
small = sv.schedules.gemma3(n_layers=12, window=4)
sv.plots.layers_grid(small, 24, together=True, size=8)
assert [p == sv.Causal() for p in small] == 2 * (5 * [False] + [True])

# %% [markdown]
# With a window of 8, the last of 64 queries has seen 1 + 5 · 7 = 36 keys after five layers, and all 64 after the sixth, which looks
# everywhere directly: there, a needle is one step away.

# %%
small = sv.schedules.gemma3(n_layers=12, window=8)
field = sv.receptive_field(small, 64, query=-1)
sv.plots.receptive_field(field, name="Five windows, one full", size=7)
assert field.sizes[:6].tolist() == [8, 15, 22, 29, 36, 64]

# %% [markdown]
# The price: a model that writes has to keep the keys and values it may still attend. Of 48 layers, 40 keep a window of 1,024 and 8
# keep all. At 131,072 tokens a window is 1/128 of the text, so the cache is 1/6 + 5/6 · 1/128 = 17.3 % of that of full layers. The
# full layers are nearly all of it, and of the work.

# %%
gemma = sv.schedules.gemma3(n_layers=48, window=1024)
price = sv.cost_schedule(gemma, 131_072, heads=8)
print(f"cache: {price.kv_bytes / price.kv_bytes_dense:.1%} of all full layers")
assert np.isclose(price.kv_bytes / price.kv_bytes_dense, 1 / 6 + 5 / 6 / 128)
rows = zip(price.rows, gemma, strict=True)
full = sum(row.flops for row, p in rows if p == sv.Causal())
assert full > 0.9 * sum(row.flops for row in price.rows)

# %% [markdown]
# ## Exercises
#
# **1.** Three keys have the scores ln 5, ln 3, ln 2 and the values 2, 6, 1. A pattern drops the first. What mass is kept, and what is
# the output?

# %% tags=["exercise"]
answer = {"mass": ..., "output": ...}

# %% [markdown] tags=["solution"]
# The sum is 10, kept is 5: the mass is 1/2. The output is (3 · 6 + 2 · 1) / 5 = 4.

# %% tags=["solution"]
answer = {"mass": 0.5, "output": 4.0}

# %% tags=["check"]
three, values = np.log([[5.0], [3.0], [2.0]]), np.array([[2.0], [6.0], [1.0]])
rest = (np.ones((1, 1)), three[1:], values[1:])
o, lse = sv.attention(*rest, scale=1.0, return_lse=True)
sv.check(answer, {"mass": np.exp(lse[0]) / np.exp(three).sum(), "output": o[0, 0]})

# %% [markdown]
# **2.** Given the dense output, the output of the kept keys, both (n, d), and the mass kept, (n,): what would the dropped keys alone
# have given?

# %% tags=["exercise"]
def of_the_dropped(dense, kept, mass):
    ...

# %% [markdown] tags=["solution"]
# dense = mass · kept + (1 - mass) · dropped, solved for the last.

# %% tags=["solution"]
def of_the_dropped(dense, kept, mass):
    mass = mass[:, None]
    return (dense - mass * kept) / (1 - mass)

# %% tags=["check"]
x, window = [x[8].astype(float) for x in alice.layer(2)], asked["window"]
(od, ld), (ok, lk) = (sv.attention(*x, p, return_lse=True) for p in (None, window))
expected = lambda dense, kept, mass: sv.attention(*x, ~window)
sv.check(of_the_dropped, expected, at=[(od, ok, np.exp(lk - ld))])

# %% [markdown]
# **3.** StreamingLLM with 4 sinks and a window of 6 keys, the query included. At which positions does query 40 find a needle?

# %% tags=["exercise"]
positions = ...

# %% [markdown] tags=["solution"]
# The first four, and six that end with the query: 35 to 40.

# %% tags=["solution"]
positions = {0, 1, 2, 3, 35, 36, 37, 38, 39, 40}

# %% tags=["check"]
sv.check(positions, set(np.flatnonzero(sv.streaming_llm(4, 6).mask(41)[40])))

# %% [markdown]
# **4.** A model has `layers` layers, and every `every`-th is full; the others have a window. How many keys do all layers together keep
# for one head when the text is n tokens long? A window longer than the text keeps the text. `layers` is a multiple of `every`.

# %% tags=["exercise"]
def keys_kept(n, window, layers, every):
    ...

# %% tags=["solution"]
def keys_kept(n, window, layers, every):
    full = layers // every
    return full * n + (layers - full) * min(window, n)

# %% tags=["check"]
stack = lambda w, layers, m: ([sv.mistral(w)] * (m - 1) + [sv.Causal()]) * (layers // m)
rows = lambda n, w, layers, m: sv.cost_schedule(stack(w, layers, m), n).rows
kept_by_all = lambda *asked: sum(row.kv_keys for row in rows(*asked))
at = [(8192, 1024, 12, 6), (100, 128, 4, 2), (64, 8, 3, 1)]
sv.check(keys_kept, kept_by_all, at=at)

# %% [markdown]
# Next: a pattern of your own.
