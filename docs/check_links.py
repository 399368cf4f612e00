"""Does every link inside the built documentation lead somewhere? python docs/check_links.py FOLDER

Reads each page of a folder of HTML. What a page refers to (links, pictures, scripts, frames) needs a file in the folder, and an anchor an
element with that id. Nothing is fetched: links that leave the folder are counted and left alone, but for scripts, style sheets, pictures
and frames from elsewhere, without which a page would not work offline.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

REFERS = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
UNLOADED = {"canonical", "search", "index", "next", "prev", "alternate"}  # <link rel=...> that a browser does not load


class Page(HTMLParser):
    """The ids of a page, and what it refers to: (address, whether it is loaded with the page, line)."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.ids, self.refers = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Keep ids, names of anchors, and addresses."""
        given = dict(attributes)
        self.ids |= {given[x] for x in ("id", "name") if given.get(x) and (x == "id" or tag == "a")}
        address = given.get(REFERS.get(tag, ""))
        if address:
            loaded = tag != "a" and not (tag == "link" and UNLOADED & set((given.get("rel") or "").split()))
            self.refers.append((address, loaded, self.getpos()[0]))


def broken(folder):
    """Return what is wrong, in sentences, and how many links were followed and left alone."""
    folder = Path(folder).resolve()
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.html")) if "_static" not in file.parts}
    if not pages:
        return [f"{folder} holds no page"], 0, 0
    found, followed, left = [], 0, 0
    for file, page in pages.items():
        for address, loaded, line in page.refers:
            parts = urlsplit(address)
            if parts.scheme == "data" or address.startswith("javascript:"):
                continue
            if parts.scheme or parts.netloc:
                left += 1
                if loaded:
                    found.append(f"{file.relative_to(folder)}:{line}: loads {address} from elsewhere")
                continue
            followed += 1
            wrong = _wrong(file, parts, folder, pages)
            if wrong:
                found.append(f"{file.relative_to(folder)}:{line}: {address}: {wrong}")
    return found, followed, left


def _wrong(file, parts, folder, pages):
    path = unquote(parts.path)
    goal = (file if not path else folder / path[1:] if path.startswith("/") else file.parent / path).resolve()
    if not goal.is_relative_to(folder):
        return "leads out of the documentation"
    if goal.is_dir():
        goal = goal / "index.html"
    if not goal.exists():
        return "there is no such file"
    anchor = unquote(parts.fragment)
    if anchor and goal in pages and anchor not in pages[goal].ids:
        return f"{goal.name} has no element with the id {anchor}"
    return None


def main(asked=None):
    """Check a folder; return the exit code."""
    asked = sys.argv[1:] if asked is None else asked
    if len(asked) != 1:
        print(__doc__.partition("\n")[0])
        return 2
    found, followed, left = broken(asked[0])
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{followed:,} links followed, {len(found)} broken; {left:,} lead elsewhere and were not asked")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
