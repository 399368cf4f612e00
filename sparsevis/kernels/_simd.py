"""A register tile: a small block of a matrix held in vector registers, as a Numba type.

A `Tile` has `rows x cols` vectors of WIDTH bytes. Every operation below is a few LLVM instructions, and LLVM keeps a tile in registers as
long as it fits (AVX-512 has 32 of them: a 4 x 4 tile leaves 16 for operands). The vector width is written down, not hoped for. Measured
(2 cores of Zen 4, float32): 223 of the 230 GFLOP/s the cores can do, against 181 for loops left to the vectoriser, which loads and
stores the sums in every step.
"""
import operator
from functools import reduce

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model


def shapes(features):
    """Bytes in a vector register, and the (rows, vectors) of the tile for full and of the tile for partial tiles of a layout.

    A full tile is worked on all lanes at once; a partial one in strips of lanes, so that fewer of them are wasted.
    """
    features = set(features.split(","))
    if "+avx512f" in features:
        return 64, (4, 4), (8, 1)
    if "+avx2" in features:                     # 16 registers; the others have 32
        return 32, (4, 2), (8, 1)
    return 16, (4, 4), (8, 2)


# the features Numba compiles for, not those of the host: they differ where NUMBA_CPU_FEATURES is set
WIDTH, WIDE, NARROW = shapes(get_host_cpu_features() if numba.config.CPU_FEATURES is None else numba.config.CPU_FEATURES)


def lanes(dtype):
    """How many queries stand side by side in a wide tile."""
    return WIDE[1] * WIDTH // np.dtype(dtype).itemsize


class Tile(types.Type):
    """The Numba type: `rows` times `cols` vectors of `width` numbers, aligned like one number."""

    def __init__(self, dtype, rows, cols):
        self.dtype, self.rows, self.cols = dtype, rows, cols
        self.align = dtype.bitwidth // 8
        self.width = WIDTH // self.align
        super().__init__(name=f"Tile({dtype}, {rows}x{cols})")

    def vector(self):
        return ir.VectorType(ir.FloatType() if self.dtype == types.float32 else ir.DoubleType(), self.width)

    def integers(self):
        return ir.VectorType(ir.IntType(self.dtype.bitwidth), self.width)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm, tile):
        super().__init__(dmm, tile, ir.ArrayType(tile.vector(), tile.rows * tile.cols))


# ---------------------------------------------------------------- building blocks in LLVM's language

def _pointer(context, builder, array_type, array, i, j):
    """Address of array[i, j]; the numbers of a row lie side by side."""
    view = context.make_array(array_type)(context, builder, array)
    if array_type.layout == "C":
        return cgutils.get_item_pointer(context, builder, array_type, view, [i, j], wraparound=False)
    start = builder.bitcast(view.data, ir.IntType(8).as_pointer())
    row = builder.gep(start, [builder.mul(i, builder.extract_value(view.strides, 0))])
    return builder.gep(builder.bitcast(row, view.data.type), [j])


