"""e ** x and tanh(x) on register tiles, from one polynomial.

    x log2(e) = n + f        n a whole number, |f| <= 1/2
    e ** x = 2 ** n * 2 ** f

2 ** n is written into the exponent bits. 2 ** f is Taylor's series, which converges fast there: cut off below a tenth of a unit roundoff.
"""
from functools import reduce
from math import factorial, log

from numba import types
from numba.extending import intrinsic

from ._simd import _constant, _fma, _pack, _unpack

__all__ = ["exp", "tanh"]

COEFFICIENTS = {types.float32: [log(2) ** n / factorial(n) for n in range(8)],
                types.float64: [log(2) ** n / factorial(n) for n in range(14)]}


def _split(builder, x, t):
    """Return 2 ** n and f for t = n + f. Rounded by adding a large number, because LLVM leaves float -> int of NaN undefined."""
    mantissa, bias = (23, 127) if x.dtype == types.float32 else (52, 1023)
    integers, magic = x.integers(), _constant(x.vector(), 1.5 * 2.0 ** mantissa)
    z = builder.fadd(t, magic)
    n = builder.add(builder.bitcast(z, integers), _constant(integers, bias))
    return builder.bitcast(builder.shl(n, _constant(integers, mantissa)), x.vector()), builder.fsub(t, builder.fsub(z, magic))


def _series(builder, x, f, coefficients):
    """coefficients[0] + coefficients[1] * f + ..."""
    return reduce(lambda p, c: _fma(builder, p, f, c), [_constant(x.vector(), c) for c in reversed(coefficients)])


@intrinsic
def exp(typing, x):
    """e ** x for x <= 88.

    NaN stays NaN, because the power of two is multiplied in; added to the bits it would turn NaN into numbers. Below the smallest normal
    number the result is 0, so exp(-inf) == 0.
    """
    log2e, low = (_constant(x.vector(), c) for c in (1 / log(2), -127.0 if x.dtype == types.float32 else -1023.0))

    def one(builder, t):
        t = builder.fmul(t, log2e)
        power, f = _split(builder, x, builder.select(builder.fcmp_ordered("<", t, low), low, t))
        return builder.fmul(_series(builder, x, f, COEFFICIENTS[x.dtype]), power)

    def emit(context, builder, sig, args):
        return _pack(builder, x, [one(builder, t) for t in _unpack(builder, x, args[0])])
    return x(x), emit


@intrinsic
def tanh(typing, x):
    """y / (y + 2) with y = e ** 2|x| - 1, and the sign of x: no digits are lost near 0, and at 20 the result is 1."""
    zero, one, two, high, factor = (_constant(x.vector(), c) for c in (0.0, 1.0, 2.0, 20.0, 2 / log(2)))

    def of(builder, t):
        negative = builder.fcmp_ordered("<", t, zero)
        t = builder.select(negative, builder.fsub(zero, t), t)
        t = builder.select(builder.fcmp_ordered(">", t, high), high, t)
        power, f = _split(builder, x, builder.fmul(t, factor))
        y = builder.fmul(f, _series(builder, x, f, COEFFICIENTS[x.dtype][1:]))              # 2 ** f - 1
        y = _fma(builder, y, power, builder.fsub(power, one))
        y = builder.fdiv(y, builder.fadd(y, two))
        return builder.select(negative, builder.fsub(zero, y), y)

    def emit(context, builder, sig, args):
        return _pack(builder, x, [of(builder, t) for t in _unpack(builder, x, args[0])])
    return x(x), emit
