"""The kit's own test: every planted mistake is seen, and mistakes of convention are named; kernels that are right in other ways pass."""

import re
from pathlib import Path
from time import process_time

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.golden import Dialect, Model, check
from sparsevis.golden.cases import calls
from sparsevis.golden.check import Judge
from tests.golden.mutants import BACKWARD, BUGS, CONVENTIONS, DOUBLE, LAWFUL, SPOKEN, WAYS, variant, way

WIDE = Model(out="float16")  # kernels of whole rows round nothing but the output
OURS = Dialect(axes="bhnd", mask_axes=4)
pytestmark = pytest.mark.usefixtures("shared")


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_mistake_of_convention_is_named(name):
    line, instead, words = CONVENTIONS[name]
    report = check(variant((line, instead))[0], dialect=OURS, shrink=False)
    assert report.exit_code == 1
    assert words in report.diagnosis[0][0], report.diagnosis


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_seen(name):
    judge = Judge(variant(BUGS[name])[0], None, OURS, Model(), np.dtype("float32"))
    assert any(judge(call).status == "fail" for some in calls("quick").values() for call in some)


@pytest.mark.parametrize("name", BACKWARD)
def test_a_backward_mistake_is_seen(name):
    line, instead, words = BACKWARD[name]
    forward, backward = variant((line, instead), part="backward")
    report = check(forward, backward=backward, dialect=OURS, shrink=False)
    assert report.exit_code == 1
    assert {o.deviations[0].part for o in report.worst(100)} <= {"dq", "dk", "dv"}
    assert words in report.diagnosis[0][0], report.diagnosis


@pytest.mark.parametrize(("name", "mistake"), [(name, mistake) for name, some in WAYS.items() for mistake in some])
def test_a_mistake_in_where_keys_lie_is_seen(name, mistake):
    """Packed documents, padding, a ring of cached keys, lists of tiles forward and backward."""
    line, instead, words = WAYS[name][mistake]
    forward, backward = way(name, (line, instead))
    report = check(forward, backward=backward, dialect=Dialect(**SPOKEN[name]), shrink=False)
    assert report.exit_code == 1
    assert words in report.diagnosis[0][0], report.diagnosis


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", WAYS)
def test_no_false_alarm_where_keys_lie_otherwise(name, dtype):
    forward, backward = way(name)
    model = WIDE if dtype == "float16" else None
    turn = dtype == "float16"  # every second call of a family, and in the other dtype the others
    some = {family: found[turn::2] for family, found in calls("full").items()}
    asked = [call for found in some.values() for call in found]
    report = check(forward, backward=backward, dialect=Dialect(**SPOKEN[name]), dtype=dtype, calls=asked, model=model)
    assert report.ok, report
    family = {"packed": "documents", "padded": "padding", "ring": "decode"}.get(name, "block lists")
    assert not [o for o in report.outcomes if o.call in some[family] and o.status == "unsupported"]


def test_the_matrix_is_large_enough_and_names_nine_tenths_of_conventions():
    forward = [*CONVENTIONS, *BUGS]
    assert len(forward) + len(BACKWARD) + sum(map(len, WAYS.values())) >= 120
    assert all(words for _, _, words in CONVENTIONS.values())
    with_words = sum(bool(words) for some in WAYS.values() for _, _, words in some.values())
    assert with_words >= 20


