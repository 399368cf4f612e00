"""What only Hopper has (compute capability 9.0), as functions: wgmma, mbarriers, TMA, setmaxnreg, named barriers. Beside `_ptx80`.

    barriers            mbar_* in shared memory, also told by copies that bytes have come
    copies              tma_load_4d: a box of an array, by one thread
    products            make_qk, make_pv: those of a whole tile, by 128 threads; wg_wait0, wg_wait1, and make_pin behind them
    registers           reg_inc_*, reg_dec_*: from one warpgroup to another

A wgmma reads shared memory through a descriptor and runs on its own until it is waited for; the compiler does not know that, so what
comes after a wait is pinned behind it. The products of a tile are one piece of assembly that a Python loop writes: unrolled at any size,
which loops in kernels are not. PTX ISA: "Asynchronous Warpgroup Level Matrix Instructions", "mbarrier", "cp.async.bulk.tensor".
"""
from llvmlite import ir

from ._ptx80 import asm, cuda, f32, i32, i64, instruction, intrinsic, signature, types

__all__ = [
    "cuda", "fence_mbar_init", "fence_tmap", "make_pin", "make_pv", "make_qk", "mbar_arrive", "mbar_arrive_if", "mbar_expect_tx",
    "mbar_init", "mbar_wait", "reg_dec_24", "reg_dec_32", "reg_inc_136", "reg_inc_160", "reg_inc_240", "sched_edge", "tma_load_4d",
    "wg_wait0", "wg_wait1",
]

LETTERS = {i32: "r", i64: "l", f32: "f"}


# ---------------------------------------------------------------- barriers and copies

mbar_init = instruction("mbar_init", "mbarrier.init.shared::cta.b64 [$0], $1;", "rr")
mbar_expect_tx = instruction("mbar_expect_tx", "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;", "rr")
mbar_arrive = instruction("mbar_arrive", "mbarrier.arrive.shared::cta.b64 _, [$0];", "r")
# A branch around an arrival would give every later shuffle code for threads that have parted.
mbar_arrive_if = instruction(
    "mbar_arrive_if", "{ .reg .pred p; setp.ne.u32 p, $1, 0; @p mbarrier.arrive.shared::cta.b64 _, [$0]; }", "rr")
# Until the phase of the given parity, 0 or 1, is over.
mbar_wait = instruction(
    "mbar_wait", "{ .reg .pred p; LW: mbarrier.try_wait.parity.shared::cta.b64 p, [$0], $1; @p bra LD; bra LW; LD: }", "rr")
fence_mbar_init = instruction("fence_mbar_init", "fence.mbarrier_init.release.cluster;")
fence_tmap = instruction("fence_tmap", "fence.proxy.tensormap::generic.acquire.gpu [$0], 128;", "l")
# To a shared address, by a tensor map, told to a barrier: column, row, head, batch element.
tma_load_4d = instruction(
    "tma_load_4d",
    "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [$0], [$1, {$3, $4, $5, $6}], [$2];", "rlrssss")


# ---------------------------------------------------------------- waits, registers, numbers

wg_wait0 = instruction("wg_wait0", "wgmma.wait_group.sync.aligned 0;")
wg_wait1 = instruction("wg_wait1", "wgmma.wait_group.sync.aligned 1;")
reg_inc_240 = instruction("reg_inc_240", "setmaxnreg.inc.sync.aligned.u32 240;")
reg_inc_136 = instruction("reg_inc_136", "setmaxnreg.inc.sync.aligned.u32 136;")
reg_inc_160 = instruction("reg_inc_160", "setmaxnreg.inc.sync.aligned.u32 160;")
reg_dec_32 = instruction("reg_dec_32", "setmaxnreg.dec.sync.aligned.u32 32;")
reg_dec_24 = instruction("reg_dec_24", "setmaxnreg.dec.sync.aligned.u32 24;")
# All that a sum of exponentials hangs on is issued before the next wait. The exit is never taken: sums are not below 0, and NaN compares
# false. Without it ptxas puts the wait for p v right behind the wait for q k^T, and nothing runs under the exponentials.
sched_edge = instruction("sched_edge", "{ .reg .pred p; setp.lt.f32 p, $0, 0f00000000; @p exit; }", "f")


# ---------------------------------------------------------------- products of whole tiles

