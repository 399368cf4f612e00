"""The colours of everything sparsevis draws: one an ingredient, in figures, tables, thumbnails and the notebook alike.

Okabe and Ito's colours (jfly.uni-koeln.de/color), told apart with every common kind of colour blindness.
"""

__all__ = ["DARK", "INGREDIENT", "LIGHT"]

INGREDIENT = {
    "window": "#0072B2",
    "global": "#D55E00",
    "random": "#009E73",
    "dilated": "#CC79A7",
    "sink": "#E69F00",
    "dense": "#8A94A0",
    "partial": "#56B4E9",
}

LIGHT = {"paper": "#FFFFFF", "ink": "#1D2530", "soft": "#6B7684", "grid": "#E6E9ED", "ground": "#F3F5F7"}
DARK = {"paper": "#14171C", "ink": "#E9ECEF", "soft": "#9AA4AF", "grid": "#2A3038", "ground": "#1E2329"}