def _splat(builder, vector, scalar):
    """The scalar in every lane."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def _constant(vector, value):
    return ir.Constant(vector, [value] * vector.count)


def _fma(builder, a, b, c):
    """Return a * b + c, fused where the processor can; `llvm.fma` would call the C library, lane by lane, where it cannot."""
    v = a.type
    name = f"llvm.fmuladd.v{v.count}f{32 if isinstance(v.element, ir.FloatType) else 64}"
    return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(v, [v] * 3), name), [a, b, c])


def _pack(builder, tile, vectors):
    out = ir.Constant(ir.ArrayType(tile.vector(), tile.rows * tile.cols), ir.Undefined)
    for n, v in enumerate(vectors):
        out = builder.insert_value(out, v, n)
    return out


def _unpack(builder, tile, value):
    return [builder.extract_value(value, n) for n in range(tile.rows * tile.cols)]


def _elements(builder, base, tile):
    """Pointers to the vectors of one tile row that begins at address `base`."""
    start = builder.bitcast(base, tile.vector().as_pointer())
    return [builder.gep(start, [ir.Constant(ir.IntType(32), c)]) for c in range(tile.cols)]


def _all_elements(context, builder, array_type, array, i, j, tile):
    """Pointers to the vectors of array[i : i + rows, j : j + cols vectors]."""
    rows = [_pointer(context, builder, array_type, array, row, j) for row in _counted(builder, i, tile.rows)]
    return [p for row in rows for p in _elements(builder, row, tile)]


def _counted(builder, i, count):
    return [builder.add(i, ir.Constant(i.type, r)) for r in range(count)]


# ---------------------------------------------------------------- memory and numbers

# The literal types stay in the signatures: Numba looks code up by argument types alone, and plain integers would share one shape.

@intrinsic(prefer_literal=True)
def zeros(typing, like, rows, cols):
    """Build a tile of zeros, of like's dtype."""
    tile = Tile(like.dtype, rows.literal_value, cols.literal_value)

    def emit(context, builder, sig, args):
        return _pack(builder, tile, [ir.Constant(tile.vector(), None)] * (tile.rows * tile.cols))
    return tile(like, rows, cols), emit


@intrinsic(prefer_literal=True)
def ramp(typing, like, cols):
    """Build a tile of one row: 0, 1, 2, ..."""
    tile = Tile(like.dtype, 1, cols.literal_value)

    def emit(context, builder, sig, args):
        starts = range(0, tile.cols * tile.width, tile.width)
        return _pack(builder, tile, [ir.Constant(tile.vector(), [float(n) for n in range(c, c + tile.width)]) for c in starts])
    return tile(like, cols), emit


@intrinsic(prefer_literal=True)
def load(typing, x, i, j, rows, cols):
    """x[i : i + rows, j : j + cols vectors]"""
    tile = Tile(x.dtype, rows.literal_value, cols.literal_value)

    def emit(context, builder, sig, args):
        pointers = _all_elements(context, builder, x, *args[:3], tile)
        return _pack(builder, tile, [builder.load(p, align=tile.align) for p in pointers])
    return tile(x, types.intp, types.intp, rows, cols), emit


@intrinsic
def store(typing, x, i, j, tile):
    """x[i : i + rows, j : j + cols vectors] = tile"""
    def emit(context, builder, sig, args):
        pointers = _all_elements(context, builder, x, *args[:3], tile)
        for value, p in zip(_unpack(builder, tile, args[3]), pointers, strict=True):
            builder.store(value, p, align=tile.align)
    return types.void(x, types.intp, types.intp, tile), emit


# ---------------------------------------------------------------- the rank-1 update, heart of every product

def _rank1(builder, tile, value, scalars, base):
    row = [builder.load(p, align=tile.align) for p in _elements(builder, base, tile)]
    old, new = _unpack(builder, tile, value), []
    for r in range(tile.rows):
        a = _splat(builder, tile.vector(), scalars[r])
        new += [_fma(builder, a, row[c], old[r * tile.cols + c]) for c in range(tile.cols)]
    return _pack(builder, tile, new)


@intrinsic
def add_rows(typing, tile, a, i, p, b, j):
    """tile[r, :] += a[i + r, p] * b[p, j...]"""
    def emit(context, builder, sig, args):
        t, a_, i_, p_, b_, j_ = args
        scalars = [builder.load(_pointer(context, builder, a, a_, row, p_)) for row in _counted(builder, i_, tile.rows)]
        return _rank1(builder, tile, t, scalars, _pointer(context, builder, b, b_, p_, j_))
    return tile(tile, a, types.intp, types.intp, b, types.intp), emit


@intrinsic
def add_columns(typing, tile, a, p, i, b, q, j):
    """tile[r, :] += a[p, i + r] * b[q, j...]"""
    def emit(context, builder, sig, args):
        t, a_, p_, i_, b_, q_, j_ = args
        scalars = [builder.load(_pointer(context, builder, a, a_, p_, column)) for column in _counted(builder, i_, tile.rows)]
        return _rank1(builder, tile, t, scalars, _pointer(context, builder, b, b_, q_, j_))
    return tile(tile, a, types.intp, types.intp, b, types.intp, types.intp), emit


