# %% [markdown]
# # 12. The golden reference
#
# A kernel that is nearly right passes most tests. Here is how small the error of a wrong kernel can be, how large that of a right one
# may be, and how `sv.golden.check` tells them apart, names the mistake and shows where it is.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## Close is not right
#
# The commonest mistake with windows is one key too many (notebook 2). Over 12 positions, 4 keys instead of 3 are 9 pairs too many, one
# for each query from the fourth on.

# %%
extra = sv.diff(sv.mistral(4), sv.mistral(3), 12, names=("wrong", "right"))
sv.plots.diff(extra, title="One key too many", size=4)
assert (extra.only_a, extra.only_b) == (9, 0)

# %% [markdown]
# **"It agrees to 0.01, so it is right."** Take 257 keys instead of 256, and inputs as some test suites draw them: normal, divided by 10.
# All weights are nearly equal, so one more value v moves the mean by about (v - o) / 257. Values reach 0.4: 0.4 / 257 = 0.0016. The
# wrong kernel passes with room to spare.

# %%
n = 1024
q, k, v = np.random.default_rng(0).standard_normal((3, n, 64), dtype=np.float32) / 10
right, wrong = (sv.attention(q, k, v, sv.mistral(keys)) for keys in (256, 257))
print(f"largest difference {np.abs(right - wrong).max():.4f}")
assert np.allclose(right, wrong, atol=1e-2)

# %% [markdown]
# ## An error budget
#
# A tolerance that would be right here is wrong elsewhere. What a right kernel may be off by follows from what it rounds: float32 keeps
# 24 bits, so each operation may be off by 2⁻²⁴ of its result, and how that grows can be bounded element by element, from the inputs
# at hand. `golden.expect` gives the float64 result and this **budget**. There is nothing to choose.

# %%
window = sv.mistral(256).mask(n)
want = sv.golden.expect(*(x[None, None] for x in (q, k, v)), mask=window)
value, budget = want.values["o"][0, 0], want.errors["o"][0, 0]
used = [np.abs(o - value) / budget for o in (right, wrong)]
print(f"right: {used[0].max():.2f} of its budget; wrong: {used[1].max():.0f} times")
assert used[0].max() < 1 < 50 < used[1].max()

# %% [markdown]
# The right kernel uses a part of its budget, the wrong one is hundreds of times beyond, on the same inputs.
#
# ## A kernel is checked
#
# Here is attention as one writes it first. What a kernel can be asked is read from its signature: this one takes a mask.

# %% tags=["definition"]
def plain(q, k, v, *, mask):
    s = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[2]))
    s = np.where(mask, s, np.float32(-np.inf))
    p = np.exp(s - s.max(axis=2, keepdims=True))
    return p @ v / p.sum(axis=2, keepdims=True)

# %%
report = sv.golden.check(plain)
print(report.summary)
for words, calls in report.diagnosis:
    print(f"- {words}: {calls} calls")
assert not report.ok and any("without keys" in words for words, _ in report.diagnosis)

# %% [markdown]
# It is right wherever one would look, and three things are found:
#
# - a query without keys gives NaN, 0 / 0; the house's convention is 0;
# - a NaN in a forbidden key or value reaches the output, because 0 · NaN is NaN. Padding and unused pages of a cache hold anything;
# - it raises when heads share keys and values.
#
# These may be mistakes, or conventions of its own. Conventions are declared, in a `Dialect`; what is declared is not asked, and counts as
# not supported, never as passed.

# %%
own = sv.golden.Dialect(empty=None, leaks=True, gqa=False)
declared = sv.golden.check(plain, dialect=own)
print(declared.summary)
assert declared.ok
assert declared.counts["unsupported"] > report.counts["unsupported"]

# %% [markdown]
# ## A mistake is named
#
# Now the window with one key too many, as a kernel. It takes `window=(left, right)` and the position of query 0.

# %% tags=["definition"]
def longer(q, k, v, *, window=(None, None), offset=0):
    left, right = window
    rule = sv.SlidingWindow(None if left is None else left + 1, right)
    return plain(q, k, v, mask=rule.mask(q.shape[1], k.shape[1], offset))

# %%
report = sv.golden.check(longer, dialect=own)
assert report.diagnosis[0][0] == "window one key longer on the left"
report

# %% [markdown]
# The report reads from top to bottom: families of calls and how far they are beyond their budget; what explains the failures; the worst
# of them, as code to be pasted; and the smallest call that fails. That one can be done by hand: one query over two keys, with no key
# to its left. The query stands at the second key, so its output is the second value. The kernel takes the mean of both.

# %%
small = report.smallest.call
assert (small.nq, small.nk, small.left) == (1, 2, 0)
assert small.mask.tolist() == [[False, True]]
values = np.array([[[1.0], [3.0]]])
o = longer(np.zeros((1, 1, 1)), np.zeros((1, 2, 1)), values, window=(0, 0), offset=1)
print(f"the second value is 3, and the kernel says {o.item()}")
assert o.item() == 2

# %% [markdown]
# On a larger call the picture shows where: rows on a tinted ground are beyond their budget. The first queries are right, because for
# them there is no key yet that could be too many.

# %%
sv.plots.failures(report, size=5);

