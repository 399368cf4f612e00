"""Pictures that move: layers opening, tiles walked, a number swept. Each frame is what a plot function of this room draws.

    movie = animate(result)                                     a receptive field, layer by layer; a walk, tile by tile
    movie = animate(lambda w: mask(SlidingWindow(w), 48), range(12))
    movie.save("movie.gif")                                     or .html, a page with a player that needs no network; or .mp4

In a notebook the player is what the value shows.
"""

import io
import shutil
import subprocess
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from sparsevis.palette import LIGHT
from sparsevis.plots._player import page
from sparsevis.plots.receptive_field import receptive_field
from sparsevis.plots.style import figure
from sparsevis.plots.tiling import running, tiling

__all__ = ["Animation", "animate"]

MOST = 500  # frames; at 100 KB each a page of 67 MB


@dataclass(frozen=True, eq=False)
class Animation:
    """Frames of one size, and how to play them.

    Attributes
    ----------
    frames : tuple of bytes
        PNG files.
    fps : float
        Frames a second.
    hold : float
        Seconds the last frame stays.
    paper : str
        Colour around the frames.
    name : str
        What is seen, in words, for those who do not see it.
    """

    frames: tuple = field(repr=False)
    fps: float
    hold: float
    paper: str
    name: str

    def __len__(self):
        return len(self.frames)

    def images(self):
        """Return the frames as Pillow images."""
        return [Image.open(io.BytesIO(frame)).convert("RGB") for frame in self.frames]

    def save(self, file):
        """Write the animation and return the path: what is written is told by the ending, .gif, .html or .mp4 (which needs ffmpeg).

        Examples
        --------
        >>> import sparsevis as sv, tempfile
        >>> movie = animate(lambda w: sv.plots.mask(sv.SlidingWindow(w), 16, size=2), [0, 1, 2])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = movie.save(Path(folder) / "sweep.gif")
        ...     file.read_bytes()[:3]
        b'GIF'
        """
        file = Path(file)
        writers = {".gif": self._save_gif, ".html": self._save_html, ".htm": self._save_html, ".mp4": self._save_mp4}
        if file.suffix.lower() not in writers:
            raise ValueError(f"{file.name!r}: the ending says what is written, and needs to be .gif, .html or .mp4, not {file.suffix!r}")
        writers[file.suffix.lower()](file)
        return file

    def to_html(self):
        """Return a page with a player: play and pause, one frame back and forth, a slider; it holds its frames and needs no network."""
        return page(self.frames, self.name, self.paper, 1000 / self.fps, 1000 * self.hold)

    def _repr_html_(self):
        wide, high = Image.open(io.BytesIO(self.frames[0])).size
        style = f"border:0;width:100%;max-width:{wide}px;aspect-ratio:{wide}/{high + 56};background:{self.paper}"
        return f'<iframe style="{style}" title="{escape(self.name, quote=True)}" srcdoc="{escape(self.to_html(), quote=True)}"></iframe>'

    def _durations(self):
        """Milliseconds of each frame."""
        return [round(1000 / self.fps)] * (len(self.frames) - 1) + [round(1000 * max(self.hold, 1 / self.fps))]

    def _save_gif(self, file):
        first, *others = self._indexed()
        first.save(file, save_all=True, append_images=others, duration=self._durations(), loop=0, disposal=1)

    def _indexed(self):
        """The frames in one palette: one for each frame would flicker. Pillow's own nearest colour turns white paper into 252."""
        frames = self.images()
        few = [frames[x] for x in sorted({round(x) for x in np.linspace(0, len(frames) - 1, 12)})]
        colours, count = np.unique(np.concatenate([_packed(f).ravel() for f in few]), return_counts=True)
        exact = colours[np.argsort(-count)[:128]]  # paper and flat colours stay what they are
        rest = Image.fromarray(_unpacked(colours)[None]).quantize(256 - exact.size, method=Image.Quantize.MEDIANCUT).getpalette()
        palette = np.concatenate([_unpacked(exact), np.array(rest, np.uint8).reshape(-1, 3)])[:256]
        indexed = []
        for frame in frames:
            found, where = np.unique(_packed(frame), return_inverse=True)
            off = _unpacked(found).astype(np.int32)[:, None] - palette
            image = Image.fromarray((off**2).sum(-1).argmin(1).astype(np.uint8)[where.reshape(frame.size[::-1])])
            image.putpalette(palette.tobytes())
            indexed.append(image)
        return indexed

    def _save_html(self, file):
        file.write_text(self.to_html(), encoding="utf-8")

    def _save_mp4(self, file):
        ffmpeg = shutil.which("ffmpeg")
        if ffmpeg is None:
            raise RuntimeError(f"{file.name!r}: mp4 is written by ffmpeg, which is not on the PATH; install it, or write .gif or .html")
        held = [*self.frames, *[self.frames[-1]] * max(0, round(self.hold * self.fps) - 1)]
        even = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=" + self.paper.replace("#", "0x")  # the usual colours of video need even sides
        options = ["-vf", even, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        given = ["-f", "image2pipe", "-c:v", "png", "-framerate", f"{self.fps:g}", "-i", "-"]
        command = [ffmpeg, "-y", "-loglevel", "error", *given, *options, str(file)]
        done = subprocess.run(command, input=b"".join(held), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"ffmpeg could not write {file.name!r}: {done.stderr.decode(errors='replace').strip()[-400:]}")


def animate(what, values=None, *, fps=None, hold=2.0, theme="light", size=8.0, dpi=100, **style):
    """Draw a result step by step, or one picture for each of some values, as the frames of an animation.

    Parameters
    ----------
    what : ReceptiveField, Walked, or function of one value
        A receptive field opens layer by layer, a walk goes tile by tile; a function draws, and returns, a picture for a value.
    values : iterable, optional
        Layers, steps, or what the function takes; all layers or steps if left out.
    fps : float, optional
        Frames a second; left out, as many that all frames take about 8 seconds, from 1 to 12.
    hold : float
        Seconds the last frame stays.
    theme, size
        As for `mask`; a function says its own.
    dpi : float
        Pixels an inch.
    **style
        What the plot function of the result also takes.

    Returns
    -------
    Animation

    Examples
    --------
    >>> import sparsevis as sv
    >>> movie = sv.plots.animate(sv.receptive_field(sv.mistral(4), 30, query=-1, layers=5), size=4)
    >>> len(movie), movie.name
    (6, 'Layer 5: 16 of 30 keys seen')
    """
    draw, values = _drawing(what, values, theme, size, style)
    if not 1 <= len(values) <= MOST:
        raise ValueError(f"{len(values):,} frames: an animation has from 1 to {MOST}; give fewer values")
    fps = min(12.0, max(1.0, len(values) / 8)) if fps is None else float(fps)
    if not 0 < fps <= 60:
        raise ValueError(f"fps is {fps:g}, and needs to be above 0 and up to 60")
    images, name, paper = [], "", LIGHT["paper"]
    for value in values:
        picture = draw(value)
        if not isinstance(picture, Axes | Figure):
            returned = f"{type(picture).__name__} for {value!r}"
            raise TypeError(f"plots.animate: the function returned {returned}, and needs to return the Axes or the Figure it drew")
        fig = picture.figure.canvas.figure if isinstance(picture, Axes) else picture
        name = next((t.replace("\n", " ") for ax in fig.axes if (t := ax.get_title(loc="left"))), name)
        images.append(_rendered(fig, dpi))
        paper = "#{:02X}{:02X}{:02X}".format(*(round(255 * c) for c in fig.get_facecolor()[:3]))
        plt.close(fig)
    return Animation(_of_one_size(images, paper), fps, float(hold), paper, name)


def _drawing(what, values, theme, size, style):
    """(function that draws a value, values)"""
    look = {"theme": theme, "size": size} | style
    if hasattr(what, "hop_counts") and hasattr(what, "cone"):
        count = len(what.sizes) + 1
        return lambda layer: receptive_field(what, layer=layer, **look), list(range(count) if values is None else values)
    if hasattr(what, "steps") and hasattr(what, "layout"):
        return lambda step: _frame_of_walk(what, step, theme, size, **style), list(range(len(what.steps)) if values is None else values)
    if not callable(what):
        given = f"{type(what).__name__} {what!r:.60}"
        raise TypeError(f"plots.animate needs a ReceptiveField, what sparsevis.walk returned, or a function that draws, not {given}")
    if values is None:
        raise ValueError("plots.animate: values needs to be given with a function: what it is called with, one a frame")
    if style:
        raise TypeError(f"plots.animate: {', '.join(style)} cannot be given with a function, which says its own style")
    return what, list(values)


def _frame_of_walk(walked, step, theme, size):
    """The tile the walk stands on, and beside it what its queries know now."""
    fig = figure(1, 2, width=size, height=0.42 * size, theme=theme)
    fig.axes[0].get_gridspec().set_width_ratios([1, 1.7])
    count = len(walked.steps)
    tiling(walked, step=step, ax=fig.axes[0], theme=theme, title=f"Tile {step % count + 1:,} of {count:,}")  # one line in all frames
    running(walked, step=step, ax=fig.axes[1], theme=theme)
    return fig


def _rendered(fig, dpi):
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=dpi, facecolor=fig.get_facecolor())
    return Image.open(file).convert("RGB")


def _of_one_size(images, paper):
    """PNG files of the images, with paper where one is smaller than the largest."""
    wide, high = (max(image.size[side] for image in images) for side in (0, 1))
    frames = []
    for image in images:
        if image.size != (wide, high):
            image, small = Image.new("RGB", (wide, high), paper), image
            image.paste(small, (0, 0))
        file = io.BytesIO()
        image.save(file, format="png", optimize=True)
        frames.append(file.getvalue())
    return tuple(frames)


def _packed(image):
    """Colours as one number a pixel."""
    rgb = np.asarray(image, np.uint32)
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


def _unpacked(colours):
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], -1).astype(np.uint8)
