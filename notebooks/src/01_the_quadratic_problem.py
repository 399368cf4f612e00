# %% [markdown]
# # 1. The quadratic problem
#
# Attention lets every token look at every other one. Over n tokens that is n² pairs: twice the text, four times the work. Here is what
# a pair is, how to count pairs by hand, and how long they take on your machine.

# %%
import numpy as np

import sparsevis as sv

# %% [markdown]
# ## One query
#
# A **query** compares itself with every **key**; each comparison is a number, a **score**. Softmax turns the scores into positive
# weights that sum to 1, and the output is the mean of the **values** under these weights.
#
# Take three keys whose scores are ln 1, ln 1 and ln 2. The exponentials are 1, 1, 2 and sum to 4, so the weights are 1/4, 1/4, 1/2.
# With the values 0, 4 and 8 the output is 0/4 + 4/4 + 8/2 = 5.

# %%
scores = np.log([1, 1, 2])
weights = np.exp(scores) / np.exp(scores).sum()
output = weights @ [0, 4, 8]
print(weights, output)
assert np.isclose(output, 5)

# %% [markdown]
# ## Every query
#
# Every token asks such a query, and every token offers a key and a value. In the picture a row is a query, a column is a key, and a
# cell is one **pair**: one score, one weight. Dense attention has all of them. Over 8 tokens: 8 rows of 8 cells.

# %%
sv.plots.mask(sv.Dense(), 8, title="Dense attention over 8 tokens", size=4)
assert sv.Dense().mask(8).sum() == 64

# %% [markdown]
# A model that writes text from left to right may not look at what comes later. The **causal** mask keeps key j for query i if j ≤ i:
# row 0 has one cell, row 1 two, row 7 eight. Together 1 + 2 + … + 8 = 8 · 9 / 2 = 36.

# %%
sv.plots.mask(sv.Causal(), 8, title="Causal attention over 8 tokens", size=4)
assert sv.Causal().mask(8).sum() == 36

# %% [markdown]
# ## A real head
#
# `sv.data` holds the queries, keys and values of a trained model that reads a page of *Alice in Wonderland*, 512 tokens. The scores are
# products q · k, divided by √d, where d = 32 is the length of each vector. One head makes 512 · 512 = 262,144 weights.

# %%
q, k, v = (x[8] for x in sv.data.load("alice").layer(2))  # head 8 of layer 2
scores = q @ k.T / np.sqrt(32)
p = np.exp(scores - scores.max(axis=1, keepdims=True))
p = p / p.sum(axis=1, keepdims=True)
assert np.allclose(p @ v, sv.attention(q, k, v), atol=1e-5)
sv.plots.attention(p, title="A trained head: who reads whom");

# %% [markdown]
# Every weight was computed, and most are next to nothing. How many keys does a query need for 90 % of its weight?

# %%
largest_first = np.sort(p, axis=1)[:, ::-1]
needed = (largest_first.cumsum(axis=1) < 0.9).sum(axis=1) + 1
print(f"half of the queries need {np.median(needed):.0f} keys or fewer, of 512")
assert np.median(needed) < 20

# %% [markdown]
# That gap is the hope behind sparse attention: compute a few well chosen pairs in each row instead of all. It is a hope, not a law.
# Other heads of the same model spread over hundreds of keys; notebook 10 measures what they lose.
#
# ## Twice the text, four times the work
#
# A score is a product of two vectors of length d: d multiplications and d additions. Adding a value under its weight takes as many
# again. So a pair costs 4d operations, and a head costs 4 n² d. With d = 64 and n = 1,000: 256 operations a pair, a million pairs, 256
# million operations.

# %%
one = sv.cost(sv.Dense(), 1000, head_dim=64)
two = sv.cost(sv.Dense(), 2000, head_dim=64)
print(f"{one.flops:,} operations over 1,000 tokens, {two.flops:,} over 2,000")
assert one.flops == 4 * 1000**2 * 64 == 256_000_000
assert two.flops == 4 * one.flops

# %% [markdown]
# **"Causal attention halves the work, so it scales better."** The first half is true: n(n + 1)/2 pairs are half of n², nearly. But half
# of four times as much is still four times as much. On logarithmic axes both lines rise by a factor of 4 at every doubling, side by
# side.

# %%
lengths = [2**i for i in range(10, 21)]
curve = sv.cost_curve(sv.Causal(), lengths, name="causal")
sv.plots.cost(curve, title="Half the work, the same slope", size=6)
doubling = curve.rows[-1].nnz / curve.rows[-2].nnz
assert abs(doubling - 4) < 1e-5

