"""Global tokens, which attend to all and are attended by all, and sinks, which are only attended.

    Global([0, 3])  ██████   Sink(2)  ██....
                    █..█..            ██....
                    █..█..            ██....
                    ██████            ██....
                    █..█..            ██....
                    █..█..            ██....
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import index, or_

from sparsevis.pattern import Fits, Pattern, whole
from sparsevis.readings import Symbol

__all__ = ["Global", "Sink", "tokens_of"]


@dataclass(frozen=True, repr=False)
class Global(Pattern):
    """Global tokens: query i attends key j if either of them is global (Longformer, arXiv 2004.05150; ETC, 2004.08483).

    Parameters
    ----------
    tokens : int or iterable of int
        Positions of the global tokens; negative ones count from the end. With `block`, numbers of blocks.
    rows : bool
        Global queries attend every key.
    columns : bool
        Every query attends the global keys.
    block : int
        Count in blocks of this many positions, as BigBird's ITC form does; a last, shorter block counts.

    Raises
    ------
    ValueError
        If there is no token, if neither rows nor columns are asked for, or, when used at n keys, if a token lies outside.

    Examples
    --------
    >>> print(Global([0], columns=False).mask(3).astype(int))
    [[1 1 1]
     [0 0 0]
     [0 0 0]]
    """

    tokens: tuple[int, ...]
    rows: bool = True
    columns: bool = True
    block: int = 1
    ingredient = "global"

    def __post_init__(self):
        whole(self, "block", 1)
        object.__setattr__(self, "tokens", tuple(sorted(set(tokens_of(self.tokens)))))
        if not self.tokens:
            raise ValueError("Global: tokens is empty, and needs at least one position (leave Global out for none)")
        for name in ("rows", "columns"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"Global: {name} is {getattr(self, name)!r}, and needs True or False")
        if not (self.rows or self.columns):
            raise ValueError("Global: rows and columns are both False, and one of them needs to be True (else nothing is allowed)")

    @property
    def fits(self):
        """Long enough to have all the tokens."""
        size = max(self.tokens[-1] + 1, -self.tokens[0])
        return Fits((size - 1) * self.block + 1)

    def allows(self, q, k, n):
        """i in tokens, or j in tokens."""
        sides = [x for x, asked in ((q, self.rows), (k, self.columns)) if asked]
        return reduce(or_, [part for x in sides for part in self._member(x, n)])

    def _member(self, x, n):
        """x in tokens, as one comparison or two for each run of neighbours."""
        size = n if self.block == 1 else (n + (self.block - 1)) // self.block
        x = x if self.block == 1 else x // self.block
        if not isinstance(size, Symbol) and not (-size <= self.tokens[0] and self.tokens[-1] < size):
            what = "keys" if self.block == 1 else f"blocks of {self.block}"
            raise ValueError(f"Global: tokens are {self.tokens}, and need to lie from {-size} to {size - 1} for {size} {what}")
        for first, last in _runs(self.tokens):
            first, last, one = (size - -first if first < 0 else first), (size - -last if last < 0 else last), first == last
            yield x == first if one else (x >= first) & (x <= last)


@dataclass(frozen=True, repr=False)
class Sink(Pattern):
    """Every query attends the first `count` keys, which soak up attention (StreamingLLM, arXiv 2309.17453).

    Parameters
    ----------
    count : int
        How many leading keys.

    Examples
    --------
    >>> print(Sink(1).mask(3).astype(int))
    [[1 0 0]
     [1 0 0]
     [1 0 0]]
    """

    count: int
    ingredient = "sink"

    def __post_init__(self):
        whole(self, "count", 0)

    def allows(self, q, k, n):
        """j < count."""
        return k < self.count


def tokens_of(tokens):
    """Return one position, or several, as a tuple of plain ints."""
    try:
        return tuple(map(index, tokens)) if isinstance(tokens, Iterable) else (index(tokens),)
    except TypeError:
        raise TypeError(f"Global: tokens is {tokens!r}, and needs a position or a list of positions") from None


def _runs(tokens):
    """Neighbouring tokens as (first, last); a run does not cross from the end (-1) to the front (0)."""
    runs = []
    for t in tokens:
        if runs and t == runs[-1][1] + 1 and t != 0:
            runs[-1] = (runs[-1][0], t)
        else:
            runs.append((t, t))
    return runs
