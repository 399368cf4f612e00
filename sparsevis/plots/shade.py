"""Colours made from the palette's: mixed, blended by exact shares, and darkened until they can be read. And rounded squares."""

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import BoxStyle
from matplotlib.path import Path

__all__ = ["blend", "luminance", "mix", "readable", "rounded", "shades", "strength"]


def mix(a, b, share):
    """Return the colour that is `share` of the way from a to b.

    >>> mix("#000000", "#FFFFFF", 0.5)
    '#808080'
    """
    return to_hex((1 - share) * np.array(to_rgb(a)) + share * np.array(to_rgb(b)))


def strength(share):
    """Return how far a pixel's colour stands from the ground: 0 for nothing, 1 for all, and never so little that a line gets lost.

    >>> strength(np.array([0, 1e-4, 0.01, 1])).round(2)
    array([0.  , 0.24, 0.37, 1.  ])
    """
    share = np.asarray(share, float)
    return np.where(share > 0, 0.2 + 0.8 * np.cbrt(share), 0)


def blend(ground, layers):
    """Return an RGB image of (colour, share) layers over the ground: hue by the layers' strengths, depth by that of their sum.

    >>> blend("#FFFFFF", [("#000000", np.array([[0.0, 1.0]]))])[..., 0]
    array([[1., 0.]])
    """
    weights = [strength(share) for _, share in layers]
    hue = sum(w[..., None] * np.array(to_rgb(colour)) for w, (colour, _) in zip(weights, layers, strict=True))
    hue = hue / np.where(sum(weights) > 0, sum(weights), 1)[..., None]
    depth = strength(np.clip(sum(share for _, share in layers), 0, 1))[..., None]
    return (1 - depth) * np.array(to_rgb(ground)) + depth * hue


def shades(ground, colour):
    """Return key entries that say what the depths of a blended image stand for."""
    marks = [(0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1, "all of a pixel")]
    return [([mix(ground, colour, float(strength(share)))], name) for share, name in marks]


def luminance(colour):
    """Return the relative luminance of a colour, as WCAG 2 defines it: 0 for black, 1 for white."""
    r, g, b = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(colour))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def readable(colour, paper, ink):
    """Return `colour`, moved towards the ink until words in it read well on the paper: contrast 4.5, as WCAG 2 asks.

    >>> readable("#E69F00", "#FFFFFF", "#1D2530")
    '#966e13'
    """
    for step in np.linspace(0, 1, 41):
        mixed = mix(colour, ink, step)
        dark, light = sorted((luminance(mixed), luminance(paper)))
        if (light + 0.05) / (dark + 0.05) >= 4.5:
            break
    return mixed


def rounded(x, y, width, height, radius):
    """Return rounded rectangles as paths, one for each corner (x, y) of least coordinates."""
    base = BoxStyle.Round(pad=0, rounding_size=radius)(0, 0, width, height, 1)
    return [Path(base.vertices + corner, base.codes) for corner in np.column_stack([x, y])]
