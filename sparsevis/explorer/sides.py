"""What the browser is told of each pattern, derived from the tree it edits: controls, the program, labels and colours."""

from hashlib import sha256

from sparsevis.explorer.controls import controls, start
from sparsevis.explorer.script import leaves, program
from sparsevis.explorer.tree import walk
from sparsevis.pattern import Pattern
from sparsevis.patterns import RandomBlocks, RandomKeys
from sparsevis.per_head import PerHead

MOST_DRAWN = 1 << 22  # random keys or blocks; a million take about five seconds

__all__ = ["check_fit", "completed", "difference_of", "one_head", "panel_of", "side_of"]


def completed(names, node, n):
    """Return the tree with starting values for leaves that have none, or whose table fits another length."""
    if node is None or "given" in node:
        return node
    if "op" in node:
        return node | {side: completed(names, node[side], n) for side in ("a", "b") if side in node}
    values = node.get("values")
    if values is None or not _fits(names, node, n):
        values = start(names.makers[node["make"]], n)
    return {"make": node["make"], "values": values}


def _fits(names, node, n):
    """Whether a leaf with a table of one length has this one; errors are for `side_of` to tell."""
    try:
        length = getattr(names.build(node), "length", None)
    except (ValueError, TypeError):
        return True
    return length in (None, n)


def side_of(names, tree, pattern, head, n, programs):
    """Return what is told of a pattern that fits n; programs that are new are put into `programs`, by key."""
    one = one_head(pattern, head)
    side, parts = _written([one], lambda p: [p.parts(), [leaf for _, leaf in leaves(p)]], n, programs), one.parts()
    fields = [f"{path}.{field}" for path, leaf in walk(tree) for field in leaf.get("values", ())] if one is pattern else []
    return side | {
        "error": "", "code": names.code_of(tree), "formula": one.formula(), "panel": panel_of(names, tree, n),
        "direct": {field: side["direct"][f"0{field}"] for field in fields if f"0{field}" in side["direct"]},
        "heads": len(pattern) if isinstance(pattern, PerHead) else 0, "colours": [p.ingredient for p in parts],
        "labels": [repr(p) for p in parts], "leaves": [repr(leaf) for _, leaf in leaves(one)],
        "paths": [path for path, _ in leaves(one)],
    }  # fmt: skip


def difference_of(a, b, n, programs):
    """Return what is told of the difference of two patterns."""
    side = _written([a, b], lambda a, b: [[a - b, b - a, a & b]], n, programs)
    return side | {"colours": ["global", "window", "dense"], "labels": ["only in A", "only in B", "in both"]}


def panel_of(names, tree, n):
    """Return the controls of every leaf, by path."""
    out = {}
    for path, leaf in walk(tree):
        if "given" in leaf:
            out[path] = {"code": names.code_of(leaf), "controls": []}
            continue
        make, build = names.makers[leaf["make"]], lambda values, leaf=leaf: names.build(leaf | {"values": values})
        out[path] = {"controls": controls(make, leaf["values"], build, n)}
    return out


def one_head(pattern, head):
    """Return the pattern that is drawn: that of a head, or of all of them together."""
    if isinstance(pattern, Pattern):
        return pattern
    return pattern[head] if 0 <= head < len(pattern) else pattern.union()


def check_fit(pattern, n):
    """Raise if the pattern cannot be used at n positions."""
    fits = pattern.fits
    if n < fits.least or (fits.most is not None and n > fits.most) or (fits.queries is not None and n > fits.queries):
        raise ValueError(f"{pattern!r} is for {fits}, and n is {n:,}")
    for _, leaf in leaves(pattern):
        drawn = n * leaf.keys_per_query if isinstance(leaf, RandomKeys) else 0
        if isinstance(leaf, RandomBlocks):
            drawn = -(-n // leaf.block) * leaf.blocks_per_row
        if drawn > MOST_DRAWN:
            raise ValueError(f"{leaf!r} draws {drawn:,} at n = {n:,}; at most {MOST_DRAWN:,} are drawn here: choose fewer, or a smaller n")


def _written(patterns, lists, n, programs):
    made = program(patterns, lists, n)
    tables = [x for table in made.tables for x in table.values() if isinstance(x, bytes)]
    key = sha256(b"".join([made.source.encode(), *tables])).hexdigest()[:16] if made.source else ""
    if key:
        programs.setdefault(key, {"source": made.source, "tables": made.tables})
    return {"key": key, "params": made.params, "direct": made.direct, "n": made.n}
