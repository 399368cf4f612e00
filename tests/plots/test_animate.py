import base64
import io
import json
import os
import re
import stat
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import sparsevis as sv
from sparsevis.palette import DARK

FIELD = sv.receptive_field(sv.mistral(4), 30, query=-1, layers=5)
WALK = sv.walk(*np.random.default_rng(0).standard_normal((3, 12, 4)), sv.Causal(), block=4)


def sweep(widths=(0, 1, 2, 4), **style):
    return sv.plots.animate(lambda w: sv.plots.mask(sv.SlidingWindow(w), 16, size=2, **style), widths)


def frames_of(page):
    """The PNG files a page plays."""
    (found,) = re.findall(r"const frames = (\[.*?\])", page)
    return [base64.b64decode(x) for x in json.loads(found)]


def pixels(image):
    return np.asarray(image.convert("RGB"), int)


def test_a_frame_a_layer_is_the_plot():
    movie = sv.plots.animate(FIELD, size=4, dpi=60)
    assert (len(movie), movie.name) == (6, "Layer 5: 16 of 30 keys seen")
    for l, image in enumerate(movie.images()):
        file = io.BytesIO()
        ax = sv.plots.receptive_field(FIELD, layer=l, size=4)
        ax.figure.savefig(file, format="png", dpi=60)
        np.testing.assert_array_equal(pixels(image), pixels(Image.open(file)))
    assert len(set(movie.frames)) == 6


def test_frames_stand_still():
    """What all frames have in common is drawn at the same place: below the bars nothing moves."""
    images = [pixels(i) for i in sv.plots.animate(FIELD, size=6, dpi=60).images()]
    high = images[0].shape[0]
    assert {i.shape for i in images} == {images[0].shape}
    for image in images[1:]:
        np.testing.assert_array_equal(image[int(0.85 * high) :], images[0][int(0.85 * high) :])


def test_a_frame_a_tile():
    movie = sv.plots.animate(WALK, size=6, dpi=50, theme="dark")
    assert len(movie) == len(WALK.steps) == 6
    assert (movie.paper, movie.name) == (DARK["paper"], "Tile 6 of 6")
    assert len(sv.plots.animate(WALK, [0, -1], size=4, dpi=40)) == 2


def test_gif(tmp_path):
    movie = sweep()
    file = movie.save(tmp_path / "sweep.gif")
    with Image.open(file) as gif:
        assert (gif.n_frames, gif.info["loop"], gif.size) == (4, 0, movie.images()[0].size)
        durations = []
        for at, frame in enumerate(movie.images()):
            gif.seek(at)
            durations.append(gif.info["duration"])
            got, want = pixels(gif), pixels(frame)
            assert got[0, 0].tolist() == want[0, 0].tolist() == [255, 255, 255]  # paper stays paper
            assert np.abs(got - want).max() < 40
            assert np.abs(got - want).mean() < 1
        assert durations == [1000, 1000, 1000, 2000]


def test_html_holds_all_and_asks_for_nothing(tmp_path):
    movie = sweep(theme="dark")
    text = movie.save(tmp_path / "sweep.html").read_text()
    assert frames_of(text) == list(movie.frames)
    assert "http://" not in text
    assert "https://" not in text
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,)', text)
    assert not re.findall(r"@[A-Z]+@", text)
    assert f"background:{DARK['paper']}" in text
    assert '<title>SlidingWindow(left=4)</title>' in text
    assert 'max="3"' in text
    shown = movie._repr_html_()
    assert shown.startswith("<iframe")
    assert "http" not in shown


def test_names_are_escaped():
    movie = sv.plots.animate(lambda w: sv.plots.mask(sv.Causal(), 8, title='<b> & "x"', size=2), [0])
    assert "<title>&lt;b&gt; &amp; &quot;x&quot;</title>" in movie.to_html()


def test_frames_of_different_sizes_get_paper():
    movie = sv.plots.animate(lambda s: sv.plots.mask(sv.Causal(), 8, size=s, theme="dark"), [2, 3], dpi=40)
    small, large = movie.images()
    assert small.size == large.size
    assert small.getpixel((small.size[0] - 1, small.size[1] - 1)) == (0x14, 0x17, 0x1C)


def test_a_figure_is_a_frame_and_none_is_left_open():
    before = plt.get_fignums()
    movie = sv.plots.animate(lambda n: sv.plots.compare_grid({"a": sv.Causal(), "b": sv.Strided(n)}, 12, size=4), [2, 3], dpi=40)
    assert (len(movie), movie.name) == (2, "a")
    assert plt.get_fignums() == before


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """A program called ffmpeg that writes down how it was called, and what it was given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ffmpeg"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nopen(sys.argv[-1], 'wb').write(sys.stdin.buffer.read())\n"
        f"open(r'{tmp_path / 'asked'}', 'w').write('\\n'.join(sys.argv[1:]))\n"
        "if 'broken' in sys.argv[-1]: sys.exit('no such codec')\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return tmp_path / "asked"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")
def test_mp4_gives_ffmpeg_the_frames(fake_ffmpeg, tmp_path):
    movie = sweep()
    file = movie.save(tmp_path / "sweep.mp4")
    assert file.read_bytes() == b"".join([*movie.frames, movie.frames[-1]])  # held two seconds
    asked = fake_ffmpeg.read_text().split("\n")
    assert asked[asked.index("-framerate") + 1] == "1"
    assert asked[asked.index("-pix_fmt") + 1] == "yuv420p"
    assert "color=0xFFFFFF" in asked[asked.index("-vf") + 1]
    with pytest.raises(RuntimeError, match=r"ffmpeg could not write 'broken\.mp4': no such codec"):
        movie.save(tmp_path / "broken.mp4")


def test_errors(tmp_path, monkeypatch):
    movie = sweep([1])
    for name, ending in (("x.webm", "'.webm'"), ("x", "''")):
        with pytest.raises(ValueError, match=rf"'{name}': the ending says what is written, and needs to be .* not {ending}"):
            movie.save(tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"mp4 is written by ffmpeg, which is not on the PATH; install it, or write \.gif or \.html"):
        movie.save(tmp_path / "x.mp4")
    with pytest.raises(TypeError, match=r"needs a ReceptiveField, what sparsevis\.walk returned, or a function that draws, not Causal"):
        sv.plots.animate(sv.Causal())
    with pytest.raises(ValueError, match="values needs to be given with a function"):
        sv.plots.animate(lambda w: None)
    with pytest.raises(TypeError, match="the function returned NoneType for 3, and needs to return the Axes or the Figure"):
        sv.plots.animate(lambda w: None, [3])
    with pytest.raises(ValueError, match="0 frames: an animation has from 1 to 500"):
        sweep([])
    with pytest.raises(ValueError, match="fps is 0"):
        sv.plots.animate(FIELD, fps=0)
    with pytest.raises(TypeError, match="name cannot be given with a function"):
        sv.plots.animate(lambda w: None, [3], name="x")
