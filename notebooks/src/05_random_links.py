# %% [markdown]
# # 5. Random links and small worlds
#
# Let every query attend a few keys drawn by lot. Beside a window these links make the way between any two tokens as short as the
# logarithm of the text. Here is why, what a lot leaves out, and what random keys cost a machine that works in tiles.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## Drawn by lot
#
# `RandomKeys(r)` gives each query r distinct keys out of n, all equally likely. So there are exactly **r n** pairs, here 2 · 16 = 32. A
# query need not draw itself. The draw hangs on a seed: the same seed, the same pairs, on every machine.

# %%
links = sv.RandomKeys(2, seed=1)
sv.plots.mask(links, 16, title="Two keys a query, drawn by lot", size=4)
assert sv.cost(links, 16).nnz == 2 * 16
assert np.array_equal(links.mask(16), sv.RandomKeys(2, seed=1).mask(16))
assert sv.diff(links, sv.RandomKeys(2, seed=2), 16)

# %% [markdown]
# ## Each layer multiplies
#
# A window **adds** the same number of keys in each layer: neighbours of neighbours are mostly old acquaintances. Keys drawn by lot have
# drawn others, and those are new as long as little has been seen: r keys, r² keys of theirs, r³ of theirs. With r = 2 a query has seen at
# most 1 + 2 = 3, 1 + 2 + 4 = 7, 15, 31, and 2^(L + 1) - 1 keys after L layers.

# %%
n, layers = 4096, 24
window = sv.receptive_field(sv.SlidingWindow(1, 1), n, query=2048, layers=layers)
random = sv.receptive_field(links, n, query=2048, layers=layers)
sv.plots.growth({"window": window, "random": random}, log=True, size=6)
print(random.sizes[:8])
assert window.sizes.tolist() == [1 + 2 * layer for layer in range(1, layers + 1)]
assert all(random.sizes <= 2 ** np.arange(2, layers + 2) - 1)
assert random.sizes[7] > 20 * window.sizes[7]

# %% [markdown]
# To fill n places by doubling takes about log n / log 2 layers, 12 for 4,096. It takes some more, since toward the end most links lead to
# what has been seen. But the curve bends off before n, and stays there. Why?
#
# ## "Random links connect everything"
#
# They do not. A key is read only by who draws it. One query misses it with probability 1 - r/n, and all n queries with (1 - r/n)^n, nearly
# **e^-r**: for r = 2 that is 13.5 %. Of 4,096 tokens about 554 have no reader at all, and no number of layers gives them one.

# %%
readers = links.mask(n).sum(axis=0)
unread = (readers == 0).mean()
print(f"{unread:.1%} of the keys have no reader; e^-2 is {np.exp(-2):.1%}")
assert abs(unread - np.exp(-2)) < 0.02

# %% [markdown]
# And who is read only by tokens that cannot be reached is out of reach too. If a share x of all tokens arrives in the end, a token is among
# them unless all of that share miss it: x = 1 - e^(-2x), which has the solution 0.797.

# %%
x = 0.5
for _ in range(50):
    x = 1 - np.exp(-2 * x)
arrived = random.sizes[-1] / n
print(f"{arrived:.1%} of the tokens arrive; reckoned {x:.1%}")
assert random.closed and abs(arrived - x) < 0.03

# %% [markdown]
# A window closes this hole: every token is read by its neighbours, who have drawn links of their own.
#
# ## A small world
#
# One key to each side and **one** link by lot. The window alone needs 1,023 layers from one end of 1,024 tokens to the other. With
# one pair more a query, everybody is a few steps from everybody.

# %%
small = sv.SlidingWindow(1, 1) | sv.RandomKeys(1, seed=1)
sv.plots.mask(small, 24, title="Neighbours, and one link by lot", size=4)
assert sv.cost(small, 1024).keys_per_query < 4

# %%
field = sv.receptive_field(small, 48, layers=8)
sv.plots.hops(field, title="48 tokens: the lot cuts across", size=5)
sv.plots.graph(sv.receptive_field(small, 48, layers=5), source=47, target=1, size=7)
alone = sv.receptive_field(sv.SlidingWindow(1, 1), 1024, query=0, layers=1023)
assert alone.diameter == 1023

