# %% [markdown]
# # 11. Build your own pattern
#
# A pattern is one rule: may query i attend key j? First rules are made by joining others, then one is written down from nothing, for
# images. Everything else, from the picture to the GPU code, is read off the rule.

# %%
from dataclasses import dataclass

import numpy as np

import sparsevis as sv

# %% [markdown]
# ## Joining
#
# Four operators make patterns of patterns: `|` allows what either allows, `&` what both allow, `~` what the other does not, and
# `a - b` what a allows and b does not.
#
# Take a causal window of 3 keys, and the first key for everyone. Over 12 positions the window has 1 + 2 + 10 · 3 = 33 pairs; queries
# 3 to 11 gain key 0, 9 more: 42.

# %%
mine = sv.Causal() & (sv.SlidingWindow(2) | sv.Sink(1))
sv.plots.mask(mine, 12, title="A window, and the first key", size=4)
assert mine.mask(12).sum() == 33 + 9
assert not sv.diff(mine, sv.streaming_llm(1, 3), 12)

# %% [markdown]
# **"Causal() & window | global is causal."** `&` binds tighter than `|`, as `·` binds tighter than `+`. The parentheses are missing, and
# the global query sees the future. `lint` looks for what is likely not meant.

# %%
slip = sv.Causal() & sv.SlidingWindow(2) | sv.Global([0])
print(sv.lint(slip, 12, block=4, tax=3))
sv.plots.mask(slip, 12, title="Row 0 sees the future", size=4)
assert slip.mask(12)[0].sum() == 12
assert not sv.lint(mine, 12, block=4, tax=3)

# %% [markdown]
# ## Writing a rule
#
# An image of 6 x 6 pieces is a text of 36 tokens, row after row: piece (r, c) is token 6 r + c, so r = i // 6 and c = i % 6. Its
# neighbours are those at most one row and at most one column away. No window says that: token 5, at the end of the first row, and
# token 6, at the start of the second, stand side by side in the text and far apart in the image.
#
# A pattern is a frozen dataclass with one method. `q` and `k` are positions, `n` is the number of keys. Instead of `and` and `or`
# stand `&` and `|`, with comparisons in parentheses.

