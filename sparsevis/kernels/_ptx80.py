"""What numba.cuda cannot say by itself, for GPUs of compute capability 8.0 and newer: single PTX instructions as functions.

    tensor cores        mma_bf16, mma_f16; ldmatrix_x4, ldmatrix_x4_trans bring their operands
    copies in flight    cp_async16, cp_commit, cp_wait0, cp_wait1
    the warp            shfl_bfly_f32, shfl_bfly_u32, uniform_i32, warp_sync
    fast functions      ex2, lg2, rcp: 2 ** x, log2(x), 1 / x, to about 22 bits; pack_bf16, pack_f16: two numbers in 32 bits
    memory              lds_*, sts_* shared, by 32-bit address; ldg_*, stg_* global, by 64-bit address or by base and element

Each is inline assembly (PTX ISA, section 9.7); no CUDA C++, no linked file. An instruction that touches memory is written so that the
compiler moves no other across it. Kernels for tensor cores take `cuda` from here, and so tests can run them where there is no GPU.
"""
from inspect import Parameter, Signature

from llvmlite import ir
from numba import config, cuda
from numba.cuda.extending import intrinsic

try:
    from numba.cuda import cgutils, types
    from numba.cuda.typing import signature
except ImportError:                                      # Numba's own CUDA target, before numba-cuda
    from numba.core import cgutils, types
    from numba.core.typing import signature

__all__ = [
    "asm", "cp_async16", "cp_commit", "cp_wait0", "cp_wait1", "cuda", "ex2", "f32", "f64", "gmem_addr", "i32", "i64",
    "inline", "instruction", "ldg_f32", "ldg_i32", "ldg_u32", "ldmatrix_x4", "ldmatrix_x4_trans", "lds_f32", "lds_f64",
    "lds_v2_f64", "lds_v4_f32", "lds_v4_u32", "lg2", "mma_bf16", "mma_f16", "pack_bf16", "pack_f16", "rcp", "shfl_bfly_f32",
    "shfl_bfly_f64", "shfl_bfly_u32", "smem_addr", "stg_f32", "stg_v4_u32", "sts_f32", "sts_f64", "sts_u32",
    "sts_v4_u32", "uniform_i32", "void", "warp_sync",
]

i32, i64, f32, f64, void = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType(), ir.VoidType()

# A letter for each operand: Numba's type, LLVM's type, the register's kind in assembly.
OPERANDS = {"r": (types.uint32, i32, "r"), "s": (types.int32, i32, "r"), "l": (types.uint64, i64, "l"), "f": (types.float32, f32, "f"),
            "d": (types.float64, f64, "d")}


def inline(function):
    """Compile a part of a kernel that leaves no call behind: registers handed to a call would go through memory."""
    return cuda.jit(device=True, **({} if config.ENABLE_CUDASIM else {"forceinline": True}))(function)


def asm(builder, returned, taken, text, constraints, arguments, side_effect=True):
    """Insert assembly: `$0`, `$1`, ... are the outputs and then the inputs; a constraint "0" puts an input where output 0 is.

    Statements with side effects keep their order; "~{memory}" keeps loads and stores on their side of it. Labels are local inside { }.
    """
    return builder.call(ir.InlineAsm(ir.FunctionType(returned, taken), text, constraints, side_effect=side_effect), arguments)


def instruction(name, text, inputs="", outputs="", pure=False):
    """Return assembly as a function for kernels.

    Parameters
    ----------
    name : str
        For error messages.
    text : str
        PTX; operands are `$0`, `$1`, ...: the outputs, then the inputs.
    inputs, outputs : str
        A letter for each: r uint32, s int32, l uint64, f float32, d float64. Several outputs come as a tuple, and are of one type.
    pure : bool
        Whether the outputs depend on the inputs alone: it may then be moved, and left out where nobody reads them.
    """
    taken, given = [OPERANDS[x] for x in inputs], [OPERANDS[x] for x in outputs]
    constraints = ",".join(["=" + x[2] for x in given] + [x[2] for x in taken] + ([] if pure else ["~{memory}"]))
    returned = void if not given else given[0][1] if len(given) == 1 else ir.LiteralStructType([x[1] for x in given])
    kind = types.none if not given else given[0][0] if len(given) == 1 else types.UniTuple(given[0][0], len(given))

    def codegen(context, builder, sig, args):
        r = asm(builder, returned, [x[1] for x in taken], text, constraints, args, not pure)
        if len(given) > 1:
            return cgutils.pack_array(builder, [builder.extract_value(r, i) for i in range(len(given))])
        return r if given else context.get_dummy_value()

    def typed(typingctx, *args):
        return signature(kind, *(x[0] for x in taken)), codegen
    return _named(name, typed, len(taken))


