"""Pictures: each function reads a result, draws it and returns the Axes. Matplotlib lives in this room alone, and only in use."""

from sparsevis.plots import style as style
from sparsevis.plots.attention import attention as attention
from sparsevis.plots.bench import bench as bench
from sparsevis.plots.compare import compare as compare
from sparsevis.plots.cost import cost as cost
from sparsevis.plots.cost import cost_bars as cost_bars
from sparsevis.plots.diff import diff as diff
from sparsevis.plots.grid import compare_grid as compare_grid
from sparsevis.plots.layout import layout as layout
from sparsevis.plots.mask import mask as mask
from sparsevis.plots.roofline import roofline as roofline
from sparsevis.plots.style import save as save