# %% [markdown]
# ## Arithmetic, too
#
# **"float16 inside is a detail."** It is a rounding, 2⁻¹¹ instead of 2⁻²⁴ of each weight, and the budget of a float32 kernel has no
# room for that. Many fast kernels do round their weights so, and may; they have to say it.

# %% tags=["definition"]
def half(q, k, v, *, mask):
    s = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[2]))
    s = np.where(mask, s, np.float32(-np.inf))
    p = np.exp(s - s.max(axis=2, keepdims=True))
    rounded = p.astype(np.float16).astype(np.float32)
    return rounded @ v / p.sum(axis=2, keepdims=True)

# %%
silent = sv.golden.check(half, dialect=own, shrink=False)
spoken = sv.golden.check(half, dialect=own, model=sv.golden.Model(p="float16"))
print(f"silent: {silent.summary}\n  {silent.diagnosis[0][0]}\nspoken: {spoken.summary}")
assert not silent.ok and "float16" in silent.diagnosis[0][0]
assert spoken.ok

# %% [markdown]
# ## Who judges the judge?
#
# If reference and kernel share a mistake, their agreement proves nothing. So `sv.reference` imports nothing of the rest of the
# package, and is itself held against judges that share no code with it: interval arithmetic, decimals of 60 digits, closed forms,
# other libraries. One closed form you know from notebook 1: scores ln 1, ln 1, ln 2 and values 0, 4, 8 give 5 and lse ln 4.

# %%
one, keys = np.ones((1, 1)), np.log([[1.0], [1.0], [2.0]])
o, lse = sv.reference.attention(one, keys, np.array([[0.0], [4.0], [8.0]]), scale=1.0)
assert np.isclose(o.item(), 5, rtol=1e-15) and np.isclose(lse.item(), np.log(4))

# %% [markdown]
# The same check without a notebook: `sparsevis golden check my_module:my_kernel` at the command line, with an exit code for scripts.
#
# ## Exercises
#
# **1.** The kit likes *coded values*: all scores are 0, and the value of key j is j + 1, so that the output tells which keys were
# read. A causal kernel with a window gives 4.5 for query 5. Which keys did it read?

# %% tags=["exercise"]
keys_read = ...

# %% [markdown] tags=["solution"]
# The mean of values that end with 6 is 4.5: 3, 4, 5, 6, so keys 2 to 5.

# %% tags=["solution"]
keys_read = {2, 3, 4, 5}

# %% tags=["check"]
coded = np.arange(1, 7.0)
ends = [set(range(j, 6)) for j in range(6) if coded[j:].mean() == 4.5]
sv.check(keys_read, ends[0])

# %% [markdown]
# **2.** Somebody's kernel takes `window=` as one number. What does it mean? The words of `Dialect(window=...)` are "left", the keys
# before the query, and "count", the number of keys with the query. Read the code, and say the word.

# %% tags=["definition"]
def theirs(q, k, v, *, window=None, offset=0):
    i = np.arange(q.shape[1])[:, None] + offset
    j = np.arange(k.shape[1])
    window = len(j) + len(i) if window is None else window
    return plain(q, k, v, mask=(j <= i) & (j > i - window))

# %% tags=["exercise"]
word = ...

# %% [markdown] tags=["solution"]
# j > i - window and j ≤ i are `window` keys, the query among them.

# %% tags=["solution"]
word = "count"

# %% tags=["check"]
asked = {"calls": sv.golden.calls()["windows"], "shrink": False}
words = ("left", "count")
said = {w: sv.golden.Dialect(window=w, empty=None, gqa=False) for w in words}
fits = [w for w in said if sv.golden.check(theirs, dialect=said[w], **asked)]
sv.check(word, fits[0])

# %% [markdown]
# **3.** Mend `plain`: queries without keys give 0, and what stands in a forbidden key or value is not felt, NaN included. (A NaN in an
# *allowed* one has to be felt.) Heads need not share keys. Hint: `np.where` selects, a product does not.

# %% tags=["exercise"]
def mended(q, k, v, *, mask):
    ...

# %% [markdown] tags=["solution"]
# Where a row has no score, 0 is subtracted instead of -inf. Each product p · v is selected by the mask before it is summed.

# %% tags=["solution"]
def mended(q, k, v, *, mask):
    s = q @ k.swapaxes(1, 2) / np.sqrt(np.float32(q.shape[2]))
    s = np.where(mask, s, np.float32(-np.inf))
    top = s.max(axis=2, keepdims=True)
    p = np.exp(s - np.where(np.isneginf(top), np.float32(0), top))
    o = np.where(mask[..., None], p[..., None] * v[:, None], np.float32(0)).sum(axis=2)
    some = mask.any(axis=1)[:, None]
    return np.where(some, o / np.where(some, p.sum(axis=2, keepdims=True), 1), 0)

# %% tags=["check"]
result = sv.golden.check(mended, dialect=sv.golden.Dialect(gqa=False), shrink=False)
print(result.summary, *(words for words, _ in result.diagnosis), sep="\n- ")
found = {"failed calls": result.counts["fail"], "conforms": result.ok}
sv.check(found, {"failed calls": 0, "conforms": True})

# %% [markdown]
# Next: what happens inside a kernel on a GPU.