def _named(name, typed, count):
    """An intrinsic of so many arguments, which Numba reads from the signature."""
    names = ["typingctx"] + [f"x{i}" for i in range(count)]
    typed.__name__, typed.__signature__ = name, Signature([Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in names])
    return intrinsic(typed)


# ---------------------------------------------------------------- tensor cores

def _mma(name, kinds, shape="m16n8k16"):
    """d = a b + c by one warp: a 16 x k in 4 registers of each thread, b k x 8 in 2, c and d 16 x 8 float32 in 4."""
    text = f"mma.sync.aligned.{shape}.row.col.f32.{kinds}.f32 {{$0, $1, $2, $3}}, {{$4, $5, $6, $7}}, {{$8, $9}}, {{$10, $11, $12, $13}};"
    constraints, returned = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4), ir.LiteralStructType([f32] * 4)

    def codegen(context, builder, sig, args):
        values = [builder.extract_value(x, i) for x, n in zip(args, (4, 2, 4), strict=True) for i in range(n)]
        r = asm(builder, returned, [i32] * 6 + [f32] * 4, text, constraints, values, side_effect=False)
        return cgutils.pack_array(builder, [builder.extract_value(r, i) for i in range(4)])

    def typed(typingctx, a, b, c):
        u, f = types.uint32, types.float32
        return signature(types.UniTuple(f, 4), types.UniTuple(u, 4), types.UniTuple(u, 2), types.UniTuple(f, 4)), codegen
    return _named(name, typed, 3)


mma_bf16 = _mma("mma_bf16", "bf16.bf16")
mma_f16 = _mma("mma_f16", "f16.f16")

