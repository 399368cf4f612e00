"""The explorer: a live view of patterns in a notebook, and as a page that needs neither Python nor a network.

    tree.py       a composition as plain values, which the interface edits
    controls.py   one control a field, derived from the pattern itself
    script.py     the pattern's formula as JavaScript
    answers.py    what Python computes for the views: costs, receptive fields, real attention, counts of large tables
    widget.py     the state, as traits
    page.py       the front end's text; pages that stand alone; the still picture
    front/        drawing and controls in the browser
"""

from sparsevis.explorer.widget import Explorer as Explorer
from sparsevis.explorer.widget import explore as explore

__all__ = ["Explorer", "explore"]
