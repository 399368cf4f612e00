"""The exported page in a real browser with the network off: exact pixels, keys, zoom, hover, sliders, views, themes."""

import numpy as np
import pytest
from pictures import mask_of_picture

import sparsevis as sv
from sparsevis.palette import DARK, INGREDIENT, LIGHT

from .pages import colour, exported, pixels, settle

VIEWS = ["mask", "tiles", "field", "graph", "cost", "real"]
INFO = ".sv-main > .sv-info"


def drawn(mask, ingredient, theme=LIGHT):
    """The picture of one mask in one colour."""
    return np.where(np.asarray(mask)[..., None], colour(INGREDIENT[ingredient]), colour(theme["ground"]))


def first_allowed(pattern, rows, columns, n, theme=LIGHT):
    """The picture of a part of a long mask: the colour of the first part that allows each pair."""
    out = drawn(np.zeros((len(rows), len(columns)), bool), "dense", theme)
    for part in reversed(pattern.parts()):
        mask = np.broadcast_to(part.allows(rows[:, None], columns, n), out.shape[:2])
        out[mask] = colour(INGREDIENT[part.ingredient])
    return out


def canvas(opened, which=0):
    return opened.locator(".sv-stage canvas").nth(which)


def view_of(opened):
    """What the figure's own label says it shows: first query, last query, first key, last key."""
    settle(opened)
    words = canvas(opened).get_attribute("aria-label").split("queries ")[1].split(" down")[0], canvas(opened).get_attribute("aria-label")
    first, last = words[0].split(" to ")
    key_first, key_last = words[1].split("keys ")[1].split(" across")[0].split(" to ")
    return int(first), int(last), int(key_first), int(key_last)


@pytest.mark.parametrize("dark", [False, True])
def test_pixels_of_known_masks(window, tmp_path, dark):
    """Worked by hand: a window of two keys, and token 3 global."""
    opened = exported(sv.explore(sv.SlidingWindow(1) | sv.Global([3], rows=False), 8), window, tmp_path, dark=dark)
    by_window = mask_of_picture("""
        █.......
        ██......
        .██.....
        ..██....
        ...██...
        ....██..
        .....██.
        ......██""")
    by_global = mask_of_picture("""
        ...█....
        ...█....
        ...█....
        ........
        ........
        ...█....
        ...█....
        ...█....""")
    wanted = drawn(by_window, "window", DARK if dark else LIGHT)
    wanted[by_global] = colour(INGREDIENT["global"])
    assert (pixels(opened, 8) == wanted).all()
    assert opened.locator(".sv-facts").first.text_content() == "21 of 64 pairs · 32.8 % · 2.6 keys a query"
    assert opened.locator(".sv-explorer").get_attribute("data-theme") == ("dark" if dark else "light")
    assert opened.asked == [(tmp_path / "page.html").as_uri()], "the page asks no network for anything"


def test_light_and_dark_follow_the_page(window, tmp_path):
    opened = exported(sv.explore(sv.SlidingWindow(0), 8), window, tmp_path)
    opened.evaluate("document.body.style.background = '#111'")
    settle(opened)
    assert (pixels(opened, 8)[0, 7] == colour(DARK["ground"])).all()
    opened.evaluate("document.body.style.background = '#fff'")
    settle(opened)
    assert (pixels(opened, 8)[0, 7] == colour(LIGHT["ground"])).all()


def test_sliders_need_no_python(window, tmp_path):
    opened = exported(sv.explore(sv.Causal() & (sv.SlidingWindow(3) | sv.Strided(6)), 32), window, tmp_path)
    left, stride = (opened.get_by_role("slider", name=name, exact=True) for name in ("left", "stride"))
    left.press("ArrowRight")
    stride.press("ArrowLeft")
    stride.press("ArrowLeft")
    pattern = sv.Causal() & (sv.SlidingWindow(4) | sv.Strided(4))
    assert (pixels(opened, 32) == first_allowed(pattern, np.arange(32), np.arange(32), 32)).all()
    opened.get_by_role("spinbutton", name="left, exactly").fill("9")
    opened.keyboard.press("Tab")
    pattern = sv.Causal() & (sv.SlidingWindow(9) | sv.Strided(4))
    assert (pixels(opened, 32) == first_allowed(pattern, np.arange(32), np.arange(32), 32)).all()
    settle(opened)
    assert opened.locator(".sv-code").first.text_content() == "sv.Causal() & (sv.SlidingWindow(left=9) | sv.Strided(stride=4))"
    assert "Causal() & SlidingWindow(left=9)" in opened.locator(".sv-key").first.text_content()
    opened.get_by_role("slider", name="right", exact=True).press("ArrowRight")
    settle(opened)
    assert "SlidingWindow(left=9, right=1)" in opened.locator(".sv-code").first.text_content()
    opened.get_by_role("slider", name="right", exact=True).press("ArrowLeft")
    settle(opened)
    assert f"{pattern.mask(32).sum():,} of 1,024 pairs" in opened.locator(".sv-facts").first.text_content()


