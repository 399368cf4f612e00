"""Pictures: each function reads a result, draws it and returns the Axes. Matplotlib lives in this room alone, and only in use."""

from sparsevis.plots import style as style
from sparsevis.plots.animate import Animation as Animation
from sparsevis.plots.animate import animate as animate
from sparsevis.plots.attention import attention as attention
from sparsevis.plots.bench import bench as bench
from sparsevis.plots.compare import compare as compare
from sparsevis.plots.cost import cost as cost
from sparsevis.plots.cost import cost_bars as cost_bars
from sparsevis.plots.diff import diff as diff
from sparsevis.plots.graph import graph as graph
from sparsevis.plots.grid import compare_grid as compare_grid
from sparsevis.plots.grid import heads_grid as heads_grid
from sparsevis.plots.grid import layers_grid as layers_grid
from sparsevis.plots.growth import growth as growth
from sparsevis.plots.hops import hop_counts as hop_counts
from sparsevis.plots.hops import hops as hops
from sparsevis.plots.hops import hops_grid as hops_grid
from sparsevis.plots.layout import layout as layout
from sparsevis.plots.mask import mask as mask
from sparsevis.plots.mass_kept import mass_kept as mass_kept
from sparsevis.plots.receptive_field import receptive_field as receptive_field
from sparsevis.plots.roofline import roofline as roofline
from sparsevis.plots.style import save as save
from sparsevis.plots.tiling import running as running
from sparsevis.plots.tiling import tiling as tiling
from sparsevis.plots.tiling import tiling_grid as tiling_grid
