"""The gallery as a page: what docs/gallery.py drew into build/gallery, or, where it has not run or is older than the package, draws now."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import sparsevis

HERE = Path(__file__).parent
DRAWN = HERE.parent / "build" / "gallery"


def page(folder):
    """Write gallery_pictures.md and the pictures into a folder."""
    sources = [HERE / "gallery.py", *Path(sparsevis.__file__).parent.rglob("*.py")]
    listed = DRAWN / "gallery.json"
    if not listed.exists() or listed.stat().st_mtime < max(file.stat().st_mtime for file in sources):
        # in a process of its own: it sets Numba to its simulator
        subprocess.run([sys.executable, HERE / "gallery.py", DRAWN], check=True, stdout=subprocess.DEVNULL)
    target = folder / "gallery"
    target.mkdir(parents=True, exist_ok=True)
    parts = json.loads(listed.read_text(encoding="utf-8"))
    for file, _, _ in parts:
        shutil.copy(DRAWN / file, target / file)
    shown = [_figure(*part) for part in parts]
    (folder / "gallery_pictures.md").write_text("\n".join(shown), encoding="utf-8")


def _figure(file, name, says):
    function = "animate" if name.startswith("film-") else name.partition("-")[0]
    function = {"hops": "hops_grid"}.get(function, function)
    return f"## {says[0].upper()}{says[1:]}\n\n{{py:func}}`sparsevis.plots.{function}`\n\n![{name}: {says}](generated/gallery/{file})\n"
