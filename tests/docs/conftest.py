"""What builds the documentation is tested here; building it needs pip install -e ".[docs]", these tests do not."""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
