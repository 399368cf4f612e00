"""Block-sparse attention on the tensor cores of any GPU since 2020: a warp multiplies matrices of 16 x 8 x 16, float16 or bfloat16.

    every query block of every head at once, longest lists first, each by a block of threads:
        q to shared memory; the first k on its way
        for each key block that the layout lists:
            v on its way, and the next k            cp.async: no thread waits, no register holds them
            s = q k^T                               a warp owns 32 rows, or 16; fragments by ldmatrix
            mask of stored bits, if it has one; one step of the online softmax, in base 2
            o += p v                                p stays in registers: the layout of a sum is that of a factor
        o / l, m + log(l)                           through shared memory, 16 bytes a lane

Differs from `cuda_tiled`: the products run on tensor cores, which take 16-bit numbers and add in float32; copies overlap with work; scores
and probabilities never leave registers. With 32 rows a warp each fragment of k and v feeds two products: with 16, reading shared memory
takes as long as multiplying. In shared memory the 16-byte pieces of row r stand in the order of their number XOR r mod 8, so that
neither copies nor ldmatrix meet in a bank. Measured on an H200, bfloat16, causal, 8,192 tokens: 253 TFLOP/s at head
dimension 64 and 294 at 128, where `cuda_tiled` makes 37.5 and 38.9 in float32.

Probabilities are rounded to 16 bits before they meet v; their sum is of the unrounded ones. A NaN or infinity in a masked row of v leaks
inside a tile that is visited (0 * NaN), and a row whose allowed scores are all -inf counts as empty; masked q and k do not leak. Head
dimensions up to 256 in multiples of 8, filled up to 16 with zeros; keys and values may differ. Without scores of bias or slopes.
"""
import math
from functools import cache
from typing import NamedTuple

import numpy as np

from . import _cuda_call, _cuda_mma_backward
from . import _ptx80 as ptx
from ._cuda_call import SHORT, Built, Plan, scale_in_bits
from ._cuda_mma_memory import filled, lane_at, make_load, piece_at, pitch, put, step_at, taken
from ._cuda_needs import Needs
from ._ptx80 import cuda, ex2, inline

__all__ = ["BLOCK", "HALVES", "HALVES_BACK", "NEEDS", "Tile", "backward", "factors", "forward", "make_attend", "tile_of"]

NEEDS = Needs(("float16", "bfloat16"), (8, 0), multiple=8, largest=256, features=("softcap", "sinks"), gradients=True)
BLOCK, HALVES, HALVES_BACK = (128, 64), NEEDS.dtypes, NEEDS.dtypes
KEYS = 64                       # of a tile: its scores are 64 registers of a thread that has 32 rows in its warp
SIGNATURE = ("uint64",) * 12 + ("uint32",) * 4 + ("uint64",) * 11 + ("float32",) * 2
u32, u64, i32, f32 = np.uint32, np.uint64, np.int32, np.float32
LN2, LOG2E = f32(math.log(2)), f32(math.log2(math.e))
NOTHING, ZERO, ONE, TWO = f32(-np.inf), f32(0), f32(1), f32(2)


def forward(q, k, v, layout, *, scale, softcap=None, sinks=None):
    """Attention over the layout's tiles; arguments and results as every kernel's (see `sparsevis.kernels`)."""
    return _cuda_call.forward("cuda_mma", NEEDS, _plan, q, k, v, layout, scale=scale, softcap=softcap, sinks=sinks)


def _plan(sizes, layout, scale, softcap):
    (_, heads, nq, d), (_, _, nk, _), (*_, dv) = sizes.shapes
    limit = cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    built = make_attend(d, dv, SHORT[sizes.dtype], softcap is not None, tile_of(d, dv, limit))
    strides = [s for by_batch, by_head, by_row, _ in sizes.strides for s in (by_row, by_head, by_batch)]
    scalars = heads, sizes.group, nq, nk, *strides, dv * 2, nq * dv * 2, *factors(scale, softcap)
    return Plan(sizes, layout, built, scalars)


def factors(scale, softcap):
    """The two numbers by which scores become exponents of 2: (factor, limit); limit * tanh(scale * s / softcap) where there is a cap.

    >>> factors(1.0, None), factors(1.0, 2.0)
    ((1.4426950216293335, 0.0), (1.4426950216293335, 2.8853900817779268))
    """
    bits = scale_in_bits(scale)
    return (bits, 0.0) if softcap is None else (2 * bits / softcap, softcap * math.log2(math.e))


def backward(do, q, k, v, o, lse, layout, *, scale, dlse=None, softcap=None, sinks=None):
    """Return (dq, dk, dv); arguments as those of `cpu.backward`. Sums have one owner each: the same bits in every run."""
    return _cuda_mma_backward.backward(NEEDS, do, q, k, v, o, lse, layout, scale=scale, dlse=dlse, softcap=softcap)


