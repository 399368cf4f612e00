"""Plain .npy files from anywhere: everything a file claims is checked against its size before a byte of it is allocated.

NumPy's own reader is not used: it evaluates the header as Python, unpickles objects if it is let, and allocates what the header asks for.
Here a header is matched against the one form that arrays of numbers have, of a few known dtypes, and what it claims has to be what follows.
"""

import math
import os
import re
import stat

import numpy as np

__all__ = ["LIMIT", "Refused", "bytes_of", "read", "write"]

LIMIT = 1 << 28  # bytes of a file
HEADER = re.compile(rb"\{'descr': ?'([<|][fiub][1248])', ?'fortran_order': ?(True|False), ?'shape': ?\(([0-9, ]{0,200})\),? *\} *\n?")
KNOWN = ("<f2", "<f4", "<f8", "<u2", "|u1", "|b1")


class Refused(ValueError):
    """A file that is not what it has to be; nothing of it was used."""


def bytes_of(path, limit=LIMIT):
    """Return the bytes of a regular file of at most `limit`; links, pipes and devices are refused.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.bin"
    >>> path.write_bytes(b"four")
    4
    >>> bytes_of(path)
    b'four'
    >>> bytes_of(path, limit=3)
    Traceback (most recent call last):
    sparsevis.golden.npy.Refused: x.bin: 4 bytes, and 3 are the most
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as said:
        raise Refused(f"{_name(path)}: {said.strerror}") from None
    try:
        known = os.fstat(handle)
        if not stat.S_ISREG(known.st_mode):
            raise Refused(f"{_name(path)}: not a regular file")
        if known.st_size > limit:
            raise Refused(f"{_name(path)}: {known.st_size} bytes, and {limit} are the most")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(known.st_size)
    finally:
        os.close(handle)


def read(path, limit=LIMIT):
    """Return (array, its bytes) of a .npy file, or raise Refused; bfloat16 is found as uint16.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> write(path, np.arange(3.0))
    >>> read(path)[0]
    array([0., 1., 2.])
    >>> path.write_bytes(path.read_bytes()[:-1])
    151
    >>> read(path)
    Traceback (most recent call last):
    sparsevis.golden.npy.Refused: x.npy: the header claims 24 bytes of numbers, and 23 follow
    """
    raw, name = bytes_of(path, limit), _name(path)
    if raw[:6] != b"\x93NUMPY" or raw[6:8] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise Refused(f"{name}: no .npy file")
    wide = 2 if raw[6] == 1 else 4
    start = 8 + wide + int.from_bytes(raw[8 : 8 + wide], "little")
    found = HEADER.fullmatch(raw[8 + wide : start]) if start <= min(len(raw), 4096) else None
    if found is None or found[1].decode() not in KNOWN:
        raise Refused(f"{name}: a header that arrays of numbers do not have; known dtypes are {', '.join(KNOWN)}")
    dtype, shape = np.dtype(found[1].decode()), [int(x) for x in found[3].replace(b" ", b"").split(b",") if x]
    claimed = math.prod(shape) * dtype.itemsize
    if len(shape) > 5 or claimed != len(raw) - start:
        raise Refused(f"{name}: the header claims {claimed} bytes of numbers, and {len(raw) - start} follow")
    flat = np.frombuffer(raw, dtype, offset=start)
    if dtype.kind == "b" and (flat.view(np.uint8) > 1).any():
        raise Refused(f"{name}: booleans that are neither 0 nor 1")
    return flat.reshape(shape, order="F" if found[2] == b"True" else "C"), raw


def write(path, x):
    """Write an array of numbers, little-endian; bfloat16 as its bits."""
    x = np.ascontiguousarray(x)
    if x.dtype.name == "bfloat16":
        x = x.view(np.uint16)
    x = x.astype(x.dtype.newbyteorder("<"), copy=False)
    if x.dtype.str not in KNOWN:
        raise TypeError(f"{x.dtype} has no plain form; known are {', '.join(KNOWN)}")
    np.save(path, x, allow_pickle=False)


def _name(path):
    return os.path.basename(os.fspath(path))