# ---------------------------------------------------------------- lane by lane

def _lanewise(combine):
    """Make an operation on two tiles of one shape, or on a tile and a number."""
    @intrinsic
    def operation(typing, x, y):
        tile = x if isinstance(x, Tile) else y

        def emit(context, builder, sig, args):
            def vectors(kind, value):
                if isinstance(kind, Tile):
                    return _unpack(builder, tile, value)
                return [_splat(builder, tile.vector(), value)] * (tile.rows * tile.cols)
            pairs = zip(vectors(x, args[0]), vectors(y, args[1]), strict=True)
            return _pack(builder, tile, [combine(builder, a, b) for a, b in pairs])
        return tile(x if isinstance(x, Tile) else tile.dtype, y if isinstance(y, Tile) else tile.dtype), emit
    return operation


def _register(symbol, operation):
    @overload(symbol)
    def _(x, y):
        if isinstance(x, Tile) or isinstance(y, Tile):
            return lambda x, y: operation(x, y)


_register(operator.add, _lanewise(lambda b, x, y: b.fadd(x, y)))
_register(operator.sub, _lanewise(lambda b, x, y: b.fsub(x, y)))
_register(operator.mul, _lanewise(lambda b, x, y: b.fmul(x, y)))
larger = _lanewise(lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))     # where x is NaN the answer is y
least = _lanewise(lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), y, x))      # where x is NaN the answer is x


@intrinsic
def finite_or_zero(typing, x):
    """Replace -inf by 0: what may be subtracted from a score."""
    def emit(context, builder, sig, args):
        low, zero, old = _constant(x.vector(), float("-inf")), _constant(x.vector(), 0.0), _unpack(builder, x, args[0])
        return _pack(builder, x, [builder.select(builder.fcmp_ordered("==", t, low), zero, t) for t in old])
    return x(x), emit


@intrinsic
def any_greater(typing, x, y):
    """Does some lane of x exceed the same lane of y?"""
    def emit(context, builder, sig, args):
        pairs = zip(_unpack(builder, x, args[0]), _unpack(builder, x, args[1]), strict=True)
        found = reduce(builder.or_, [builder.fcmp_ordered(">", a, b) for a, b in pairs])
        bits = builder.bitcast(found, ir.IntType(x.width))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))
    return types.boolean(x, x), emit


@intrinsic
def all_zero(typing, x):
    """Is every number 0, and none NaN?"""
    def emit(context, builder, sig, args):
        zero = _constant(x.vector(), 0.0)
        found = reduce(builder.and_, [builder.fcmp_ordered("==", t, zero) for t in _unpack(builder, x, args[0])])
        bits = builder.bitcast(found, ir.IntType(x.width))
        return builder.icmp_unsigned("==", bits, ir.Constant(bits.type, -1))
    return types.boolean(x), emit


@intrinsic
def select(typing, bits, x, y):
    """Lane n of x where bit n of `bits` is set, else of y (x, y: tiles of one row)."""
    def emit(context, builder, sig, args):
        out = []
        for c, (a, b) in enumerate(zip(_unpack(builder, x, args[1]), _unpack(builder, x, args[2]), strict=True)):
            part = builder.lshr(args[0], ir.Constant(args[0].type, c * x.width))
            mask = builder.bitcast(builder.trunc(part, ir.IntType(x.width)), ir.VectorType(ir.IntType(1), x.width))
            out.append(builder.select(mask, a, b))
        return _pack(builder, x, out)
    return x(types.uint64, x, x), emit


# ---------------------------------------------------------------- work queue

@intrinsic
def take_next(typing, counter):
    """counter[0]++, atomically; returns the old value. Threads draw work items from it."""
    def emit(context, builder, sig, args):
        view = context.make_array(counter)(context, builder, args[0])
        return builder.atomic_rmw("add", view.data, ir.Constant(ir.IntType(64), 1), "monotonic")
    return types.int64(counter), emit