# ---------------------------------------------------------------- tiles

class Tile(NamedTuple):
    """How a block of threads is made: query rows, warps, and places in shared memory for k."""

    rows: int
    warps: int
    stages: int

    def shared(self, d, dv):
        """Bytes of shared memory: q, the places for k, one for v; at the end o lies where q, k and v were; two addresses."""
        q, k, v = self.rows * pitch(d), KEYS * pitch(d), KEYS * pitch(dv)
        return max(q + self.stages * k + v, self.rows * pitch(dv)) + 16


def tile_of(d, dv, limit):
    """The best tile for head dimensions and the bytes of shared memory that a block of threads may have on a GPU.

    More than 128 columns of values leave registers for 16 rows a warp only. Consumer cards give 99 KiB, an A100 163, an H100 227.

    >>> tile_of(128, 128, 99 << 10), tile_of(256, 256, 163 << 10), tile_of(256, 256, 99 << 10)
    (Tile(rows=128, warps=4, stages=2), Tile(rows=128, warps=8, stages=2), Tile(rows=64, warps=4, stages=1))
    """
    warps = 4 if dv <= 128 else 8
    for tile in (Tile(128, warps, 2), Tile(128, warps, 1), Tile(64, 4, 2), Tile(64, 4, 1)):
        if tile.shared(d, dv) <= limit:
            return tile
    raise NotImplementedError(f"impl='cuda_mma' needs {tile.shared(d, dv)} bytes of shared memory for head dimensions {d} and {dv}, "
                              f"and this GPU has {limit}: impl='cuda_tiled' takes float32")


# ---------------------------------------------------------------- one block of threads

