"""How the documentation is built: pip install -e ".[docs]" and python -m sphinx -W -b html docs build/docs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import course
import explorer_page
import generate
import golden_picture

import sparsevis

project, author, release = "sparsevis", "the sparsevis authors", sparsevis.__version__
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "mathml"]
html_math_renderer = "mathml"
exclude_patterns = ["build"]
html_extra_path = ["generated/explorer"]
html_theme = "pydata_sphinx_theme"
html_title = "sparsevis"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_context = {"default_mode": "auto"}
nb_execution_mode = "off"  # what docs/course.py puts there has been run
nb_code_prompt_show, nb_code_prompt_hide = "Show the solution", "Hide the solution"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autosummary_generate = True
autodoc_default_options = {"members": True, "undoc-members": False}

generate.pages(Path(__file__).parent / "generated")
explorer_page.write(Path(__file__).parent / "generated" / "explorer")
golden_picture.picture(Path(__file__).parent / "generated")
course.pages(Path(__file__).parent / "generated" / "course")
