"""Kernels: each public module is an implementation, `forward(q, k, v, layout, *, scale, **features) -> (o, lse)`.

A kernel walks a `Layout` and knows nothing of patterns. `q` is (..., heads, nq, d), `k` (..., kv heads, nk, d), `v` (..., kv heads, nk, dv)
in memory of any strides, one dtype, float32, float64 or one of the kernel's `HALVES`, checked by the caller. Batch and heads count as
heads, and query head `h` reads key head `h // (heads // kv heads)`. `o` is (heads, nq, dv) and `lse`, the natural logarithm of the row
sums, (heads, nq). `BLOCK` is the tile size a kernel likes best. Features are keyword arguments that a kernel has if it knows them;
`_features.py` says what they mean. A kernel that knows gradients has `backward` as well (see `cpu`).

The ladder: `loops`, plain Python; `cpu_plain`, the same loops compiled; `cpu`, the fast one.

Nothing is imported here: choosing a kernel must not load the others.
"""