# %% [markdown]
# ## Measured
#
# Counts are promises; a clock shows what is kept. Dense attention with four heads, on this machine, with a compiled kernel:

# %%
lengths = [512, 1024, 2048, 4096]
measured = sv.measure(sv.Dense(), lengths, heads=4, dense=False, name="dense")
sv.plots.cost(measured, quantity="seconds", title="Measured on this machine", size=6)
first, last = measured.rows[0], measured.rows[-1]
print(f"8 times the text took {last.seconds / first.seconds:.0f} times as long")
assert last.cost.nnz == 64 * first.cost.nnz
assert last.seconds > 8 * first.seconds

# %% [markdown]
# 64 times the pairs take somewhat less than 64 times as long, because a short call spends part of its time on starting threads and
# reaching full speed. The longer the text, the closer a doubling comes to a factor of 4.
#
# **"Attention is always the bottleneck."** Not for short texts. The other matrices of a transformer layer of width D hold about 12 D²
# weights (4 D² around the attention, 8 D² in the two layers after it), so they take 24 n D² operations: linear in n. Attention over all
# heads takes 4 n² D. The two are equal at n = 6 D. For D = 4,096 that is 24,576 tokens, twice that if causal; below, attention is the
# smaller part, and making it sparse cannot gain much.

# %%
n, width = 6 * 4096, 4096
matrices = 24 * n * width**2
assert sv.cost(sv.Dense(), n, heads=32, head_dim=128).flops == matrices
assert sv.cost(sv.Dense(), 10 * n, heads=32, head_dim=128).flops == 10 * (10 * matrices)

# %% [markdown]
# **"FlashAttention has solved this."** It has solved the memory. The plain method stores n × n scores and as many weights: for one head
# over 131,072 tokens in float32 that is 64 GiB, twice. FlashAttention never stores them, and neither did the kernel above. But it
# visits every pair, so the work is 4 n² d as before (notebook 8). Sparse attention reduces the pairs themselves; the two go together
# (notebook 9).

# %%
assert sv.cost(sv.Dense(), 131_072).memory_naive == 2 * 64 * 2**30
stored = last.cost.memory_naive
print(f"scores and weights of 4 heads over 4,096 tokens: {stored:,} bytes")
print(f"what the kernel took beside its result: {last.memory} bytes")
assert (last.memory or 0) < stored / 20

# %% [markdown]
# ## Exercises
#
# **1.** How many pairs does *causal* attention have over n tokens? Write it for every n, without a loop.

# %% tags=["exercise"]
def causal_pairs(n):
    ...

# %% tags=["solution"]
def causal_pairs(n):
    return n * (n + 1) // 2

# %% tags=["check"]
sv.check(causal_pairs, lambda n: sv.cost(sv.Causal(), n).nnz, at=[1, 2, 8, 1000, 2**20])

# %% [markdown]
# **2.** Dense attention over 2,000 tokens takes 3 seconds somewhere. How many seconds will it take there over 16,000 tokens? Reckon it
# from the pairs.

# %% tags=["exercise"]
seconds = ...

# %% [markdown] tags=["solution"]
# 16,000 is 8 times 2,000, so there are 8² = 64 times as many pairs: 64 · 3 = 192 seconds.

# %% tags=["solution"]
seconds = 3 * 8**2

# %% tags=["check"]
sv.check(seconds, 3 * sv.cost(sv.Dense(), 16_000).nnz / sv.cost(sv.Dense(), 2_000).nnz)

# %% [markdown]
# **3.** Write dense attention for one head: q, k and v have the shape (n, d), and so has the result. The check also sends scores so
# large that `np.exp` of them overflows. Subtracting the largest score of a row from the whole row changes no weight; see why, then use
# it.

# %% tags=["exercise"]
def dense_attention(q, k, v):
    ...

# %% [markdown] tags=["solution"]
# exp(s - m) = exp(s) / exp(m): numerator and denominator shrink by the same factor, which cancels.

# %% tags=["solution"]
def dense_attention(q, k, v):
    s = q @ k.T / np.sqrt(q.shape[1])
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True) @ v

# %% tags=["check"]
inputs = [(q, k, v), (100 * q, 100 * k, v)]
expected = lambda q, k, v: sv.reference.attention(q, k, v)[0]
sv.check(dense_attention, expected, at=inputs, tolerance=1e-3)

# %% [markdown]
# Next: the simplest way out. Each query looks at its neighbours only.
