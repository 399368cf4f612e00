"""Python syntax of a rule printed as JavaScript, twice: for one pair, and for the bounds of a rectangle of pairs (as `Interval` does)."""

import ast
from typing import NamedTuple

from sparsevis.tables import Relation, Steps

__all__ = ["Writer"]


class _Range(NamedTuple):
    """A position-dependent number over a rectangle, as JavaScript: ends, and what tells rectangles apart (see `Interval`)."""

    lo: str
    hi: str
    base: str
    rest: tuple = ()


_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_SIGNS |= {ast.LtE: "<=", ast.Lt: "<", ast.GtE: ">=", ast.Gt: ">", ast.Eq: "===", ast.NotEq: "!=="}


class Writer:
    """Prints rules; keeps the tables they name, and how many words of M are taken."""

    def __init__(self):
        self.tables, self.words = [], 0

    def rule(self, node):
        """{test, judge, words} of one rule; its marks lie in M[0] ... M[words - 1] behind those of the rules before it."""
        self._lines, self._names, self.words = [], 0, 0
        some, every, _, _ = self._verdict(node)
        body = "; ".join([*self._lines, f"return {every} ? 2 : {some} ? 1 : 0"])
        unlike = "true" if any(isinstance(x, ast.Subscript) and isinstance(x.slice, ast.Tuple) for x in ast.walk(node)) else "false"
        return (
            f"{{words: {self.words}, unlike: {unlike}, {self._bare(node)}test: (i, j, n, P, T) => {self._point(node)},\n"
            f"judge: (ia, ib, ja, jb, n, P, T, M, at) => {{ {body}; }}}}"
        )

    def _bare(self, node):
        """For a rule that is a table of blocks and nothing else: which, and the size of a block, so that pairs are counted by entries."""
        match node:
            case ast.Subscript(slice=ast.Tuple(elts=[ast.Name(id="i"), ast.Name(id="j")])):
                size = "1"
            case ast.Subscript(slice=ast.Tuple(elts=[ast.BinOp(ast.Name(id="i"), ast.FloorDiv(), a), ast.BinOp(ast.Name(id="j"), _, b)])):
                size = self._point(a)
                if not isinstance(node.slice.elts[1].op, ast.FloorDiv) or size != self._point(b):
                    return ""
            case _:
                return ""
        return f"table: (T) => {self._table(node)}, size: (P) => {size}, "

    # one pair

    def _point(self, x):
        match x:
            case ast.Constant(value=bool() as value):
                return "true" if value else "false"
            case ast.Constant() | ast.Name():
                return self._scalar(x)
            case ast.UnaryOp(op=ast.Invert()):
                return f"!({self._point(x.operand)})"
            case ast.UnaryOp(op=ast.USub()):
                return f"(-{self._point(x.operand)})"
            case ast.Call(func=ast.Name(id="abs")):
                return f"Math.abs({self._point(x.args[0])})"
            case ast.Compare(left=a, ops=[op], comparators=[b]):
                return f"({self._point(a)} {_SIGNS[type(op)]} {self._point(b)})"
            case ast.BinOp(left=a, op=ast.BitAnd() | ast.BitOr() as op, right=b):
                return f"({self._point(a)} {'&&' if isinstance(op, ast.BitAnd) else '||'} {self._point(b)})"
            case ast.BinOp(left=a, op=ast.FloorDiv(), right=b):
                return f"Math.floor({self._point(a)} / {self._point(b)})"
            case ast.BinOp(left=a, op=ast.Mod(), right=b):
                a, b = self._point(a), self._point(b)
                return f"(({a} % {b} + {b}) % {b})"
            case ast.BinOp():
                return f"({self._point(x.left)} {_SIGNS[type(x.op)]} {self._point(x.right)})"
            case ast.Subscript(slice=ast.Tuple(elts=[r, c])):
                return f"{self._table(x)}.has({self._point(r)}, {self._point(c)})"
            case ast.Subscript():
                return f"{self._table(x)}.value({self._point(x.slice)})"
        raise NotImplementedError(f"no JavaScript for {ast.unparse(x)}")

    def _scalar(self, x):
        name = x.id if isinstance(x, ast.Name) else str(x.value)
        return f"P[{name[1:]}]" if name[0] == "P" else name

    def _table(self, x):
        table = getattr(x.value, "table", None)
        if not isinstance(table, Relation | Steps):
            raise NotImplementedError(f"the table of {ast.unparse(x)} is not known")
        found = [k for k, t in enumerate(self.tables) if t is table or (isinstance(t, Relation) and t == table)]
        if not found:
            self.tables.append(table)
        return f"T[{found[0] if found else len(self.tables) - 1}]"

    # rectangles

    def _let(self, text):
        self._names += 1
        self._lines.append(f"const v{self._names} = {text}")
        return f"v{self._names}"

    def _number(self, x):
        """JavaScript of a number that is the same everywhere, or a _Range."""
        if not any(isinstance(y, ast.Name) and y.id in "ij" for y in ast.walk(x)):
            return self._point(x)
        match x:
            case ast.Name(id=name):
                return _Range(f"{name}a", f"{name}b", f"{name}a")
            case ast.UnaryOp(op=ast.USub()):
                return self._number(ast.BinOp(x.operand, ast.Mult(), ast.UnaryOp(ast.USub(), ast.Constant(1))))
            case ast.Call():
                a = self._number(x.args[0])
                near, far = f"Math.min(Math.abs({a.lo}), Math.abs({a.hi}))", f"Math.max(Math.abs({a.lo}), Math.abs({a.hi}))"
                return _Range(self._let(f"{a.lo} <= 0 && {a.hi} >= 0 ? 0 : {near}"), self._let(far), "0", (a.base, *a.rest))
            case ast.Subscript():
                a, table = self._number(x.slice), self._table(x)
                return _Range(self._let(f"{table}.value({a.lo})"), self._let(f"{table}.value({a.hi})"), "0", (a.base, *a.rest))
        a, b, op = self._number(x.left), self._number(x.right), x.op
        if isinstance(op, ast.Add | ast.Sub):
            return self._sum(a, b, "+" if isinstance(op, ast.Add) else "-")
        if isinstance(op, ast.Mult):
            a, b = (a, b) if isinstance(a, _Range) else (b, a)
        if isinstance(b, _Range):
            raise NotImplementedError(f"no bounds for {ast.unparse(x)}")
        if isinstance(op, ast.Mult):
            ends = f"{a.lo} * {b}, {a.hi} * {b}"
            return _Range(self._let(f"Math.min({ends})"), self._let(f"Math.max({ends})"), self._let(f"{a.base} * {b}"), a.rest)
        rest = (self._let(f"({a.base} % {b} + {b}) % {b}"), *a.rest)
        if isinstance(op, ast.FloorDiv):
            return _Range(*(self._let(f"Math.floor({y} / {b})") for y in a[:3]), rest)
        if isinstance(op, ast.Mod):
            wraps = self._let(f"Math.floor({a.lo} / {b}) !== Math.floor({a.hi} / {b})")
            lo, hi = (self._let(f"{wraps} ? {end} : ({y} % {b} + {b}) % {b}") for y, end in ((a.lo, "0"), (a.hi, f"{b} - 1")))
            return _Range(lo, hi, "0", rest)
        raise NotImplementedError(f"no bounds for {ast.unparse(x)}")

    def _sum(self, a, b, sign):
        if isinstance(a, _Range) and isinstance(b, _Range):
            first, last = (b.lo, b.hi) if sign == "+" else (b.hi, b.lo)
            ends = self._let(f"{a.lo} {sign} {first}"), self._let(f"{a.hi} {sign} {last}")
            return _Range(*ends, self._let(f"{a.base} {sign} {b.base}"), a.rest + b.rest)
        if isinstance(a, _Range):
            return _Range(*(self._let(f"{y} {sign} ({b})") for y in a[:3]), a.rest)
        ends = (b.lo, b.hi, b.base) if sign == "+" else (b.hi, b.lo, b.base)
        return _Range(*(self._let(f"({a}) {sign} {y}") for y in ends), b.rest)

    def _verdict(self, x):
        """(some, every, first word, one past the last) of a condition; its marks are written only where it is undecided."""
        match x:
            case ast.UnaryOp(op=ast.Invert()):
                some, every, a, b = self._verdict(x.operand)
                return self._let(f"!{every}"), self._let(f"!{some}"), a, b
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                (s, e, a, _), (t, f, _, b) = self._verdict(x.left), self._verdict(x.right)
                sign = "&&" if isinstance(x.op, ast.BitAnd) else "||"
                some, every = self._let(f"{s} {sign} {t}"), self._let(f"{e} {sign} {f}")
                if b > a:
                    self._lines.append(f"if (!{some} || {every}) M.fill(0, at + {a}, at + {b})")
                return some, every, a, b
            case ast.Compare(left=a, ops=[op], comparators=[b]):
                return self._compared(self._number(a), op, self._number(b))
            case ast.Subscript(slice=ast.Tuple(elts=[r, c])):
                r, c = (y if isinstance(y, _Range) else _Range(y, y, y) for y in (self._number(r), self._number(c)))
                found = self._let(f"{self._table(x)}.judge({r.lo}, {r.hi}, {c.lo}, {c.hi})")
                return self._marked(self._let(f"{found} > 0"), self._let(f"{found} === 2"), (r.base, c.base, *r.rest, *c.rest))
        told = self._let(self._point(x))
        return told, told, self.words, self.words

    def _compared(self, a, op, b):
        if isinstance(a, str) and isinstance(b, str):
            told = self._let(f"{a} {_SIGNS[type(op)]} {b}")
            return told, told, self.words, self.words
        (al, ah, abase, *arest), (bl, bh, bbase, *brest) = (x if isinstance(x, _Range) else (x, x, x, ()) for x in (a, b))
        some, every = {
            ast.LtE: (f"{al} <= {bh}", f"{ah} <= {bl}"), ast.Lt: (f"{al} < {bh}", f"{ah} < {bl}"),
            ast.GtE: (f"{ah} >= {bl}", f"{al} >= {bh}"), ast.Gt: (f"{ah} > {bl}", f"{al} > {bh}"),
            ast.Eq: (f"{al} <= {bh} && {ah} >= {bl}", f"{al} === {bh} && {ah} === {bl}"),
            ast.NotEq: (f"!({al} === {bh} && {ah} === {bl})", f"{al} > {bh} || {ah} < {bl}"),
        }[type(op)]  # fmt: skip
        return self._marked(self._let(some), self._let(every), (f"{abase} - ({bbase})", *arest[0], *brest[0]))

    def _marked(self, some, every, marks):
        first, marks = self.words, ("1", *marks)
        self.words += len(marks)
        open_ = self._let(f"{some} && !{every}")
        self._lines += [f"M[at + {first + k}] = {open_} ? {mark} : 0" for k, mark in enumerate(marks)]
        return some, every, first, self.words