@cache
def make_attend(d, dv, dtype="bf16", softcap=False, tile=None):
    """Build the kernel for head dimensions, 16-bit numbers ("bf16" or "f16") and a tile, the one for consumer cards if none is given."""
    rows, warps, stages = tile = tile or tile_of(d, dv, 99 << 10)
    threads, own = 32 * warps, rows // warps                         # rows that a warp owns
    halves, columns, outputs = own // 16, KEYS // 8, filled(dv) // 8 # sums of 16 x 8: down, across the scores, across the output
    q_pitch, v_pitch, words, steps = pitch(d), pitch(dv), KEYS // 32, filled(d) // 16
    q_bytes, k_bytes, room = rows * q_pitch, KEYS * q_pitch, tile.shared(d, dv) - 16
    s_size, o_size, p_size, m_size = halves * columns * 4, halves * outputs * 4, halves * 4, halves * 2
    pieces = dv // 8                                                 # of 16 bytes in a row of the output
    turns = -(-own * pieces // 32)
    mma, pack = (ptx.mma_bf16, ptx.pack_bf16) if dtype == "bf16" else (ptx.mma_f16, ptx.pack_f16)
    load_q, load_k, load_v = (make_load(n, size, threads) for n, size in ((rows, d), (KEYS, d), (KEYS, dv)))

    @inline
    def multiply(S, q, k, lane):
        """S = q k^T: 16 columns of d a step; a fragment of k serves all the rows of the warp."""
        A = cuda.local.array(p_size, np.uint32)
        q_at = lane_at(q, lane & u32(15), lane >> u32(4), q_pitch)
        k_at = lane_at(k, (lane & u32(7)) + (lane >> u32(4)) * u32(8), lane >> u32(3) & u32(1), q_pitch)
        for i in range(s_size):
            S[i] = ZERO
        for step in range(steps):
            for m in range(halves):
                a = ptx.ldmatrix_x4(u32(step_at(q_at, step) + u32(m * 16 * q_pitch)))
                A[4 * m], A[4 * m + 1], A[4 * m + 2], A[4 * m + 3] = a[0], a[1], a[2], a[3]
            for n in range(columns // 2):
                b = ptx.ldmatrix_x4(u32(step_at(k_at, step) + u32(n * 16 * q_pitch)))
                for m in range(halves):
                    add(S, (m * columns + 2 * n) * 4, A, 4 * m, b)

    @inline
    def add(S, e, A, i, b):
        """Two sums of 16 x 8 side by side, S[e:e + 8], grow by the 16 x 16 matrix A[i:i + 4] times 16 x 16."""
        a = (A[i], A[i + 1], A[i + 2], A[i + 3])
        c = mma(a, (b[0], b[1]), (S[e], S[e + 1], S[e + 2], S[e + 3]))
        S[e], S[e + 1], S[e + 2], S[e + 3] = c[0], c[1], c[2], c[3]
        c = mma(a, (b[2], b[3]), (S[e + 4], S[e + 5], S[e + 6], S[e + 7]))
        S[e + 4], S[e + 5], S[e + 6], S[e + 7] = c[0], c[1], c[2], c[3]

    @inline
    def weigh(O, S, v, lane):
        """O += P v, 16 keys a step: two neighbouring sums of 16 x 8 of S are, packed, a factor of 16 x 16."""
        A = cuda.local.array(p_size, np.uint32)
        v_at = lane_at(v, lane & u32(15), lane >> u32(4), v_pitch)
        for step in range(KEYS // 16):
            for m in range(halves):
                for i in range(4):
                    e = (m * columns + 2 * step) * 4 + 2 * i
                    A[4 * m + i] = pack(S[e], S[e + 1])
            for n in range(outputs // 2):
                b = ptx.ldmatrix_x4_trans(u32(step_at(v_at, n) + u32(step * 16 * v_pitch)))
                for m in range(halves):
                    add(O, (m * outputs + 2 * n) * 4, A, 4 * m, b)

    @inline
    def mask(S, tiles, t, row, pair):
        """Scores of forbidden pairs become -inf. A thread has columns 8 n + pair + (0, 1) of rows row, row + 8, ...: constant bits."""
        for r in range(m_size):
            at = u32(u32(u32(t) * u32(rows)) + row + u32(8 * r)) * u32(words)
            for w in range(words):
                bits = u32(ptx.ldg_u32(tiles, u32(at + u32(w))) >> pair)
                for n in range(4):
                    for e in range(2):
                        if bits & u32(1 << (8 * n + e)) == u32(0):
                            S[((r >> 1) * columns + 4 * w + n) * 4 + (r & 1) * 2 + e] = NOTHING

    @inline
    def cap(S, factor):
        """S = tanh(scale S / softcap) = 1 - 2 / (1 + e^2x); what the softmax multiplies by is then softcap, in bits."""
        for i in range(s_size):
            S[i] = ONE - TWO * ptx.rcp(ONE + ex2(S[i] * factor))

    @inline
    def softmax(S, O, M, L, scale):
        """One step of the online softmax in base 2: S becomes P; maxima M and sums L go on, and O shrinks by what the maxima grew."""
        for r in range(m_size):
            e = ((r >> 1) * columns * 4) + (r & 1) * 2
            top = M[r]
            for n in range(columns):
                top = max(top, max(S[e + 4 * n], S[e + 4 * n + 1]))
            top = max(top, ptx.shfl_bfly_f32(top, u32(1)))
            top = max(top, ptx.shfl_bfly_f32(top, u32(2)))
            shift = top * scale if top > NOTHING else ZERO           # nothing allowed so far: 2^(-inf - 0) = 0, never NaN
            shrink = ex2(M[r] * scale - shift)
            M[r] = top
            total = ZERO
            for n in range(columns):
                a, b = ex2(S[e + 4 * n] * scale - shift), ex2(S[e + 4 * n + 1] * scale - shift)
                S[e + 4 * n], S[e + 4 * n + 1] = a, b
                total += a + b
            L[r] = L[r] * shrink + total
            e = ((r >> 1) * outputs * 4) + (r & 1) * 2
            for n in range(outputs):
                O[e + 4 * n] *= shrink
                O[e + 4 * n + 1] *= shrink

    @inline
    def finish(O, M, L, scale, sink, there, lse, first, nq, row, lane):
        """Join the sink, divide by the sums, o to shared memory. A row without an allowed key gives 0."""
        for r in range(m_size):
            total = L[r] + ptx.shfl_bfly_f32(L[r], u32(1))
            total = total + ptx.shfl_bfly_f32(total, u32(2))
            mine, top = M[r] * scale, max(M[r] * scale, sink)
            shift = top if top > NOTHING else ZERO
            keep = ex2(mine - shift)
            total = total * keep + ex2(sink - shift)
            factor = ZERO if total == ZERO else keep * ptx.rcp(total)
            i = u32(row + u32(8 * r))
            at, e = u32(there + i * u32(v_pitch) + (lane & u32(3)) * u32(4)), ((r >> 1) * outputs * 4) + (r & 1) * 2
            for n in range(outputs):
                ptx.sts_u32(u32(at + piece_at(u32(n), u32(i & u32(7)))), pack(O[e + 4 * n] * factor, O[e + 4 * n + 1] * factor))
            if lane & u32(3) == u32(0) and first + i < nq:
                ptx.stg_f32(lse, u32(first + i), (shift + ptx.lg2(total)) * LN2)

    @inline
    def store(there, o, o_row, first, nq, warp, lane):
        """A warp's rows of o from shared memory to where they belong, 16 bytes a lane."""
        for turn in range(turns):
            e = u32(lane + u32(32 * turn))
            row, piece = u32(warp * u32(own) + e // u32(pieces)), u32(e % u32(pieces))
            if e < u32(own * pieces) and first + row < nq:
                x = ptx.lds_v4_u32(u32(there + row * u32(v_pitch) + piece_at(piece, u32(row & u32(7)))))
                ptx.stg_v4_u32(u64(o + u64(first + row) * o_row + u64(piece) * u64(16)), x[0], x[1], x[2], x[3])

    @cuda.jit(launch_bounds=(threads, 8 // warps), fastmath=True)
    def attend(q, k, v, o, lse, heads, order, indptr, indices, kind, tiles, sinks, nheads, group, nq, nk, q_row, q_head, q_batch,
               k_row, k_head, k_batch, v_row, v_head, v_batch, o_row, o_head, factor, limit):
        """Grid: (query blocks, heads of all batch elements). Addresses, the layout's arrays, sizes, strides in bytes, `factors`."""
        tid, every = u32(cuda.threadIdx.x), u32(cuda.blockIdx.y)
        warp, lane = u32(tid >> u32(5)), u32(tid & u32(31))
        batch, head = u32(every // nheads), u32(every % nheads)
        plane = u32(u32(ptx.ldg_i32(heads, head)) * u32(cuda.gridDim.x))                             # its first block row
        block = u32(ptx.ldg_i32(order, u32(plane + u32(cuda.blockIdx.x))))
        begin, end = ptx.ldg_i32(indptr, u32(plane + block)), ptx.ldg_i32(indptr, u32(plane + block + u32(1)))
        first, kv = u32(block * u32(rows)), u32(head // group)
        q = u64(q + u64(batch) * q_batch + u64(head) * q_head)
        k = u64(k + u64(batch) * k_batch + u64(kv) * k_head)
        v = u64(v + u64(batch) * v_batch + u64(kv) * v_head)
        q_at = ptx.smem_addr(cuda.shared.array(0, np.uint8, alignment=128))
        k_at = u32(q_at + u32(q_bytes))
        v_at = u32(k_at + u32(stages * k_bytes))
        O, S = cuda.local.array(o_size, np.float32), cuda.local.array(s_size, np.float32)
        M, L = cuda.local.array(m_size, np.float32), cuda.local.array(m_size, np.float32)
        row, pair = u32(warp * u32(own) + (lane >> u32(2))), u32((lane & u32(3)) * u32(2))
        scale = limit if softcap else factor
        for i in range(o_size):
            O[i] = ZERO
        for r in range(m_size):
            M[r], L[r] = NOTHING, ZERO
        put(u32(q_at + u32(room)), k, v, tid)
        load_q(q_at, q, q_row, first, nq, tid)
        key, e, stage = u32(0), begin, u32(0)
        if begin < end:
            key = u32(ptx.ldg_i32(indices, u32(e)) * u32(KEYS))
            load_k(k_at, k, k_row, key, nk, tid)
        ptx.cp_commit()
        while e < end:
            ptx.cp_wait0()
            cuda.syncthreads()                                       # this k has landed for all; nobody reads the last v or k any more
            k, v = taken(u32(q_at + u32(room)))
            load_v(v_at, v, v_row, key, nk, tid)
            ptx.cp_commit()
            t = ptx.ldg_i32(kind, u32(e))
            e = i32(e + 1)
            if e < end:
                key = u32(ptx.ldg_i32(indices, u32(e)) * u32(KEYS))
                if stages == 2:
                    load_k(u32(k_at + (stage ^ u32(1)) * u32(k_bytes)), k, k_row, key, nk, tid)
            if stages == 2:
                ptx.cp_commit()
            multiply(S, u32(q_at + warp * u32(own * q_pitch)), u32(k_at + stage * u32(k_bytes)), lane)
            if softcap:
                cap(S, factor)
            if t >= 0:
                mask(S, tiles, t, row, pair)
            if stages == 1:
                ptx.cp_wait0()
                cuda.syncthreads()                                   # v has landed, and nobody reads k any more
                if e < end:
                    load_k(k_at, k, k_row, key, nk, tid)
                ptx.cp_commit()
            softmax(S, O, M, L, scale)
            if stages == 2:
                ptx.cp_wait1()                                       # v; the next k may be on its way still
                cuda.syncthreads()
                stage ^= u32(1)
            weigh(O, S, v_at, lane)
        ptx.cp_wait0()
        cuda.syncthreads()
        finish(O, M, L, scale, ptx.ldg_f32(sinks, every) * LOG2E, q_at, u64(lse + u64(every) * u64(nq) * u64(4)), first, nq, row, lane)
        ptx.warp_sync()
        store(q_at, u64(o + u64(every) * o_head), o_row, first, nq, warp, lane)
    return Built(attend, tile.shared(d, dv), threads, (rows, KEYS), SIGNATURE)
