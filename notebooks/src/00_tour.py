# %% [markdown]
# # 0. A tour in five minutes
#
# Who may attend whom, what it costs, how far it sees, what it drops: four questions about any attention pattern, and a live view that
# answers them. Run the cells in order and play.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## A pattern is a value
#
# Each token asks as a **query** and answers as a **key**. A pattern says which pairs are allowed. Here every query attends the four tokens
# before it, itself, and token 0: a row is a query, a column is a key, and a filled cell is a pair.
#
# Row 9 holds the keys 5 to 9 and key 0. Every row from the sixth on has 6 of them, the first five have 1 to 5:
# 1 + 2 + 3 + 4 + 5 + 11 · 6 = 81 of 16 · 16 = 256 pairs.

# %%
pattern = sv.Causal() & (sv.SlidingWindow(4) | sv.Global([0]))
sv.plots.mask(pattern, 16, title="A window and a global token", size=4)
assert set(np.flatnonzero(pattern.mask(16)[9])) == {0, 5, 6, 7, 8, 9}
assert sv.cost(pattern, 16).nnz == 1 + 2 + 3 + 4 + 5 + 11 * 6 == 81

# %% [markdown]
# ## The explorer
#
# The same pattern, live. Choose another one on the left, move its sliders, join it with a second one by `|`, `&` and `~`. Point at a pair
# to read which part allows it; the arrow keys do that too. Zoom with + and −.

# %%
explorer = sv.explore(pattern, 64, layers=3)
explorer

# %% [markdown]
# What you see is the state of a Python value, and the other way round: run the next cell and look up. `explorer.code` is the line that
# makes whatever you have clicked together.

# %%
explorer.pattern = sv.longformer(8, [0])
print(explorer.code)
assert eval(explorer.code) == explorer.pattern == sv.longformer(8, [0])

# %% [markdown]
# ## What it costs
#
# Choose *Cost* above, and drag the length. Twice the text is four times the pairs if everybody attends everybody, and twice the pairs
# through a window. Exact counts, at any length:

# %%
lengths = [2**i for i in range(9, 17)]
curve = sv.cost_curve(sv.longformer(512, [0]), lengths, name="Longformer")
sv.plots.cost(curve, title="n² beside n", size=6)
dense = [sv.cost(sv.Dense(), n).nnz for n in (1024, 2048)]
assert dense[1] == 4 * dense[0] == 4 * 1024**2
assert curve.rows[-1].nnz < 2.01 * curve.rows[-2].nnz

# %% [markdown]
# ## How far it sees
#
# Choose *Receptive field*, click a query, and play the layers. With a window of 4 to the left a query hears of 5 tokens after one layer,
# 9 after two, 13 after three: every layer adds 4. Four more layers, and 29 tokens are in reach.

# %%
field = sv.receptive_field(sv.SlidingWindow(4), 32, query=-1, layers=7)
sv.plots.receptive_field(field, name="A window of 5 keys", size=6)
assert field.sizes.tolist() == [5, 9, 13, 17, 21, 25, 29]

# %% [markdown]
# ## What it drops
#
# *Real attention* shows heads of a trained model that reads a page of *Alice in Wonderland*. A pattern keeps a part of what they look at. A
# window of 16 keys to each side has 6 % of the pairs, and how much of a head's weight falls on them is the head's own affair.

# %%
layer = sv.data.load("alice").layer(2)
kept = sv.compare(*layer, {"window": sv.SlidingWindow(16, 16)}, repeats=0)["window"]
sv.plots.mass_kept(kept, size=7)
print(f"best head {kept.mass_by_head.max():.0%}, worst {kept.mass_by_head.min():.0%}")
assert kept.cost.density < 0.07
assert kept.mass_by_head.max() > 3 * kept.mass_by_head.min()

# %% [markdown]
# ## And then it runs
#
# The pattern that was drawn is the pattern that is computed. The kernel skips what is not allowed and agrees with the golden reference,
# which is dense, in float64, and short enough to read.

# %%
q, k, v = np.random.default_rng(0).standard_normal((3, 4, 512, 64), dtype=np.float32)
fast = sv.attention(q, k, v, explorer.pattern)
exact = sv.attention(q, k, v, explorer.pattern, impl="reference")
assert np.abs(fast - exact).max() < 1e-5

# %% [markdown]
# To keep a view or to hand it out, `explorer.export_html("page.html")` writes one file that needs neither Python nor a network.
#
# Next: why anybody would leave out pairs, the quadratic problem.
