"""The main job, end to end: what it prints, writes, and refuses to hide."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import sparsevis as sv
from sparsevis import tour


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """The tour over three of its systems, which is all code and a quarter of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tour, "SYSTEMS", {name: tour.SYSTEMS[name] for name in ("window", "bigbird", "sparse_fixed")})
        patch.setattr(tour, "LENGTHS", [512, 1024])
        out = tmp_path_factory.mktemp("tour")
        assert tour.tour(out) == out / "index.html"
    return out


class Page(HTMLParser):
    """Headings, images and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.cells = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.images += [attrs["src"]] if tag == "img" else []
        self.links += [attrs[x] for x in ("href", "src") if x in attrs]

    def handle_data(self, data):
        self.cells.append(data)


def test_a_picture_for_every_system(gallery):
    assert {f.name for f in gallery.iterdir()} == {"index.html", "overview.png", "window.png", "bigbird.png", "sparse_fixed.png"}
    assert all(f.read_bytes()[:4] == b"\x89PNG" for f in gallery.glob("*.png"))


def test_the_page_needs_nothing_else(gallery):
    page = Page((gallery / "index.html").read_text(encoding="utf-8"))
    assert len(page.images) == 4
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert {"dense", "window", "bigbird", "sparse_fixed"} <= set(page.cells)
    assert any("Checked in float64 against the golden reference: 4 systems" in x for x in page.cells)


def test_the_table_is_that_of_compare(gallery):
    q, k, v = sv.data.load("alice").layer(tour.LAYER)
    expected = sv.compare(q, k, v, {"bigbird": tour.SYSTEMS["bigbird"].pattern}, block=tour.BLOCK, repeats=0)["bigbird"]
    text = (gallery / "index.html").read_text(encoding="utf-8")
    row = re.search(r"<td>bigbird</td><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td>", text).groups()
    assert row == (f"{expected.cost.nnz:,}", f"{100 * expected.cost.density:.1f} %", f"{expected.cost.block_tax:.2f}",
                   f"{100 * expected.mass_kept:.1f} %")  # fmt: skip


def test_the_seed_systems_are_there():
    assert {"window", "global", "dilated", "strided", "random", "longformer", "bigbird", "mistral"} < set(tour.SYSTEMS)
    for system in tour.SYSTEMS.values():
        heads = getattr(system.pattern, "patterns", [system.pattern])
        assert len(heads) in (1, 12)
        assert all(0 < p.mask(512).mean() < 0.6 for p in set(heads))


def test_a_wrong_kernel_stops_the_tour(monkeypatch):
    """The tour checks before it draws: an output off by 1e-9 is an error, not a picture."""
    def off(q, k, v, pattern=None, *, impl="cpu", return_lse=False):
        o, lse = sv.attention(q, k, v, pattern, impl="reference", return_lse=True)
        return (o + 1e-9 * (impl == "cpu"), lse)

    monkeypatch.setattr(tour, "attention", off)
    monkeypatch.setattr(tour, "SYSTEMS", {})
    with pytest.raises(ArithmeticError, match=r"1\.0e-09 off the reference"):
        tour._check(*np.random.default_rng(0).standard_normal((3, 2, 16, 4)))
