"""One rule in every dialect: the call a user writes, or why the library cannot say it."""

from dataclasses import dataclass

from sparsevis.dialects.blocks import BLOCKS
from sparsevis.dialects.libraries import LIBRARIES
from sparsevis.dialects.mask_mod import flex_mask_mod
from sparsevis.dialects.rule import Unsayable, rule_of
from sparsevis.dialects.windows import WINDOWS
from sparsevis.pattern import Pattern, sizes
from sparsevis.per_head import PerHead

__all__ = ["DIALECTS", "Explained", "explain"]

DIALECTS = {dialect.name: dialect for dialect in [*LIBRARIES, *BLOCKS, *WINDOWS]}


@dataclass(frozen=True)
class Explained:
    """What `explain` found: rows of (dialect, version, call or None, remark), and the FlexAttention source for whatever has no call."""

    pattern: Pattern
    place: str
    rows: tuple
    mask_mod: str

    def to_dicts(self):
        """Return plain rows: dialect, version, call (None where there is none), remark."""
        return [dict(zip(("dialect", "version", "call", "remark"), row, strict=True)) for row in self.rows]

    def __str__(self):
        said, unsaid = [r for r in self.rows if r[2]], [r for r in self.rows if not r[2]]
        width = max(len(r[0]) for r in self.rows)
        lines = [f"{_short(repr(self.pattern))}, {self.place}", ""]
        for name, _, call, remark in said:
            lines += [f"{name.ljust(width)}  {call}", *([f"{' ' * width}    ({remark})"] if remark else [])]
        lines += ["", "flex-attention:", *("    " + line for line in self.mask_mod.splitlines())]
        if unsaid:
            lines += ["", "cannot say it:"]
            for why in dict.fromkeys(r[3] for r in unsaid):
                lines += [f"    {', '.join(r[0] for r in unsaid if r[3] == why)}: {why}"]
            dense = [f"    {r[0]}: {DIALECTS[r[0]].dense}" for r in unsaid if DIALECTS[r[0]].dense]
            lines += ["", "of these, some take a mask of any shape:", *dense] if dense else []
        return "\n".join(lines)

    __repr__ = __str__


def explain(pattern, nq=None, nk=None, offset=None):
    """Say one pattern in every library's words.

    Parameters
    ----------
    pattern : Pattern
        The rule; one head of a `PerHead`.
    nq, nk, offset
        As for `Pattern.mask`. Left out, there are as many queries as keys, and any number of them.

    Returns
    -------
    Explained
        Prints the calls, what their users trip over, and which libraries cannot say it, and why.

    Examples
    --------
    >>> from sparsevis import SlidingWindow
    >>> said = {row["dialect"]: row["call"] for row in explain(SlidingWindow(3), 4, 9, offset="bottom-right").to_dicts()}
    >>> print(said["flash-attn"], said["huggingface"], said["jax"], sep="; ")
    flash_attn_func(q, k, v, causal=True, window_size=(3, 0)); AutoConfig.from_pretrained(name, sliding_window=4); None
    """
    if isinstance(pattern, PerHead):
        raise TypeError("explain one head at a time: explain(pattern[0]), or flex_mask_mod(pattern, n) for all of them")
    rule = rule_of(pattern)
    rows = []
    for dialect in DIALECTS.values():
        try:
            rows.append((dialect.name, dialect.version, dialect.code(pattern, nq, nk, offset), dialect.note))
        except Unsayable as why:
            rows.append((dialect.name, dialect.version, None, why.reason))
    (q, k), shift = sizes(pattern.example_length() if nq is None else nq, nk, offset)
    source = flex_mask_mod(rule.pattern, q, k, shift).source.partition("\n\n\ndef check")[0]
    place = "as many queries as keys" if nq is None else f"{q:,} queries over {k:,} keys, query 0 at position {shift}"
    return Explained(pattern, place, tuple(rows), "\n".join(line for line in source.splitlines() if not line.startswith("#")))


def _short(text):
    return text if len(text) <= 200 else text[:196] + " ..."