@pytest.mark.parametrize("dtype", DTYPES := ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", LAWFUL)
def test_no_false_alarm_on_lawful_kernels(name, dtype):
    """Each in every dtype: a fifth of the adversarial calls, so that the five kernels share them all."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    forward, backward = variant(*LAWFUL[name], *([DOUBLE] if dtype == "float64" else []))
    turn = (list(LAWFUL).index(name) + DTYPES.index(dtype)) % 5
    some = [call for family in calls("adversarial").values() for call in family[turn::5]]
    report = check(forward, backward=backward, dialect=OURS, dtype=dtype, calls=some)
    assert report.ok, report
    assert report.counts["unsupported"] == 0
    assert max(o.ratio for o in report.outcomes) > 0.02  # the budget is not met by being wide


def test_the_page_is_of_these_mistakes():
    """docs/golden_matrix.py writes it: all are seen, nine tenths of those with a name are named, nothing else is an alarm."""
    page = (Path(__file__).parents[2] / "docs" / "golden-matrix.md").read_text(encoding="utf-8")
    names = [*CONVENTIONS, *BUGS, *BACKWARD, *(name for some in WAYS.values() for name in some)]
    assert [line.split(" | ")[0][2:] for line in page.splitlines() if line.count(" | ") == 2 and " of " in line] == names
    seen, total, with_name, named, alarms = (int(x) for x in re.findall(r"\d+", page.split("\n\n")[1])[:5])
    assert seen == total == len(names) >= 120
    assert named >= 0.9 * with_name
    assert alarms == 0


def test_a_mutant_whose_line_is_not_there_is_refused():
    with pytest.raises(LookupError, match="stands 0 times"):
        variant(("no such line", ""))


def split(q, k, v, *, mask, scale=None, softcap=None, sinks=None, bias=None):
    """Split-KV: five parts of the keys on their own, merged through their lse, in float32."""
    part = lambda j: sv.reference.attention(
        q, k[..., j : j + size, :], v[..., j : j + size, :], mask[..., j : j + size], scale=scale, softcap=softcap,
        sinks=sinks if j == 0 else None, bias=None if bias is None else bias[..., j : j + size],
    )  # fmt: skip
    size = max(1, -(-k.shape[-2] // 5))
    parts = [[x.astype(np.float32) for x in part(j)] for j in range(0, max(1, k.shape[-2]), size)]
    top = np.max([lse for _, lse in parts], axis=0)
    weights = [np.exp(lse - np.where(np.isneginf(top), np.float32(0), top)) for _, lse in parts]
    total = sum(weights)
    o = sum(np.where(w[..., None] == 0, np.float32(0), w[..., None] * o) for w, (o, _) in zip(weights, parts, strict=True))
    return o / np.where(total == 0, np.float32(1), total)[..., None], top + np.log(total)


def test_no_false_alarm_on_a_split_kv_kernel():
    report = check(split, dialect=OURS, model=Model(merged=True), level="adversarial")
    assert report.ok, report


def through(impl):
    """The public calls with an implementation, as functions to check."""

    def forward(q, k, v, *, pattern=None, offset=None, scale=None, softcap=None, sinks=None, bias=None, slopes=None):
        features = {"offset": offset, "scale": scale, "softcap": softcap, "sinks": sinks, "bias": bias, "slopes": slopes, "impl": impl}
        return sv.attention(q, k, v, pattern, return_lse=True, **features)

    def backward(do, q, k, v, *, dlse, pattern=None, offset=None, scale=None, softcap=None, sinks=None, bias=None, slopes=None):
        features = {"offset": offset, "scale": scale, "softcap": softcap, "sinks": sinks, "bias": bias, "slopes": slopes, "impl": impl}
        return sv.attention_grad(do, q, k, v, pattern, dlse=dlse, **features)

    return forward, backward if impl in ("reference", "cpu") else None


@pytest.mark.parametrize(("impl", "dtype"), [("reference", "float32"), ("reference", "float64"), ("loops", "float32"),
                                             ("cpu_plain", "float32"), ("cpu", "float32"), ("cpu", "float16")])  # fmt: skip
def test_no_false_alarm_on_our_implementations(impl, dtype):
    forward, backward = through(impl)
    report = check(forward, backward=backward, dialect=OURS, dtype=dtype, level="adversarial" if impl == "reference" else "quick")
    assert report.ok, report
    assert {o.family for o in report.outcomes if o.status == "unsupported"} == {"padding"}


def test_a_wrong_window_is_named_and_made_small_in_under_ten_seconds():
    line, instead, words = CONVENTIONS["window+1"]
    start = process_time()
    report = check(variant((line, instead))[0], dialect=OURS)
    assert process_time() - start < 10  # of the processor: a busy machine is not the kit's fault
    assert words in report.diagnosis[0][0]
    assert (report.smallest.call.nq, report.smallest.call.nk, report.smallest.call.left) == (1, 2, 0)
    assert "diagnosis: window one key longer on the left" in str(report)
