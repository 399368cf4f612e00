"""A pattern as the arrays other software takes: FlexAttention's BlockMask, FlashMask's rows, SciPy matrices, a dense file.

Each export is checked as it is made: the pairs of what is handed out are counted and compared with the pattern's own exact count.
"""

import numpy as np

from sparsevis.dialects.rule import Unsayable
from sparsevis.layout import FULL, Layout
from sparsevis.pattern import sizes
from sparsevis.per_head import PerHead
from sparsevis.sift import MEMORY_LIMIT, check_memory

__all__ = ["block_mask", "bsr", "csr", "flashmask_rows", "save_dense"]


def block_mask(pattern, nq, nk=None, block=128, offset=None):
    """Return the arrays of FlexAttention's `BlockMask.from_kv_blocks`, without a dense mask.

    Parameters
    ----------
    pattern : Pattern or PerHead
        What to say.
    nq, nk, offset
        As for `Pattern.mask`.
    block : int or (int, int)
        BLOCK_SIZE: rows and columns of a tile.

    Returns
    -------
    dict of int32 arrays
        kv_num_blocks and kv_indices list the partial tiles, full_kv_num_blocks and full_kv_indices the full ones: (1, heads, rows) and
        (1, heads, rows, columns). After a row's own tiles come the others in rising order, as `create_block_mask` leaves them.

    Examples
    --------
    >>> from sparsevis import Causal
    >>> lists = block_mask(Causal(), 8, block=4)
    >>> lists["kv_num_blocks"].tolist(), lists["full_kv_indices"].tolist()
    ([[[1, 1]]], [[[[0, 1], [0, 1]]]])
    """
    layout = Layout.of(pattern, sizes(nq, nk, offset)[0], block, offset)
    (rows, columns), heads = layout.grid, len(layout.heads or (0,))
    check_memory(heads * rows * columns * 16, MEMORY_LIMIT, f"lists of {heads} x {rows:,} x {columns:,} tiles")
    row = np.repeat(np.arange(layout.indptr.size - 1), np.diff(layout.indptr))
    out = {}
    for name, wanted in (("kv", layout.kind != FULL), ("full_kv", layout.kind == FULL)):
        held = np.zeros((layout.indptr.size - 1, columns), bool)
        held[row[wanted], layout.indices[wanted]] = True
        held = held.reshape(-1, rows, columns)[list(layout.heads or (0,))][None]
        out[f"{name}_num_blocks"] = held.sum(-1).astype(np.int32)
        out[f"{name}_indices"] = np.argsort(~held, axis=-1, kind="stable").astype(np.int32)
    full, partial, _ = layout.tally()
    _agree("tiles", out["kv_num_blocks"].sum() + out["full_kv_num_blocks"].sum(), full + partial)
    return out


def csr(pattern, nq, nk=None, offset=None, block=64):
    """Return the pattern as a SciPy CSR matrix of booleans (nq, nk); `block` is the tile it is built from.

    >>> from sparsevis import SlidingWindow
    >>> csr(SlidingWindow(1), 4).indices.tolist()
    [0, 0, 1, 1, 2, 2, 3]
    """
    layout = _one_head(pattern, nq, nk, offset, block)
    out = layout.to_csr()
    _agree("pairs", out.nnz, layout.nnz)
    return out


def bsr(pattern, nq, nk=None, offset=None, block=64):
    """Return the pattern as a SciPy BSR matrix of booleans; ragged edges are padded with False to whole tiles.

    >>> from sparsevis import Causal
    >>> bsr(Causal(), 5, block=2).shape
    (6, 6)
    """
    layout = _one_head(pattern, nq, nk, offset, block)
    out = layout.to_bsr()
    _agree("pairs", int(out.data.sum()), layout.nnz)
    return out


