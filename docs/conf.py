"""How the documentation is built: pip install -e ".[docs]" and python -m sphinx -W -b html docs build/docs."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import choosing
import course
import explorer_page
import gallery_page
import generate
import golden_picture

import sparsevis

project, author, release = "sparsevis", "the sparsevis authors", sparsevis.__version__
extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_design", "mathml"]
html_math_renderer = "mathml"
exclude_patterns = ["build", "generated/choosing", "generated/gallery_pictures.md"]
html_extra_path = ["generated/explorer"]
html_theme = "pydata_sphinx_theme"
html_title = "sparsevis"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False, "header_links_before_dropdown": 10, "navbar_align": "left"}
html_context = {"default_mode": "auto"}
html_static_path, html_css_files = ["_static"], ["site.css"]
html_sidebars = {page: [] for page in ("choosing", "conventions", "explorer", "gallery", "teaching")}  # one page, nothing beside it
html_copy_source = html_show_sourcelink = False
nb_execution_mode = "off"  # what docs/course.py puts there has been run
# a widget shows its still picture: nothing is loaded from anywhere
nb_ipywidgets_js, nb_mime_priority_overrides = {}, [("*", "application/vnd.jupyter.widget-view+json", None)]
nb_code_prompt_show, nb_code_prompt_hide = "Show the solution", "Hide the solution"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autosummary_generate = True
# functions, methods and pages that are named must exist; types in signatures are mostly others', and link where they can
nitpicky, nitpick_ignore_regex = True, [("py:class", ".*"), ("py:obj", ".*")]
autodoc_default_options = {"members": True, "undoc-members": False}

shutil.rmtree(Path(__file__).parent / "generated" / "api", ignore_errors=True)  # autosummary leaves what is no longer listed
choosing.write(Path(__file__).parent / "generated" / "choosing")
gallery_page.page(Path(__file__).parent / "generated")
generate.pages(Path(__file__).parent / "generated")
explorer_page.write(Path(__file__).parent / "generated" / "explorer")
golden_picture.picture(Path(__file__).parent / "generated")
course.pages(Path(__file__).parent / "generated" / "course")