# %%
field = sv.receptive_field(small, 1024, layers=20)
sv.plots.hop_counts(field, title="1,024 tokens, a million pairs", size=6)
mean = (np.arange(21) * field.hop_counts).sum() / 1024**2
print(f"the farthest pair is {field.diameter} layers apart, the mean {mean:.1f}")
assert field.diameter < 20 and mean < 8

# %% [markdown]
# Watts and Strogatz found this in 1998 (Nature 393, 440): in a ring where each knows only its neighbours, a few ties across shorten the
# ways to nearly what they are in a random graph, while neighbourhoods stay whole.
#
# How does the distance grow? Four times the text, and a few layers more: it follows the logarithm.

# %%
farthest = {}
for length in (64, 256, 1024, 4096):
    farthest[length] = sv.receptive_field(small, length, layers=24).diameter
    print(f"{length:5} tokens: {farthest[length]:2} layers; window alone: {length - 1}")
steps = np.diff(list(farthest.values()))
assert steps.max() <= 5

# %% [markdown]
# This is the argument for the random part of BigBird (arXiv 2007.14062, notebook 7). It holds with high probability for large n, not for
# every draw. And it is not the only way: one global token brings any two tokens within two layers (notebook 3), without a lot.
#
# ## A draw for each layer
#
# With one draw for all layers, whoever was passed over in the first is passed over again. Independent draws leave
# e^-r in the first layer, and of these e^-r in the second: with r = 2 that is 13.5 %, then 1.8 %. Count the tokens that have no reader in
# either layer:

# %%
same, fresh = links.mask(n), sv.RandomKeys(2, seed=2).mask(n)
once = 1 - same.any(axis=0).mean()
twice = 1 - (same | fresh).any(axis=0).mean()
print(f"without a reader: {once:.1%} with one draw, {twice:.1%} with two")
assert abs(once - np.exp(-2)) < 0.02 and abs(twice - np.exp(-4)) < 0.01

# %% [markdown]
# So give each layer, and each head, a seed of its own. `sv.lint` reminds whoever forgets, and finds the keys without a reader:

# %%
report = sv.lint(sv.RandomKeys(2), 512)
assert any("seed" in finding.sentence for finding in report)
report

# %% [markdown]
# ## Under a causal mask
#
# **"Draw first, then cut off the future."** Then query i keeps a link with probability (i + 1)/n: the first queries lose almost all of
# theirs, the last almost none, and half are gone. With r = 2 both are lost with probability (1 - x)² at x = i/n, whose mean over the text
# is 1/3. A third of the queries have no key, and their output is 0.

# %%
cut = sv.RandomKeys(2, seed=1) & sv.Causal()
sv.plots.mask(cut, 24, title="Half of the links are gone", size=4)
keys = cut.mask(n).sum(axis=1)
left, empty = keys.sum() / (2 * n), (keys == 0).mean()
print(f"{left:.1%} of the links are left, {empty:.1%} of the rows are empty")
assert abs(left - 1 / 2) < 0.03 and abs(empty - 1 / 3) < 0.03

# %% [markdown]
# ## What a lot costs
#
# 3 keys a query of 1,024 are 0.3 % of the pairs. A kernel that works in tiles of 64 × 64 sees it otherwise. There are 16 · 16 = 256 tiles
# and 3,072 pairs, 12 a tile on average: not one tile is empty, and all are computed. **Random blocks** draw whole tiles: each block of
# 64 queries attends 3 blocks of 64 keys, 16 · 3 = 48 tiles.

# %%
scattered = sv.cost(sv.RandomKeys(3, seed=1), 1024)
blocks = sv.cost(sv.RandomBlocks(64, 3, seed=1), 1024)
sv.plots.layout(sv.Layout.of(sv.RandomKeys(3, seed=1), 1024), size=5)
sv.plots.layout(sv.Layout.of(sv.RandomBlocks(64, 3, seed=1), 1024), size=5)
print(f"computed: {scattered.computed:,} for keys, {blocks.computed:,} for blocks")
assert scattered.computed == 1024**2
assert blocks.nnz == blocks.computed == 48 * 64**2

