"""The look all pictures share: paper and ink for light and dark, type that grows with the axes, axes of a matrix and of values.

A plot is drawn inside `canvas`, which applies the style in a context, so that nothing global changes. Sizes follow the axes: type grows
with the power 0.7 of their width, so that one figure serves as a thumbnail (2 inches), in a notebook (6) and on a slide (12).
"""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator

from sparsevis.palette import DARK, INGREDIENT, LIGHT
from sparsevis.plots.shade import luminance, mix, readable
from sparsevis.plots.words import short, text_width

__all__ = ["Look", "canvas", "context", "draw_image", "figure", "matrix_axes", "save", "settle", "tighten", "value_axes"]


@dataclass(frozen=True)
class Look:
    """What a plot needs to know of its theme and its axes.

    Attributes
    ----------
    theme : {"light", "dark"}
    width : float
        Of the axes, in points, as planned.
    room : float
        Width in points that headings have; `settle` measures it.
    own : bool
        Whether the figure was made for this plot.
    """

    theme: str
    width: float
    room: float
    own: bool = False

    def __getattr__(self, name):
        palette = DARK if self.theme == "dark" else LIGHT
        if name not in palette:
            raise AttributeError(f"a look has the colours {', '.join(palette)}; not {name!r}")
        return palette[name]

    def points(self, kind):
        """Type size in points of a "title", of the "numbers" under it, of a "label" or of a "tick"."""
        base, least = {"title": (12.5, 7), "numbers": (9.5, 5.5), "label": (9.5, 6), "tick": (9, 5.5)}[kind]
        return max(least, base * self.scale)

    @property
    def scale(self):
        """Size of type and lines, 1 on axes of five inches."""
        return (max(self.width, 36) / 360) ** 0.7

    @property
    def pale(self):
        """The colour of work that is done and not needed."""
        return mix(self.paper, INGREDIENT["partial"], 0.42 if self.theme == "light" else 0.27)

    @property
    def small(self):
        """Whether the axes are a thumbnail, which leaves out what is not needed at a glance."""
        return self.width < 150

    @property
    def pixels(self):
        """The most pixels a side of an image: a power of two, at most 100 an inch, so that no line falls between those of a screen."""
        return 1 << int(np.log2(max(16, self.width * 100 / 72)))

    def word(self, colour):
        """Return a colour for words that are to be seen as `colour`."""
        return readable(colour, self.paper, self.ink)


def context(theme="light"):
    """Return a context in which figures have this style.

    Examples
    --------
    >>> import sparsevis as sv
    >>> with sv.plots.style.context("dark"):
    ...     fig, (left, right) = plt.subplots(1, 2, figsize=(10, 6), layout="constrained")
    >>> ax = sv.plots.mask(sv.Causal(), 24, ax=left)
    >>> plt.close(fig)
    """
    look = _look(theme)
    plt.draw_if_interactive()  # loads the backend: one that turns interactive mode on, as a notebook's does, must not do so in the context
    return mpl.rc_context({
        "figure.facecolor": look.paper, "axes.facecolor": look.paper, "savefig.facecolor": "auto", "text.color": look.ink,
        "axes.labelcolor": look.soft, "xtick.color": look.soft, "ytick.color": look.soft, "axes.edgecolor": look.grid,
        "font.family": "DejaVu Sans", "svg.fonttype": "none", "pdf.fonttype": 42,
    })  # fmt: skip


def figure(rows=1, columns=1, *, width=6.0, height=None, theme="light"):
    """Return a figure of empty axes in the style, to draw several plots on.

    >>> fig = figure(1, 2, width=12, height=6, theme="dark")
    >>> len(fig.axes), fig.get_facecolor() == mpl.colors.to_rgba(DARK["paper"])
    (2, True)
    >>> plt.close(fig)
    """
    with context(theme):
        fig, _ = plt.subplots(rows, columns, figsize=(width, rows * width / columns if height is None else height), layout="constrained")
    margin = 0.02 * width / columns
    fig.get_layout_engine().set(w_pad=margin, h_pad=margin)
    return fig


def save(picture, file, dpi=150, format=None):
    """Write a figure, or the figure of some axes, to a file, whose ending says the format; text stays text in SVG and PDF."""
    fig = picture.figure.canvas.figure if isinstance(picture, mpl.axes.Axes) else picture
    with context():
        fig.savefig(file, dpi=dpi, format=format)


@contextmanager
def canvas(ax, theme, size, ratio=None):
    """Give (axes, look) to draw with, in the style.

    Parameters
    ----------
    ax : Axes or None
        None makes a new figure, `size` inches wide.
    theme : {"light", "dark"} or None
        None takes what fits the figure of `ax`. A theme that is given also colours the figure.
    ratio : float or function of the look, optional
        Height over width of the new figure; left out, the height is what square axes and their labels need.
    """
    if ax is None:
        look = _look(theme or "light", 72 * (0.88 * size - 0.35), own=True)
        fig = figure(width=size, height=size * (ratio(look) if callable(ratio) else ratio or 1), theme=look.theme)
        with context(look.theme):
            try:
                yield fig.axes[0], look
            except BaseException:
                plt.close(fig)
                raise
            if ratio is None:
                tighten(fig)
        return
    fig = ax.figure.canvas.figure
    look = _look(theme or _fitting(fig), _width(ax, square=ratio is None))
    if theme:
        fig.set_facecolor(look.paper)
    with context(look.theme):
        yield ax, look