# %% tags=["definition"]
@dataclass(frozen=True, repr=False)
class Neighbours(sv.Pattern):
    width: int
    radius: int = 1
    ingredient = "window"  # its colour

    def allows(self, q, k, n):
        down = abs(q // self.width - k // self.width)
        across = abs(q % self.width - k % self.width)
        return (down <= self.radius) & (across <= self.radius)

# %% [markdown]
# In one direction 6 places have 6 · 3 - 2 = 16 pairs of neighbours, so in two directions there are 16² = 256.

# %%
image = Neighbours(6)
sv.plots.mask(image, 36, title="Neighbours in an image of 6 x 6", size=5)
assert image.mask(36).sum() == (6 * 3 - 2) ** 2 == 256
assert not image.mask(36)[5, 6] and image.mask(36)[5, 11]

# %% [markdown]
# The row of one query, folded back into the image, is the square around it: token 14, in row 2 and column 2.

# %%
print(image.mask(36)[14].reshape(6, 6).astype(int))
assert set(np.flatnonzero(image.mask(36)[14])) == {7, 8, 9, 13, 14, 15, 19, 20, 21}

# %% [markdown]
# ## Reading it
#
# The method is called with arrays, and gives the mask; with intervals of positions, and says of whole tiles whether they are empty or
# full; with symbols, and gives its formula. Nobody wrote any of these down.

# %%
print(image.formula())
print(sv.Layout.of(Neighbours(64, 3), 64 * 64))
pairs = sv.cost(Neighbours(256, 3), 256 * 256).nnz
print(f"{pairs:,} pairs in an image of 256 x 256")
assert pairs == (256 * 7 - 2 * (1 + 2 + 3)) ** 2

# %%
field = sv.receptive_field(image, 36, query=14, layers=3)
print(field.sizes)
whole = sv.receptive_field(image, 36, layers=5)
sv.plots.hops(whole, title="Five steps cross 6 x 6", size=5)
assert field.sizes.tolist() == [3 * 3, 5 * 5, 6 * 6]
assert whole.diameter == 5

# %% [markdown]
# Every kernel runs it, every export writes it. Here is the function that PyTorch's FlexAttention takes:

# %%
q, k, v = np.random.default_rng(0).standard_normal((3, 4, 36, 16))
o = sv.attention(q, k, v, image)
assert np.abs(o - sv.attention(q, k, v, image, impl="reference")).max() < 1e-12
source = sv.dialects.flex_mask_mod(image, 36).source
print(source.split("def check")[0].strip())
assert sv.from_dict(image.to_dict()) == image

# %% [markdown]
# ## What a rule may not do
#
# A chain of comparisons, `0 <= x <= 2`, and the words `and`, `or`, `not` ask Python for one true or false, and a rule is asked for many
# pairs at once. They fail loudly.

# %% tags=["definition"]
@dataclass(frozen=True, repr=False)
class Chained(sv.Pattern):
    reach: int

    def allows(self, q, k, n):
        return 0 <= q - k <= self.reach

# %%
complaints = []
for attempt in (lambda: Chained(2).mask(8), lambda: sv.Causal() and sv.Sink(1)):
    try:
        attempt()
    except (TypeError, ValueError) as error:
        complaints.append(str(error))
print(*complaints, sep="\n")
assert len(complaints) == 2 and "&" in complaints[1]

# %% [markdown]
# ## Is it right?
#
# A picture that looks right proves little. Three tests find most mistakes:
#
# 1. **A mask by other means**: here by the coordinates themselves, with NumPy, at a size that is not square.
# 2. **Limits**: a radius of 0 is the token alone; a radius as large as the image is everything.
# 3. **The edges**: nothing may wrap around the end of a row, nor past the last token.

# %%
row, column = np.divmod(np.arange(5 * 8), 8)
near = lambda x: abs(x[:, None] - x) <= 2
assert (Neighbours(8, 2).mask(40) == near(row) & near(column)).all()
assert (Neighbours(8, 0).mask(40) == np.eye(40)).all()
assert Neighbours(8, 7).mask(40).all()

# %% [markdown]
# And is it cheap? The neighbours above and below lie a whole row away, so in tiles of 64 a kernel computes nine pairs for one it needs.
# `lint` says so.

# %%
wide = Neighbours(64, 3)
print(sv.lint(wide, 64 * 64))
assert sv.cost(wide, 64 * 64).block_tax > 9

# %% [markdown]
# ## Rules from data
#
# A rule need not be a formula. `Chosen` takes a table: for each query the 65 keys with the largest scores, in head 9 of layer 2 on
# *Alice*, the head that looks for the same word elsewhere.

# %%
q, k, v = (x[9] for x in sv.data.load("alice").layer(2))
top = np.argsort(-(q @ k.T), axis=1)[:, :65]
asked = {"window": sv.SlidingWindow(32, 32), "top 65": sv.Chosen.from_indices(top)}
result = sv.compare(q, k, v, asked, block=16, repeats=0)
print(result)
assert result["top 65"].mass_kept > 4 * result["window"].mass_kept

# %% [markdown]
# Equally many pairs, and five times the attention. But these keys were found by computing all scores: the table shows what a pattern
# *could* keep, not how to know it beforehand. And its tax is 8: its pairs lie anywhere (notebook 9).
#
# ## Exercises
#
# **1.** Compose this pattern over 8 positions. No query sees the future.
#
# ```
# █·······
# ██······
# ███·····
# █·██····
# █··██···
# █···██··
# █···███·
# █···█·██
# ```

# %% tags=["exercise"]
composed = ...

# %% [markdown] tags=["solution"]
# Each query sees itself, the key before, and keys 0 and 4, as far as they are not in its future.

# %% tags=["solution"]
composed = sv.Causal() & (sv.SlidingWindow(1) | sv.Global([0, 4], rows=False))

# %% tags=["check"]
lines = "█······· ██······ ███····· █·██···· █··██··· █···██·· █···███· █···█·██"
sv.check(composed, lines)

# %% [markdown]
# **2.** Positions on a ring: after the last comes the first. Write the rule of those that are at most `reach` steps apart, in either
# direction. (`-1 % 8` is 7.)

# %% tags=["exercise"]
@dataclass(frozen=True, repr=False)
class Ring(sv.Pattern):
    reach: int

    def allows(self, q, k, n):
        ...

# %% [markdown] tags=["solution"]
# (q - k) % n is how far one walks back from the query to the key, (k - q) % n how far forth.

# %% tags=["solution"]
@dataclass(frozen=True, repr=False)
class Ring(sv.Pattern):
    reach: int

    def allows(self, q, k, n):
        return ((q - k) % n <= self.reach) | ((k - q) % n <= self.reach)

# %% tags=["check"]
steps = [np.roll(np.eye(13, dtype=bool), step, axis=1) for step in range(-2, 3)]
sv.check(Ring(2), np.any(steps, axis=0))

# %% [markdown]
# **3.** *Axial* attention: a piece of an image sees its whole row and its whole column. Write it as a rule for pieces of an image that
# is 6 wide.

# %% tags=["exercise"]
def axial(query, key):
    ...

# %% tags=["solution"]
def axial(query, key):
    return query // 6 == key // 6 or query % 6 == key % 6

# %% [markdown] tags=["solution"]
# Or without a new rule: rows are chunks of 6, columns are every 6th key.

# %% tags=["check"]
sv.check(axial, sv.Chunked(6) | sv.Strided(6), at=[36, 40])

# %% [markdown]
# **4.** How many pairs has `Neighbours(width, radius)` over an image of `height` rows? Neither side is shorter than the radius.

# %% tags=["exercise"]
def neighbour_pairs(width, height, radius):
    ...

# %% [markdown] tags=["solution"]
# In one direction N places have 2 radius + 1 neighbours each, less 1 + 2 + … + radius at either end.

# %% tags=["solution"]
def neighbour_pairs(width, height, radius):
    rim = radius * (radius + 1)
    return (width * (2 * radius + 1) - rim) * (height * (2 * radius + 1) - rim)

# %% tags=["check"]
counted = lambda w, h, r: sv.cost(Neighbours(w, r), w * h).nnz
sv.check(neighbour_pairs, counted, at=[(6, 6, 1), (8, 5, 2), (64, 3, 3), (7, 7, 0)])

# %% [markdown]
# Next: how to trust a kernel that runs such a pattern.
