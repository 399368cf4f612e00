"""The report: counts, places, and text from outside that must not become anything else."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

import sparsevis as sv
from sparsevis.golden import Call, check
from sparsevis.palette import INGREDIENT

EVIL = "<img src=x onerror=alert(1)></script>"


def one_key_more(q, k, v, mask=None):
    longer = mask
    if mask is not None:
        longer = mask.copy()
        longer[4:] |= np.roll(mask, -1, axis=1)[4:]  # a bug of the second half of the queries
    return sv.reference.attention(q, k, v, longer)[0].astype(q.dtype)


def report(fn=one_key_more, **options):
    return check(fn, calls=[Call(8, 8, left=2, right=0), Call(8, 8)], **options)


def test_numbers():
    found = report()
    assert found.counts == {"pass": 1, "fail": 1, "unsupported": 0}
    assert (bool(found), found.ok, found.exit_code) == (False, False, 1)
    assert found.to_dicts()[0]["family"] == "calls"
    assert found.worst()[0].call == Call(8, 8, left=2, right=0)
    assert found.worst()[0].ratio > 1000


def test_where_it_fails():
    found = report(shrink=False)
    place = found.where(found.worst()[0])
    assert place["mask"].shape == (8, 8)
    assert place["rows"].shape == (1, 8)
    assert (place["rows"][0] > 1).tolist() == [False] * 4 + [True] * 4
    assert not place["columns"].any()
    with pytest.raises(ValueError, match="no place to show"):
        check(lambda q, k, v: sv.reference.attention(q, k, v), calls=[Call(2, 2)]).where()


def test_text_names_what_failed():
    text = str(report())
    assert text.startswith("one_key_more: FAILS. 2 of 2 calls apply (calls, float32), 1 failed")
    assert "smallest failing call: Call(" in text
    assert "█" in text


def test_json_is_strict():
    def crashes(q, k, v, mask=None):
        raise RuntimeError(EVIL)

    for fn in (one_key_more, crashes):
        plain = json.loads(report(fn).to_json(), parse_constant=lambda x: pytest.fail(f"{x} is no JSON"))
        assert plain["exit_code"] == 1
        assert plain["failing"][0]["call"].startswith("Call(nq=")
    assert plain["failing"][0]["ratio"] == "inf"


def test_html_is_escaped():
    def crashes(q, k, v, mask=None):
        raise RuntimeError(EVIL)

    crashes.__name__ = EVIL
    page = report(crashes).to_html()
    assert "<img" not in page
    assert "</script>" not in page
    assert "&lt;img src=x" in page
    assert "default-src 'none'" in page


def test_a_refusal_is_escaped_too():
    def refuses(q, k, v, mask=None):
        raise NotImplementedError(EVIL)

    assert "<img" not in report(refuses)._repr_html_()


def test_the_page_shows_where_it_fails():
    page = report(shrink=False).to_html()
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    rows = ElementTree.fromstring(svg)
    drawn = [(float(x.get("y")), x.get("fill")) for x in rows if x.get("fill") not in (None, "none")]
    high = min(y for y, _ in drawn if y > 0)
    assert {round(y / high): fill for y, fill in drawn} == {i: INGREDIENT["dense" if i < 4 else "global"] for i in range(8)}
    assert "href" not in svg


def test_the_most_telling_failure_is_a_large_one_of_finite_numbers():
    calls = [Call(8, 8, left=2, right=0), Call(16, 16, left=2, right=0), Call(30, 30, left=2, right=0, values="nan in a value")]
    assert check(one_key_more, calls=calls, shrink=False).telling.call == calls[1]
