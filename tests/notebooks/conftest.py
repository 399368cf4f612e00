"""The course is tested where Jupyter's parts are installed: pip install -e ".[test,notebook]"."""

import sys
from pathlib import Path

COURSE = Path(__file__).parents[2] / "notebooks"
sys.path.insert(0, str(COURSE))