# Four 8 x 8 matrices of 16-bit numbers; lane l gives the address of row l % 8 of matrix l // 8.
ldmatrix_x4 = instruction("ldmatrix_x4", "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0, $1, $2, $3}, [$4];", "r", "rrrr")
ldmatrix_x4_trans = instruction("ldmatrix_x4_trans", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {$0, $1, $2, $3}, [$4];", "r", "rrrr")


# ---------------------------------------------------------------- copies in flight

# 16 bytes to a shared address from a global one; the third operand says how many are read (0 or 16), the rest become zeros.
cp_async16 = instruction("cp_async16", "cp.async.cg.shared.global.L2::128B [$0], [$1], 16, $2;", "rlr")
cp_commit = instruction("cp_commit", "cp.async.commit_group;")          # what was asked for since the last one is a group
cp_wait0 = instruction("cp_wait0", "cp.async.wait_group 0;")            # all groups of this thread have landed
cp_wait1 = instruction("cp_wait1", "cp.async.wait_group 1;")            # all but the latest


# ---------------------------------------------------------------- the warp

# The value of the lane whose number differs by the bits of the second argument.
shfl_bfly_f32 = instruction("shfl_bfly_f32", "shfl.sync.bfly.b32 $0, $1, $2, 0x1f, 0xffffffff;", "fr", "f")
shfl_bfly_u32 = instruction("shfl_bfly_u32", "shfl.sync.bfly.b32 $0, $1, $2, 0x1f, 0xffffffff;", "rr", "r")
shfl_bfly_f64 = instruction(
    "shfl_bfly_f64", "{ .reg .b32 x, y; mov.b64 {x, y}, $1; shfl.sync.bfly.b32 x, x, $2, 0x1f, 0xffffffff; "
    "shfl.sync.bfly.b32 y, y, $2, 0x1f, 0xffffffff; mov.b64 $0, {x, y}; }", "dr", "d")
# Lane 0's value: what is the same in all lanes anyway; so the compiler knows that a loop or a branch by it does not split the warp.
uniform_i32 = instruction("uniform_i32", "shfl.sync.idx.b32 $0, $1, 0, 0x1f, 0xffffffff;", "s", "s")
# Shared memory that any lane wrote is visible to all lanes of the warp.
warp_sync = instruction("warp_sync", "bar.warp.sync 0xffffffff;")


# ---------------------------------------------------------------- fast functions

ex2 = instruction("ex2", "ex2.approx.ftz.f32 $0, $1;", "f", "f", pure=True)
lg2 = instruction("lg2", "lg2.approx.ftz.f32 $0, $1;", "f", "f", pure=True)
rcp = instruction("rcp", "rcp.approx.ftz.f32 $0, $1;", "f", "f", pure=True)
pack_bf16 = instruction("pack_bf16", "cvt.rn.bf16x2.f32 $0, $2, $1;", "ff", "r", pure=True)      # the first in the lower half
pack_f16 = instruction("pack_f16", "cvt.rn.f16x2.f32 $0, $2, $1;", "ff", "r", pure=True)


# ---------------------------------------------------------------- memory

lds_f32 = instruction("lds_f32", "ld.shared.f32 $0, [$1];", "r", "f")
lds_f64 = instruction("lds_f64", "ld.shared.f64 $0, [$1];", "r", "d")
lds_v2_f64 = instruction("lds_v2_f64", "ld.shared.v2.f64 {$0, $1}, [$2];", "r", "dd")
lds_v4_f32 = instruction("lds_v4_f32", "ld.shared.v4.f32 {$0, $1, $2, $3}, [$4];", "r", "ffff")
lds_v4_u32 = instruction("lds_v4_u32", "ld.shared.v4.b32 {$0, $1, $2, $3}, [$4];", "r", "rrrr")
sts_f32 = instruction("sts_f32", "st.shared.f32 [$0], $1;", "rf")
sts_f64 = instruction("sts_f64", "st.shared.f64 [$0], $1;", "rd")
sts_u32 = instruction("sts_u32", "st.shared.b32 [$0], $1;", "rr")
sts_v4_u32 = instruction("sts_v4_u32", "st.shared.v4.b32 [$0], {$1, $2, $3, $4};", "rrrrr")
stg_v4_u32 = instruction("stg_v4_u32", "st.global.v4.b32 [$0], {$1, $2, $3, $4};", "lrrrr")


def _element(builder, base, i, kind):
    """Pointer to element i of an array in global memory."""
    pointer = builder.inttoptr(base, kind.as_pointer(1))
    return builder.gep(pointer, [builder.zext(i, i64)], source_etype=kind)


def _ldg(name, letter):
    """Element i of an array that no kernel writes meanwhile, given by the address of its first one; the compiler may load it early."""
    numba_type, kind, _ = OPERANDS[letter]

    def codegen(context, builder, sig, args):
        r = builder.load(_element(builder, *args, kind), align=4, typ=kind)
        r.set_metadata("invariant.load", builder.module.add_metadata([]))
        return r

    def typed(typingctx, base, i):
        return signature(numba_type, types.uint64, types.uint32), codegen
    return _named(name, typed, 2)


ldg_i32, ldg_u32, ldg_f32 = _ldg("ldg_i32", "s"), _ldg("ldg_u32", "r"), _ldg("ldg_f32", "f")


@intrinsic
def stg_f32(typingctx, base, i, x):
    """Store element i of a float32 array, given by the address of its first one."""
    def codegen(context, builder, sig, args):
        builder.store(args[2], _element(builder, args[0], args[1], f32), align=4)
        return context.get_dummy_value()
    return signature(types.none, types.uint64, types.uint32, types.float32), codegen


@intrinsic
def smem_addr(typingctx, array):
    """The 32-bit address of a shared array's first byte."""
    def codegen(context, builder, sig, args):
        first = context.make_array(sig.args[0])(context, builder, value=args[0]).data
        return builder.ptrtoint(builder.addrspacecast(first, first.type.pointee.as_pointer(3)), i32)
    return signature(types.uint32, array), codegen


@intrinsic
def gmem_addr(typingctx, array):
    """The 64-bit address of a global array's first byte."""
    def codegen(context, builder, sig, args):
        return builder.ptrtoint(context.make_array(sig.args[0])(context, builder, value=args[0]).data, i64)
    return signature(types.uint64, array), codegen