def test_zoom_and_pan_by_keys_down_to_single_pairs(window, tmp_path):
    n = 1 << 16
    pattern = sv.Causal() & (sv.SlidingWindow(100) | sv.Strided(300) | sv.Global([0]))
    opened = exported(sv.explore(pattern, n), window, tmp_path)
    canvas(opened).focus()
    assert opened.locator(INFO).text_content().startswith("queries 49,152–49,279, keys 49,152–49,279: ")
    for _ in range(11):
        opened.keyboard.press("+")
    first, last, key_first, key_last = view_of(opened)
    assert last - first == key_last - key_first == 31
    assert first <= 49152 <= last
    rows, columns = np.arange(first, last + 1), np.arange(key_first, key_last + 1)
    assert (pixels(opened, 32) == first_allowed(pattern, rows, columns, n)).sum(-1).min(-1).mean() > 0.95, "all but the cursor's row"
    opened.keyboard.press("Escape")
    assert (pixels(opened, 32) == first_allowed(pattern, rows, columns, n)).all()
    opened.keyboard.press("Shift+ArrowLeft")
    opened.keyboard.press("Shift+ArrowUp")
    assert view_of(opened) == (first - 4, last - 4, key_first - 4, key_last - 4)
    assert (pixels(opened, 32) == first_allowed(pattern, rows - 4, columns - 4, n)).all()
    opened.keyboard.press("0")
    assert view_of(opened) == (0, n - 1, 0, n - 1)


def test_the_cursor_tells_the_pair_and_what_allows_it(window, tmp_path):
    opened = exported(sv.explore(sv.Causal() & (sv.SlidingWindow(2) | sv.Global([0])), 16, query=8), window, tmp_path)
    canvas(opened).focus()
    assert opened.locator(INFO).text_content() == (
        "query 8, key 8: allowed by Causal() & SlidingWindow(left=2) (yes: Causal() and SlidingWindow(left=2); no: Global(tokens=(0,)))")
    opened.keyboard.press("ArrowRight")
    assert opened.locator(INFO).text_content() == (
        "query 8, key 9: not allowed (no: Causal(), SlidingWindow(left=2) and Global(tokens=(0,)))")
    assert opened.locator("[aria-live=polite]").first.text_content() == opened.locator(INFO).text_content(), "read aloud"
    for _ in range(9):
        opened.keyboard.press("ArrowLeft")
    assert "key 0: allowed by Causal() & Global(tokens=(0,))" in opened.locator(INFO).text_content()
    box = canvas(opened).bounding_box()
    side = box["height"] - 42
    opened.mouse.move(box["x"] + 46 + 1.5 * side / 16, box["y"] + 8 + 3.5 * side / 16)
    assert opened.locator(INFO).text_content().startswith("query 3, key 1: allowed by Causal() & SlidingWindow(left=2)")


def test_tiles_and_block_tax(window, tmp_path):
    pattern, n, block = sv.SlidingWindow(20), 64, 8
    opened = exported(sv.explore(pattern, n, block=block, show="tiles"), window, tmp_path)
    layout = sv.Layout.of(pattern, n, block)
    full, partial, empty = layout.tally()
    facts = opened.locator(".sv-facts").first.text_content()
    assert f"{full} full, {partial} partial, {empty} skipped tiles of 8 × 8" in facts
    assert facts.endswith(f"block tax {layout.computed / layout.nnz:.2f}")
    shown = pixels(opened, 64)
    assert (shown[pattern.mask(n)] == colour(INGREDIENT["window"])).all(), "pairs are solid"
    assert (shown[63, 0] == colour(LIGHT["ground"])).all(), "skipped"
    pale = shown[40, 47]
    assert 0 < np.abs(pale - colour(LIGHT["ground"]).astype(int)).sum(), "computed in vain"
    opened.get_by_role("slider", name="block", exact=True).press("ArrowRight")
    settle(opened)
    assert "skipped tiles of 16 × 16" in opened.locator(".sv-facts").first.text_content()


def test_two_patterns_and_their_difference(window, tmp_path):
    a, b, n = sv.SlidingWindow(5), sv.SlidingWindow(2) | sv.Global([0]), 32
    opened = exported(sv.explore(a, n, other=b), window, tmp_path)
    rows = np.arange(n)
    assert (pixels(opened, n, 0) == first_allowed(a, rows, rows, n)).all()
    assert (pixels(opened, n, 1) == first_allowed(b, rows, rows, n)).all()
    difference = drawn(a.mask(n) & b.mask(n), "dense")
    difference[a.mask(n) & ~b.mask(n)] = colour(INGREDIENT["global"])
    difference[b.mask(n) & ~a.mask(n)] = colour(INGREDIENT["window"])
    assert (pixels(opened, n, 2) == difference).all()
    found = sv.diff(a, b, n)
    told = opened.locator(".sv-facts").nth(2).text_content()
    assert told == f"{found.only_a} only in A · {found.only_b} only in B · {found.both} in both"