# %% [markdown]
# The blocks have 64 times the pairs and less than a fifth of the work. But there are only 48 draws now in place of 3,072, and all 64
# queries of a block get the same ones.
#
# ## What they keep of real attention
#
# **"Random keys are a sample of what matters."** A lot does not know the text. It keeps, of every head, about its share of the pairs. 33
# keys by lot and 33 neighbours, in layer 2 of the trained model:

# %%
layer = sv.data.load("alice").layer(2)
tried = {"near": sv.SlidingWindow(16, 16), "by lot": sv.RandomKeys(33, seed=1)}
table = sv.compare(*layer, tried, repeats=0)
for name in tried:
    print(f"{name:7} {table[name].mass_kept:.0%}:", table[name].mass_by_head.round(2))
share = table["by lot"].cost.density
assert np.allclose(table["by lot"].mass_by_head, share, atol=0.02)
assert table["near"].mass_kept > 6 * table["by lot"].mass_kept

# %% [markdown]
# All twelve heads keep 6 to 8 % with 6.4 % of the pairs, whatever they look for. Links by lot are roads, not finds: they shorten ways
# across layers, and what travels on them is up to the rest.
#
# ## Exercises
#
# **1.** What share of the keys has no reader if each query draws 4 keys of many? Reckon it as above; three digits are enough.

# %% tags=["exercise"]
share_unread = ...

# %% [markdown] tags=["solution"]
# (1 - 4/n)^n is nearly e^-4, 1.8 %. The check counts readers in a draw of 2 · 4,096 queries, so it allows for chance.

# %% tags=["solution"]
share_unread = np.exp(-4)

# %% tags=["check"]
draws = [sv.RandomKeys(4, seed=seed).mask(4096).any(axis=0) for seed in range(2)]
sv.check(share_unread, 1 - np.mean(draws), tolerance=0.25)

# %% [markdown]
# **2.** Two draws of 2 keys each, one with seed 5 for the first layer and one with seed 6 for the second, each with a window of 1 to each
# side. Write the two patterns.

# %% tags=["exercise"]
first_layer = ...
second_layer = ...

# %% tags=["solution"]
first_layer = sv.SlidingWindow(1, 1) | sv.RandomKeys(2, seed=5)
second_layer = sv.SlidingWindow(1, 1) | sv.RandomKeys(2, seed=6)

# %% tags=["check"]
near = sv.SlidingWindow(1, 1)
expected = {f"layer {s - 4}": near | sv.RandomKeys(2, seed=s) for s in (5, 6)}
sv.check({"layer 1": first_layer, "layer 2": second_layer}, expected)

# %% [markdown]
# **3.** `allowed` is a mask, n × n booleans: row i says which keys query i attends. Return how many layers query 0 needs to see
# everything; every query keeps what it has seen. Every token can be reached.

# %% tags=["exercise"]
def layers_needed(allowed):
    ...

# %% [markdown] tags=["solution"]
# What a query has seen after one more layer is the union of what those whom it attends had seen before: read from the query down, the
# keys of all that it has reached so far.

# %% tags=["solution"]
def layers_needed(allowed):
    seen, count = np.arange(len(allowed)) == 0, 0
    while not seen.all():
        seen = seen | allowed[seen].any(axis=0)
        count += 1
    return count

# %% tags=["check"]
near = sv.SlidingWindow(1, 1)
worlds = [near, sv.Dense(), near | sv.RandomKeys(1, seed=1), near | sv.RandomKeys(2)]
field_of = lambda m: sv.receptive_field(sv.Chosen.from_mask(m), 64, 0, layers=63)
needed = lambda m: field_of(m).diameter
sv.check(layers_needed, needed, at=[(world.mask(64),) for world in worlds])

# %% [markdown]
# Next: the first published model that puts such parts together.
