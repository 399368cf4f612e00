"""Source code of a FlexAttention `mask_mod`, written from the pattern's formula, with a check of itself.

    i - j <= 3        ->        def mask_mod(b, h, q_idx, kv_idx):
                                    i, j = q_idx + 5, kv_idx
                                    return (i - j <= 3) & (j - i <= 0)

The formula is the pattern's own reading of symbols. What it looks up (documents, tables, draws) becomes arrays that the caller makes
tensors of. FlexAttention counts queries from 0 in every call, so the offset is written into the code.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np

from sparsevis.pattern import And, Not, Or, sizes
from sparsevis.patterns import Documents
from sparsevis.per_head import PerHead
from sparsevis.readings import Symbol
from sparsevis.sift import MEMORY_LIMIT, check_memory

__all__ = ["MaskMod", "fingerprint", "flex_mask_mod"]


@dataclass(frozen=True, eq=False)
class MaskMod:
    """A `mask_mod` as text: `source`, the arrays in `tables`, by name, and the numbers `check` must find."""

    source: str
    tables: dict = field(repr=False)

    def __str__(self):
        return self.source


def flex_mask_mod(pattern, nq, nk=None, offset=None):
    """Return the pattern as the source of a FlexAttention `mask_mod`.

    Parameters
    ----------
    pattern : Pattern or PerHead
        What to say.
    nq, nk, offset
        As for `Pattern.mask`; the offset is written into the code.

    Returns
    -------
    MaskMod
        `source` defines `mask_mod`, or `make_mask_mod(...)` where tables are needed: it is given them as tensors on the queries'
        device. It also defines `check`, which reads some rows of the mask with NumPy alone, and raises where they are not the pattern's.

    Examples
    --------
    >>> from sparsevis import SlidingWindow
    >>> print(flex_mask_mod(SlidingWindow(3), 4, 9, offset="bottom-right").source.split("def check")[0].rstrip())
    # SlidingWindow(left=3)
    # 4 queries over 9 keys; query 0 stands at position 5
    def mask_mod(b, h, q_idx, kv_idx):
        i, j = q_idx + 5, kv_idx
        return (i - j <= 3) & (j - i <= 0)
    """
    (nq, nk), offset = sizes(nq, nk, offset)
    writer = _Writer(max(0, nq + offset), nk)
    heads = pattern.patterns if isinstance(pattern, PerHead) else None
    if heads is None:
        rule = writer.rule(pattern)
    else:
        where = {p: [f"(h == {h})" for h, other in enumerate(heads) if other == p] for p in heads}
        who = {p: at[0] if len(at) == 1 else f"({' | '.join(at)})" for p, at in where.items()}
        rule = " | ".join(f"({who[p]} & ({writer.rule(p)}))" for p in where)
    tables = writer.tables
    lines = [f"i, j = q_idx{f' + {offset}' if offset > 0 else f' - {-offset}' if offset else ''}, kv_idx", f"return {rule}"]
    body = ["def mask_mod(b, h, q_idx, kv_idx):", *("    " + line for line in lines)]
    names = ", ".join(tables)
    if tables:
        body = [f"def make_mask_mod({names}):", *("    " + line for line in body), "    return mask_mod"]
    head = [f"# {_short(repr(pattern))}", f"# {nq:,} queries over {nk:,} keys; query 0 stands at position {offset}"]
    found = fingerprint(pattern, nq, nk, offset)
    return MaskMod("\n".join([*head, *body, "", "", *_check(found, names, (nq, nk), 1 if heads is None else len(heads))]) + "\n", tables)


class _Writer:
    """Writes rules and collects the tables they look things up in."""

    def __init__(self, nq, nk):
        self.nq, self.nk, self.tables = nq, nk, {}

    def rule(self, pattern):
        match pattern:
            case And(a, b) | Or(a, b):
                return f"({self.rule(a)}) {'&' if isinstance(pattern, And) else '|'} ({self.rule(b)})"
            case Not(a):
                return f"~({self.rule(a)})"
        text = str(pattern.allows(Symbol("i"), Symbol("j"), _Length(self.nk)))
        return text if "[" not in text else self._looked_up(pattern)

    def _looked_up(self, pattern):
        if isinstance(pattern, Documents):
            name = self._table("document", np.repeat(np.arange(len(pattern.lengths)), pattern.lengths))
            return f"{name}[i] == {name}[j]"
        block = getattr(pattern, "block", 1)
        rows, columns = -(-self.nq // block), -(-self.nk // block)
        check_memory(rows * columns, MEMORY_LIMIT, f"a table of {rows:,} x {columns:,} places")
        corner = np.arange(rows)[:, None] * block, np.arange(columns) * block
        name = self._table("table", np.array(pattern.allows(*corner, self.nk)))
        return f"{name}[i, j]" if block == 1 else f"{name}[i // {block}, j // {block}]"

    def _table(self, kind, values):
        for name, other in self.tables.items():
            if np.array_equal(values, other):
                return name
        name = kind if kind not in self.tables else f"{kind}{len(self.tables) + 1}"
        self.tables[name] = values
        return name


class _Length(Symbol):
    """The number of keys, written as a number."""

    def __init__(self, n):
        super().__init__(str(n))


def fingerprint(pattern, nq, nk, offset):
    """Return (rows, pairs, crc): up to 64 rows of the mask, their number of pairs, and the CRC-32 of their bits, heads one by one."""
    rows = sorted({int(x) for x in np.linspace(0, nq - 1, min(nq, 64))}) if nq else []
    pairs = crc = 0
    for p in pattern.patterns if isinstance(pattern, PerHead) else [pattern]:
        answer = np.broadcast_to(p.allows(np.array(rows, np.int64)[:, None] + offset, np.arange(nk), nk), (len(rows), nk))
        pairs, crc = pairs + int(answer.sum()), zlib.crc32(np.packbits(answer).tobytes(), crc)
    return rows, pairs, crc


def _check(found, names, shape, heads):
    rows, pairs, crc = found
    made = f"make_mask_mod({names})" if names else "mask_mod"
    return [
        f"def check({names}):",
        f'    """Read {len(rows)} of {shape[0]} rows with NumPy, and compare them with the pattern\'s."""',
        "    import zlib",
        "",
        "    import numpy as np",
        "",
        f"    rows, pairs, crc = np.array({rows}, dtype=np.int64), 0, 0",
        f"    for h in range({heads}):",
        f"        answer = {made}(0, h, rows[:, None], np.arange({shape[1]})[None, :])",
        f"        answer = np.broadcast_to(answer, (len(rows), {shape[1]}))",
        "        pairs, crc = pairs + int(answer.sum()), zlib.crc32(np.packbits(answer).tobytes(), crc)",
        f'    assert (pairs, crc) == ({pairs}, {crc}), f"{{pairs}} pairs, CRC {{crc}}: not the mask that was exported"',
    ]


def _short(text):
    return text if len(text) <= 130 else text[:126] + " ..."
