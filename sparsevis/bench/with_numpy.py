"""What the clock sees of attention as one writes it with NumPy and SciPy alone."""

import numpy as np

from sparsevis import reference
from sparsevis.bench.problem import Work
from sparsevis.patterns import Dense

__all__ = ["gathered", "naive"]


def naive(x):
    """Work of the whole n x n matrix, for all heads at once."""
    mask = None if x.pattern == Dense() else x.layout().mask()
    return Work(lambda: reference.naive(x.q, x.k, x.v, mask))


def gathered(x):
    """Work of gathering the keys of each query; rows of a CSR matrix hold the pairs."""
    import scipy.sparse

    pairs = x.layout().to_csr()
    step = max(1, (1 << 18) * x.n // pairs.nnz)  # rows at once: gathered keys of some megabytes stay in cache
    parts = [slice(first, first + step) for first in range(0, x.n, step)]

    def head(q, k, v):
        o = np.empty_like(v)
        for rows in parts:
            part = pairs[rows]
            i = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
            s = np.einsum("ed,ed->e", q[rows][i], k[part.indices]) * q.dtype.type(x.scale)
            p = np.exp(s - np.maximum.reduceat(s, part.indptr[:-1])[i])
            p /= np.add.reduceat(p, part.indptr[:-1])[i]
            o[rows] = scipy.sparse.csr_array((p, part.indices, part.indptr), shape=part.shape) @ v
        return o

    return Work(lambda: np.stack([head(*qkv) for qkv in zip(x.q, x.k, x.v, strict=True)]))