def flashmask_rows(pattern, n):
    """Return FlashMask's `startend_row_indices` for n queries over n keys (arXiv 2410.01359).

    Each key says which queries do not see it: below the diagonal rows LTS <= i < LTE, above it UTS <= i < UTE.

    Parameters
    ----------
    pattern : Pattern or PerHead
        What to say.
    n : int
        Number of positions.

    Returns
    -------
    rows : int32 array (1, heads, n, width)
        With causal: LTS, or LTS and LTE where they do not end at n. Without: LTS and UTE, or LTS, LTE, UTS, UTE.
    causal : bool
        What to pass as `causal=`: whether no query sees a later key.

    Raises
    ------
    Unsayable
        If some key is hidden from two separate stretches of queries on one side of the diagonal, as with strides.

    Examples
    --------
    >>> from sparsevis import SlidingWindow
    >>> rows, causal = flashmask_rows(SlidingWindow(1), 4)
    >>> rows[0, 0].tolist(), causal
    ([[2], [3], [4], [4]], True)
    """
    heads = pattern.patterns if isinstance(pattern, PerHead) else (pattern,)
    bounds = np.stack([_hidden_rows(p, n) for p in heads])[None]  # (1, heads, n, [LTS, LTE, UTS, UTE])
    key = np.arange(n)
    whole_lower = ((bounds[..., 1] == n) | (bounds[..., 0] == n)).all()
    causal = bool((bounds[..., 2] == 0).all() and (bounds[..., 3] == key).all())
    from_top = ((bounds[..., 2] == 0) | (bounds[..., 3] == 0)).all()
    columns = ([0] if whole_lower else [0, 1]) if causal else [0, 3] if whole_lower and from_top else [0, 1, 2, 3]
    rows = np.ascontiguousarray(bounds[..., columns]).astype(np.int32)
    hidden = np.maximum(bounds[..., 1] - bounds[..., 0], 0) + np.maximum(bounds[..., 3] - bounds[..., 2], 0)
    allowed = sum(int(p.counts(n, offset=0)[0].sum()) for p in heads)
    _agree("pairs", len(heads) * n * n - int(hidden.sum()), allowed)
    return rows, causal


def _hidden_rows(pattern, n, strip=256):
    """[LTS, LTE, UTS, UTE] of every key; a strip of keys at a time. An empty stretch is (n, n) below and (0, 0) above."""
    out, i = np.empty((n, 4), np.int64), np.arange(n)[:, None]
    for first in range(0, n, strip):
        j = np.arange(first, min(first + strip, n))
        hidden = ~np.broadcast_to(pattern.allows(i, j, n), (n, j.size))
        for side, place, none in ((hidden & (i >= j), 0, n), (hidden & (i < j), 2, 0)):
            count, start = side.sum(0), np.where(side.any(0), side.argmax(0), none)
            stop = np.where(side.any(0), n - side[::-1].argmax(0), none)
            torn = np.flatnonzero(stop - start != count)
            if torn.size:
                where = "at or after it" if place == 0 else "before it"
                raise Unsayable(f"FlashMask hides a key from one stretch of queries on each side; key {j[torn[0]]} has several {where}")
            out[j, place], out[j, place + 1] = start, stop
    return out


def save_dense(path, pattern, nq, nk=None, offset=None, memory_limit=MEMORY_LIMIT):
    """Write the boolean mask (nq, nk), or (heads, nq, nk), as a `.npy` file, and read it back.

    >>> import tempfile, os
    >>> from sparsevis import Causal
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_dense(os.path.join(folder, "causal.npy"), Causal(), 3)
    6
    """
    (nq, nk), offset = sizes(nq, nk, offset)
    heads = pattern.patterns if isinstance(pattern, PerHead) else (pattern,)
    check_memory(len(heads) * nq * nk, memory_limit, f"a mask of {len(heads)} x {nq:,} x {nk:,} pairs")
    np.save(path, pattern.mask(nq, nk, offset), allow_pickle=False)
    pairs = int(np.load(path, allow_pickle=False).sum())
    _agree("pairs", pairs, sum(int(p.counts(nq, nk, offset=offset)[0].sum()) for p in heads))
    return pairs


def _one_head(pattern, nq, nk, offset, block):
    if isinstance(pattern, PerHead):
        raise TypeError("a SciPy matrix holds one head: export the heads of a PerHead one by one")
    return Layout.of(pattern, sizes(nq, nk, offset)[0], block, offset)


def _agree(what, found, wanted):
    if int(found) != int(wanted):
        raise AssertionError(f"the export holds {found:,} {what} where the pattern has {wanted:,}: please report this")