def make_qk(keys, d, q_step, k_step, dtype="bf16", wait=True, name="qk"):
    """s[64 x keys] = q[64 x d] k[keys x d]^T, both in shared memory, d side by side, 128-byte swizzle.

    `q_step`, `k_step`: bytes from one group of 64 columns to the next. Called with (registers of s, descriptors of q and of k).
    """
    n = keys // 2
    out = _registers(0, n)
    lines = [".reg .b64 a, b;"]
    for step in range(d // 16):
        group, inside = divmod(step, 4)
        lines += [f"add.u64 a, ${n}, {(group * q_step + inside * 32) >> 4};",
                  f"add.u64 b, ${n + 1}, {(group * k_step + inside * 32) >> 4};",
                  f"wgmma.mma_async.sync.aligned.m64n{keys}k16.f32.{dtype}.{dtype} {out}, a, b, {'p' if step else '!p'}, 1, 1, 0, 0;"]
    text = _block(lines, wait)

    def product(typingctx, s, q, k):
        def codegen(context, builder, sig, args):
            _update(context, builder, sig, args, text, "f", n, [i64, i64], args[1:], fresh=True)
            return context.get_dummy_value()
        return signature(types.none, s, types.uint64, types.uint64), codegen
    return _named(product, name)


def make_pv(keys, dv, dtype="bf16", wait=True, name="pv"):
    """o[64 x dv] += p[64 x keys] v[keys x dv]: p in registers, two 16-bit numbers in each; v in shared memory, dv side by side, swizzled.

    Called with (registers of o, registers of p, descriptor of v).
    """
    n, held = dv // 2, keys // 4
    out = _registers(0, n)
    lines = [".reg .b64 b;"]
    for step in range(keys // 16):
        p = _registers(2 * n + 4 * step, 4)
        lines += [f"add.u64 b, ${2 * n + held}, {(step * 16 * 128) >> 4};",
                  f"wgmma.mma_async.sync.aligned.m64n{dv}k16.f32.{dtype}.{dtype} {out}, {p}, b, p, 1, 1, 1;"]
    text = _block(lines, wait)

    def product(typingctx, o, p, v):
        def codegen(context, builder, sig, args):
            values = [builder.load(x) for x in _elements(context, builder, sig.args[1], args[1], held)]
            _update(context, builder, sig, args, text, "f", n, [i32] * held + [i64], [*values, args[2]])
            return context.get_dummy_value()
        return signature(types.none, o, p, types.uint64), codegen
    return _named(product, name)


def make_pin(n, kind="f", name="pin"):
    """The first n numbers of a local array are made here, as far as the compiler knows: no use of them moves above the wait before."""
    def pin(typingctx, x):
        def codegen(context, builder, sig, args):
            _update(context, builder, sig, args, "", kind, n, [], [])
            return context.get_dummy_value()
        return signature(types.none, x), codegen
    return _named(pin, name)


def _registers(first, count):
    return "{" + ", ".join(f"${i}" for i in range(first, first + count)) + "}"


def _block(lines, wait):
    """Products behind a fence, as one group; `p` is true."""
    end = ["wgmma.commit_group.sync.aligned;"] + ["wgmma.wait_group.sync.aligned 0;"] * wait
    return "\n".join(["{", ".reg .pred p;", "setp.ne.b32 p, 1, 0;", "wgmma.fence.sync.aligned;", *lines, *end, "}"])


def _elements(context, builder, kind, array, n):
    data = context.make_array(kind)(context, builder, value=array).data
    return [builder.gep(data, [ir.Constant(i32, i)]) for i in range(n)]


def _update(context, builder, sig, args, text, letter, n, kinds, inputs, fresh=False):
    """Assembly that changes the first n numbers of the local array args[0] where they are, in registers; or makes them, if fresh."""
    kind = f32 if letter == "f" else i32
    where = _elements(context, builder, sig.args[0], args[0], n)
    old = [] if fresh else [builder.load(x) for x in where]
    constraints = ",".join([f"={letter}"] * n + [str(i) for i in range(len(old))] + [LETTERS[t] for t in kinds] + ["~{memory}"])
    out = asm(builder, ir.LiteralStructType([kind] * n), [kind] * len(old) + kinds, text, constraints, old + list(inputs))
    for i, x in enumerate(where):
        builder.store(builder.extract_value(out, i), x)


def _named(function, name):
    function.__name__ = name
    return intrinsic(function)
