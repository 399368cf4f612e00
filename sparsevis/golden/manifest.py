"""The files of golden vectors: written, and read back as if an enemy had written them.

A manifest is matched against one form, name by name and type by type, before a file that it names is opened; the files have fixed names;
what a case reads has to lie within them and to have the sizes of its call. Nothing in it can name code, a path or a size to allocate.
"""

import hashlib
import json
import math
import re
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np

from sparsevis.golden import npy
from sparsevis.golden.budget import Expected
from sparsevis.golden.call import MEMORY, VALUES, Call, Problem
from sparsevis.golden.draws import BITS
from sparsevis.golden.model import Model, dtype_of
from sparsevis.golden.npy import Refused

__all__ = ["FILES", "FORMAT", "RESULTS", "SPEC", "load", "save"]

FORMAT, SPEC = "sparsevis attention vectors", 1
FILES = {"inputs.npy": None, "pairs.npy": "uint8", "values.npy": "float64", "errors.npy": "float64"}  # None: the dtype of the manifest
RESULTS = ("o", "lse", "dq", "dk", "dv")
INPUTS = ("q", "k", "v", "do", "dlse", "sinks", "bias")
MOST = 1 << 16  # cases, documents, and numbers along an axis


def save(folder, vectors, *, dtype, model, seed):
    """Write vectors and their manifest; the folder must be empty."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: name a new folder")
    held, listed = {name: [] for name in FILES}, []

    def put(file, x):
        start = sum(y.size for y in held[file])
        held[file].append(np.asarray(x).ravel())
        return {"start": start, "shape": list(np.shape(x))}

    for vector in vectors:
        p = vector.problem
        given = {x: getattr(p, x) for x in ("q", "k", "v", "do", "dlse", "sinks", "bias")}
        given = {x: y for x, y in given.items() if y is not None and (x != "dlse" or vector.dlse)}
        call = {x: y for x, y in asdict(replace(vector.call, pattern=None)).items() if x not in ("pattern", "alibi")}
        rule = None if vector.call.pattern is None else repr(vector.call.pattern)
        entry = {"case": vector.name, "call": call, "pattern": rule, "scale": scale_of(vector.call), "softcap": p.softcap}
        entry |= {"inputs": {x: put("inputs.npy", y) for x, y in given.items()}, "pairs": put("pairs.npy", p.mask.astype(np.uint8))}
        entry["results"] = {x: put("values.npy", y) for x, y in vector.expected.values.items()}
        for x in vector.expected.values:
            put("errors.npy", vector.expected.errors[x])
        listed.append(entry)
    files = {}
    for file, parts in held.items():
        npy.write(folder / file, np.concatenate(parts) if parts else np.zeros(0))
        files[file] = {"dtype": FILES[file] or dtype, "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest()}
    head = {"format": FORMAT, "spec": SPEC, "seed": seed, "dtype": dtype, "model": asdict(model), "files": files}
    lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in listed)  # a case a line: a change is one line of a diff
    text = json.dumps(head, indent=1, allow_nan=False)[:-2] + f',\n "cases": [\n{lines}\n]}}\n'
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def load(folder):
    """Return (manifest, [(case, Call, Problem, Expected)]) of a folder, every claim of it checked, or raise Refused."""
    folder = Path(folder)
    manifest = manifest_of(npy.bytes_of(folder / "manifest.json", 1 << 24))
    arrays = {}
    for file, known in manifest["files"].items():
        x, raw = npy.read(folder / file)
        if hashlib.sha256(raw).hexdigest() != known["sha256"]:
            raise Refused(f"{file}: its SHA-256 is not that of the manifest")
        stored = "uint16" if known["dtype"] == "bfloat16" else known["dtype"]
        if x.dtype.name != stored or x.ndim != 1:
            raise Refused(f"{file}: {x.ndim} axes of {x.dtype}, and has to be one of {stored}")
        arrays[file] = x.view(dtype_of("bfloat16")) if known["dtype"] == "bfloat16" else x
    if arrays["values.npy"].size != arrays["errors.npy"].size or (arrays["pairs.npy"] > 1).any():
        raise Refused("values.npy and errors.npy differ in size, or pairs.npy holds more than 0 and 1")
    return manifest, [_case(entry, arrays) for entry in manifest["cases"]]


def _case(entry, arrays):
    """A case of a manifest that is right in itself, with its arrays, if their sizes are those of the call."""
    from sparsevis.patterns import Chosen

    name = entry["case"]
    try:
        call = Call(**{x: tuple(y) if isinstance(y, list) else y for x, y in entry["call"].items()})
    except ValueError as said:
        raise Refused(f"{name}: {said}") from None
    c, heads = call, call.kv_heads * call.group
    rows, columns = (c.batch, heads, c.nq), (c.batch, c.kv_heads, c.nk)
    shapes = {"q": (*rows, c.d), "k": (*columns, c.d), "v": (*columns, c.dv), "do": (*rows, c.dv), "dlse": rows, "sinks": (heads,),
              "bias": (heads, c.nq, c.nk), "o": (*rows, c.dv), "lse": rows, "dq": (*rows, c.d), "dk": (*columns, c.d),
              "dv": (*columns, c.dv)}  # fmt: skip
    pairs = [(c.nq, c.nk), (heads, c.nq, c.nk), (c.batch, 1, c.nq, c.nk)]

    def at(file, place, allowed):
        start, shape = place["start"], tuple(place["shape"])
        if shape not in allowed:
            raise Refused(f"{name}: an array of {file} has shape {shape}, and the call asks for {allowed[0]}")
        if start + math.prod(shape) > arrays[file].size:
            raise Refused(f"{name}: reads {file} up to {start + math.prod(shape)}, and it has {arrays[file].size} numbers")
        return arrays[file][start : start + math.prod(shape)].reshape(shape)

    given = {x: at("inputs.npy", place, [shapes[x]]) for x, place in entry["inputs"].items()}
    mask = at("pairs.npy", entry["pairs"], pairs).astype(bool)
    values, errors = ({x: at(file, place, [shapes[x]]) for x, place in entry["results"].items()} for file in ("values.npy", "errors.npy"))
    if not all((e >= 0).all() for e in errors.values()):
        raise Refused(f"{name}: an error budget is negative or NaN")
    if entry["pattern"] is not None:  # its text is for people; what counts are the pairs
        call = replace(call, pattern=Chosen.from_mask(mask) if mask.ndim == 2 else None, left=None, right=None)
    if (entry["scale"], entry["softcap"]) != (scale_of(call), call.softcap):
        raise Refused(f"{name}: scale and softcap are not those of the call")
    given = {"dlse": np.zeros(rows), "sinks": None, "bias": None} | given
    return name, call, Problem(**given, mask=mask, scale=call.scale, softcap=call.softcap), Expected(values, errors, None)


def scale_of(call):
    """The factor of the scores, which a call may leave to be 1 / sqrt(d)."""
    return (call.d or 1) ** -0.5 if call.scale is None else call.scale


# ---------------------------------------------------------------- the form of a manifest


def manifest_of(raw):
    """Return the manifest that these bytes are, or raise Refused."""
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as said:
        raise Refused(f"manifest.json: {said}") from None
    _form(found, MANIFEST, "manifest.json")
    if found["spec"] != SPEC:
        raise Refused(f"manifest.json: spec {found['spec']}, and this reads spec {SPEC}")
    for file, dtype in FILES.items():
        if found["files"][file]["dtype"] != (dtype or found["dtype"]):
            raise Refused(f"manifest.json: {file} is said to hold {found['files'][file]['dtype']}")
    names = [entry["case"] for entry in found["cases"]]
    if len(set(names)) < len(names):
        raise Refused("manifest.json: two cases have one name")
    try:
        Model(**found["model"])
    except ValueError as said:
        raise Refused(f"manifest.json: {said}") from None
    return found


def _once(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _no_number(text):
    raise ValueError(f"{text} is no number of JSON")


def _whole(low, high):
    return lambda x: type(x) is int and low <= x <= high


def _number(x):
    return type(x) in (int, float) and math.isfinite(x)


def _maybe(form):
    return lambda x: x is None or _fits(x, form)


def _text(pattern):
    return lambda x: type(x) is str and re.fullmatch(pattern, x) is not None


def _list(form, most=MOST):
    return lambda x: type(x) is list and len(x) <= most and all(_fits(y, form) for y in x)


def _fits(x, form):
    return form(x) if callable(form) else x == form and type(x) is type(form)


def _form(x, form, where):
    """Raise Refused unless x has the form: a dict of forms (a name that ends in ? may be missing), [the form of each], or a test."""
    if isinstance(form, dict):
        names = {name.rstrip("?"): name for name in form}
        if type(x) is not dict or not {n for n, full in names.items() if n == full} <= set(x) <= set(names):
            raise Refused(f"{where}: needs the names {', '.join(form)}")
        for name, y in x.items():
            _form(y, form[names[name]], f"{where}, {name}")
    elif isinstance(form, list):
        if type(x) is not list or len(x) > MOST:
            raise Refused(f"{where}: needs a list of at most {MOST}")
        for i, y in enumerate(x):
            _form(y, form[0], f"{where}[{i}]")
    elif not _fits(x, form):
        raise Refused(f"{where}: {str(x)[:40]!r} is not what stands there")


SIZE, SIDE, BOOL = _whole(0, MOST), _maybe(_whole(0, 1 << 40)), lambda x: type(x) is bool
PLACE = {"start": _whole(0, 1 << 40), "shape": _list(SIZE, 5)}
LENGTHS = _maybe(_list(SIZE))
CALL = {
    "nq": SIZE, "nk": SIZE, "d": SIZE, "dv": SIZE, "batch": SIZE, "kv_heads": _whole(1, MOST), "group": _whole(1, MOST), "left": SIDE,
    "right": SIDE, "global_keys": SIZE, "offset": lambda x: x in ("top-left", "bottom-right") or _whole(-MOST, MOST)(x),
    "lengths": LENGTHS, "key_lengths": LENGTHS, "valid": LENGTHS, "seen": _maybe(SIZE),
    "scale": _maybe(_number), "softcap": _maybe(_number),
    "sinks": BOOL, "bias": BOOL, "values": lambda x: x in list(VALUES), "memory": lambda x: x in list(MEMORY), "seed": _whole(0, 1 << 64),
}  # fmt: skip
TESTS = "merged", "rounded_sum", "nearest"
KIND = {"exp": lambda x: _number(x) and x >= 0, "tile": _whole(1, MOST), "step": _whole(1, MOST)}
KIND["tanh"] = KIND["exp"]
MANIFEST = {
    "format": FORMAT,
    "spec": _whole(1, MOST),
    "seed": _whole(0, 1 << 31),
    "dtype": lambda x: x in list(BITS),
    "model": {f.name: BOOL if f.name in TESTS else _maybe(KIND.get(f.name, _text("[a-z0-9]{1,16}"))) for f in fields(Model)},
    "files": {name: {"dtype": _text("[a-z0-9]{1,16}"), "sha256": _text("[0-9a-f]{64}")} for name in FILES},
    "cases": [
        {
            "case": _text("[a-z0-9-]{1,60}"), "call": CALL, "pattern": _maybe(_text("[^\\x00-\\x1f]{1,4000}")), "scale": _number,
            "softcap": _maybe(_number), "pairs": PLACE,
            "inputs": {f"{name}{'' if name in 'q k v do'.split() else '?'}": PLACE for name in INPUTS},
            "results": {f"{name}{'' if name in ('o', 'lse') else '?'}": PLACE for name in RESULTS},
        }
    ],
}  # fmt: skip