def settle(ax, look):
    """Return the look with the room a heading has: from the left of the axes, whose labels are known now, to the edge of the figure."""
    if not look.own:
        return look
    fig, engine = ax.figure, ax.figure.get_layout_engine()
    engine.execute(fig)
    inches = fig.get_figwidth() - engine.get()["w_pad"] - ax.get_window_extent().x0 / fig.dpi
    return replace(look, room=72 * inches)


def tighten(fig):
    """Give a figure of equal square axes the height they need at its width, so that no empty band is left."""
    fig.get_layout_engine().execute(fig)
    axes = [ax for ax in fig.axes if ax.get_subplotspec() is not None]
    rows, columns = axes[0].get_gridspec().get_geometry()
    beside, over = np.zeros((2, columns)), np.zeros((2, rows))  # what labels need left and right of each column, above and below each row
    for ax in axes:
        spec, inner, outer = ax.get_subplotspec(), ax.get_window_extent(), ax.get_tightbbox()
        row, column = spec.rowspan.start, spec.colspan.start
        sides = inner.x0 - ax.yaxis.get_tightbbox().x0, ax.xaxis.get_tightbbox().x1 - inner.x1  # not of headings: they fit the axes to come
        beside[:, column] = np.maximum(beside[:, column], sides)
        over[:, row] = np.maximum(over[:, row], (outer.y1 - inner.y1, inner.y0 - outer.y0))
    pads = fig.get_layout_engine().get()
    side = (fig.get_figwidth() - beside.sum() / fig.dpi) / columns - 2 * pads["w_pad"]
    shape = max(abs(np.diff(ax.get_ylim()) / np.diff(ax.get_xlim())).item() if ax.get_aspect() == 1 else 1 for ax in axes)
    fig.set_figheight(rows * (side * shape + 2 * pads["h_pad"]) + over.sum() / fig.dpi)


def matrix_axes(ax, look, nq, nk, note=""):
    """Set up axes for a matrix: query down, key right, row 0 on top, square cells, three ticks a side, no frame."""
    ax.set(xlim=(-0.5, nk - 0.5), ylim=(nq - 0.5, -0.5), facecolor=look.ground)
    ax.set_aspect("equal" if nq <= 2 * nk <= 16 * nq else "auto")
    ax.set_anchor("NW")  # what square axes leave of their place lies right and below, and headings of neighbours stand level
    _plain(ax, look)
    for axis, n in ((ax.xaxis, nk), (ax.yaxis, nq)):
        ticks = sorted({0, n - 1} if look.small and n > 1000 else {0, n // 2, n - 1})
        axis.set_ticks(ticks, [short(t) if look.small else f"{t:,}" for t in ticks])
    if nk > 1000:  # a long last label ends with the axes, and so does not make them narrower
        ax.get_xticklabels()[-1].set_ha("right")
    label = f"key · {note}" if note else "key"
    if text_width(label, look.points("label")) > look.width:
        label = f"key\n{note}"
    ax.set_xlabel(label, fontsize=look.points("label"), color=look.soft)
    if not look.small:
        ax.set_ylabel("query", fontsize=look.points("label"), color=look.soft)


def draw_image(ax, image, high, wide):
    """Draw an image whose pixels are `high` x `wide` positions on the axes of a matrix, which cut what hangs over."""
    limits = {"xlim": ax.get_xlim(), "ylim": ax.get_ylim()}
    extent = (-0.5, wide * image.shape[1] - 0.5, high * image.shape[0] - 0.5, -0.5)
    ax.imshow(image, extent=extent, aspect=ax.get_aspect(), origin="upper")
    ax.set(**limits)


def value_axes(ax, look, x, y):
    """Set up axes to read values from: a light grid, no frame, no tick marks."""
    _plain(ax, look)
    ax.set_facecolor(look.paper)
    ax.grid(visible=True, which="major", color=look.grid, lw=0.8 * look.scale)
    ax.set_axisbelow(True)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(x, fontsize=look.points("label"), color=look.soft)
    ax.set_ylabel(y, fontsize=look.points("label"), color=look.soft)


def _plain(ax, look):
    """Take frame and tick marks away and set the type of tick labels."""
    ax.spines[:].set_visible(False)
    size = look.points("tick")
    ax.tick_params(which="both", length=0, pad=0.4 * size, labelsize=size, colors=look.soft)


def _width(ax, square):
    """Width in points that given axes, or the largest square on them, will have about: constrained layout has not moved them yet."""
    fig, spec = ax.figure, ax.get_subplotspec()
    wide, high = ax.bbox.width / fig.dpi, ax.bbox.height / fig.dpi
    if spec is not None and isinstance(fig.canvas.figure.get_layout_engine(), ConstrainedLayoutEngine):
        grid = spec.get_gridspec()
        shares = [np.divide(ratios, sum(ratios)) for ratios in (grid.get_width_ratios(), grid.get_height_ratios())]
        wide = 0.88 * fig.bbox.width / fig.dpi * shares[0][spec.colspan].sum() - 0.35
        high = 0.88 * fig.bbox.height / fig.dpi * shares[1][spec.rowspan].sum() - 0.7
    return 72 * max(0.5, min(wide, high) if square else wide)


def _look(theme, width=360.0, own=False):
    if theme not in ("light", "dark"):
        raise ValueError(f'theme is {theme!r}, and needs to be "light" or "dark"')
    return Look(theme, width, width, own)


def _fitting(fig):
    r, g, b, alpha = mpl.colors.to_rgba(fig.get_facecolor())
    return "dark" if alpha > 0.5 and luminance((r, g, b)) < 0.18 else "light"