def test_every_view(window, tmp_path):
    """Numbers are those of the library; each view can be reached by arrow keys."""
    pattern, n = sv.Causal() & (sv.SlidingWindow(6) | sv.Global([0])), 48
    opened = exported(sv.explore(pattern, n, layers=3, query=40), window, tmp_path, views=VIEWS)
    tab, view = opened.get_by_role("tab", name="Mask", exact=True), opened.locator(".sv-view:visible")
    tab.focus()
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("ArrowRight")
    field = sv.receptive_field(pattern, n, query=40, layers=3)
    assert f"after layer 3, query 40 has seen {field.sizes[-1]} of {field.visible} keys" in view.text_content()
    view.get_by_role("slider", name="after layer").press("ArrowLeft")
    assert f"after layer 2, query 40 has seen {field.sizes[1]} of" in view.text_content()
    view.get_by_role("slider", name="after layer").press("End")
    view.get_by_role("button", name="play layer by layer").click()
    opened.wait_for_function("document.querySelector('.sv-view:not([hidden])').textContent.includes('after layer 1,')", timeout=5000)
    opened.get_by_role("tab", name="Graph").click()
    settle(opened)
    rests = f"rests on {field.sizes[-1]} of 48 tokens shown after 3 layers; in one layer it attends {pattern.mask(n)[40].sum()}"
    assert rests in view.text_content()
    opened.get_by_role("tab", name="Cost").click()
    settle(opened)
    cost = sv.cost(pattern, n, block=8, heads=8)
    row = view.get_by_role("row").nth(1)
    assert row.get_by_role("cell").all_text_contents()[:3] == [f"{cost.nnz / 1e3:.3g} k", "18.4 k", f"{cost.pairs / cost.nnz:.3g}×"]
    opened.get_by_role("tab", name="Real attention").click()
    settle(opened)
    alice = sv.data.load("alice")
    q, k, _ = (x[8] for x in alice.layer(2))
    p = np.exp(q @ k.T / np.sqrt(32))
    p /= p.sum(1, keepdims=True)
    assert f"keeps {100 * (p * pattern.mask(512)).sum() / 512:.1f} % of this head's attention" in view.text_content()
    view.locator("canvas").focus()
    opened.keyboard.press("ArrowRight")
    assert "gives" in view.locator(".sv-info").text_content()


def test_states_of_a_page(window, tmp_path):
    states = {"window": sv.SlidingWindow(4), "long": {"pattern": sv.longformer(64), "n": 1024},
              "random": {"pattern": sv.RandomKeys(2), "n": 1 << 18}}  # fmt: skip
    opened = exported(sv.explore(sv.Causal(), 32), window, tmp_path, states=states)
    assert (pixels(opened, 32) == first_allowed(states["window"], np.arange(32), np.arange(32), 32)).all()
    opened.get_by_label("state").select_option("long")
    settle(opened)
    assert opened.locator(".sv-code").first.text_content() == "sv.SlidingWindow(left=32, right=32) | sv.Global(tokens=(0,))"
    nnz = sv.cost(states["long"]["pattern"], 1024).nnz
    assert f"{nnz:,} of 1,048,576 pairs" in opened.locator(".sv-facts").first.text_content()
    opened.get_by_label("state").select_option("random")
    settle(opened)
    told = opened.locator(".sv-facts").first.text_content()
    assert "524,288 of 68,719,476,736 pairs" in told, "a table too large for the page: Python counted"
    assert len(opened.asked) == 1


def test_screen_readers_are_told_everything(window, tmp_path):
    """Whatever can be reached by tab has a name; whatever is drawn has a label."""
    explorer = sv.explore(sv.bigbird(block=4) & ~sv.Documents([30, 34]), 64, other=sv.Chosen.from_blocks(np.eye(8, dtype=bool), 8))
    opened = exported(explorer, window, tmp_path, views=VIEWS)
    for view in ("Mask", "Receptive field", "Graph", "Cost", "Real attention"):
        opened.get_by_role("tab", name=view, exact=True).click()
        settle(opened)
        nameless = opened.evaluate("""() => [...document.querySelectorAll(".sv-explorer :is(input, select, button, canvas, [tabindex])")]
          .filter((x) => x.offsetParent && !(x.labels?.length || x.getAttribute("aria-label") || x.textContent.trim()))
          .map((x) => x.outerHTML.slice(0, 200))""")
        assert nameless == [], view
    cell = opened.get_by_role("gridcell", name="query 0, key 0", exact=True)
    assert cell.get_attribute("aria-pressed") == "true"
