import numpy as np
import pytest
from matplotlib.colors import to_hex

import sparsevis as sv
from sparsevis.golden import Call, check
from sparsevis.palette import INGREDIENT
from sparsevis.plots.words import words_of


def plain(q, k, v, mask=None):
    return sv.reference.attention(q, k, v, mask)[0].astype(q.dtype)


def bad_rows(q, k, v, mask=None):
    """The second half of the queries is wrong."""
    o = plain(q, k, v, mask)
    o[..., o.shape[-2] // 2 :, :] += 1
    return o


def no_last_key(do, q, k, v, mask=None):
    dq, dk, dv = (x.astype(q.dtype) for x in sv.reference.attention_grad(do, q, k, v, mask))
    dk[..., -1, :] = 7
    return dq, dk, dv


def report(n=8, fn=bad_rows, **options):
    return check(fn, calls=[Call(n, n, left=2, right=0)], shrink=False, **options)


def centres(collection):
    boxes = [path.get_extents() for path in collection.get_paths()]
    return {(round((b.y0 + b.y1) / 2), round((b.x0 + b.x1) / 2)) for b in boxes}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pairs_of_failing_queries_stand_out(theme):
    ax = sv.plots.failures(report(), theme=theme)
    mask = Call(8, 8, left=2, right=0).mask
    found = {c.get_label(): c for c in ax.collections}
    assert centres(found["beyond the budget"]) == {(i, j) for i, j in np.argwhere(mask) if i >= 4}
    assert centres(found["within the budget"]) == {(i, j) for i, j in np.argwhere(mask) if i < 4}
    assert len(found["queries"].get_paths()) == 4
    assert len(found["keys"].get_paths()) == 0
    assert to_hex(found["beyond the budget"].get_facecolor()[0]).upper() == INGREDIENT["global"]
    words = words_of(ax)
    assert words["key"] == ["beyond the budget", "within the budget"]
    assert "4 of 8 queries wrong" in words["numbers"]


def test_keys_with_a_wrong_gradient():
    ax = sv.plots.failures(report(fn=plain, backward=no_last_key))
    found = {c.get_label(): c for c in ax.collections}
    assert len(found["queries"].get_paths()) == 0
    box = found["keys"].get_paths()[0].get_extents()
    assert (box.x0, box.x1, box.y0, box.y1) == (6.5, 7.5, -0.5, 7.5)
    assert "beyond the budget" not in found


def test_many_positions_are_an_image():
    ax = sv.plots.failures(report(96))
    image = ax.images[-1].get_array()
    assert image.shape[:2] == (96, 96)
    mask = Call(96, 96, left=2, right=0).mask
    colours = {tuple(np.round(image[i, j], 6)) for i, j in np.argwhere(mask)}
    assert len(colours) == 2  # within, and beyond


def test_the_mask_is_that_of_the_head_that_fails():
    def second_head(q, k, v, mask=None):
        o = plain(q, k, v, mask)
        o[1] += 1
        return o

    call = Call(6, 6, kv_heads=2, pattern=sv.PerHead(sv.Causal(), sv.SlidingWindow(0)))
    found = check(second_head, calls=[call], dialect=sv.golden.Dialect(mask_axes=3), shrink=False)
    np.testing.assert_array_equal(found.where()["mask"], np.eye(6, dtype=bool))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(TypeError, match="needs a Report"):
        sv.plots.failures([1])
    with pytest.raises(ValueError, match="no place to show"):
        sv.plots.failures(report(fn=plain))
