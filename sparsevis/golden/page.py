"""A report as a page of its own: verdict, diagnosis, where it fails, worst elements, families. It loads nothing, and runs nothing."""

from html import escape

from sparsevis.golden.picture import drawn
from sparsevis.palette import DARK, LIGHT

__all__ = ["page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root {{ color-scheme: light dark; {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
body {{ margin: 0 auto; padding: 2rem 1.5rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }} h2 {{ font-size: 1.05rem; margin: 2rem 0 .5rem; }}
.verdict {{ color: var(--paper); background: var(--bad); border-radius: 4px; padding: .1em .5em; font-size: 1rem; vertical-align: 2px; }}
.right {{ background: var(--good); }} .soft, figcaption, th {{ color: var(--soft); }} p {{ margin: .25rem 0; }}
.said {{ font-size: 1.15rem; font-weight: 600; }} figure {{ margin: 1rem 0; }} code {{ overflow-wrap: anywhere; }}
code, .n {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .92em; }}
table {{ border-collapse: collapse; width: 100%; }} th {{ font-weight: normal; }}
td, th {{ text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--grid); vertical-align: top; }}
td:first-child {{ white-space: nowrap; }} .n {{ text-align: right; white-space: nowrap; }} .bad {{ color: var(--bad); font-weight: 600; }}
"""


def page(report):
    """Return a report as HTML; every text from outside is escaped."""
    colours = {"bad": "#C04A00", "good": "#00795A"}, {"bad": "#FF9A4D", "good": "#0B8F6B"}
    light, dark = (" ".join(f"--{x}: {y};" for x, y in (some | more).items()) for some, more in zip((LIGHT, DARK), colours, strict=True))
    head = [
        '<meta charset="utf-8">', f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width">', f"<title>{escape(report.name)}</title>",
        f"<style>{STYLE.format(light=light, dark=dark)}</style>",
    ]  # fmt: skip
    body = [*_verdict(report), *_explained(report), *_worst(report), *_families(report), *_judged_by(report)]
    return f"<!doctype html><html lang='en'><head>{''.join(head)}</head><body>{''.join(body)}</body></html>"


def _verdict(report):
    words = "conforms" if report.ok else "fails" if report.counts["fail"] else "nothing was tested"
    yield f'<h1>{escape(report.name)} <span class="verdict{" right" if report.ok else ""}">{words}</span></h1>'
    yield f'<p class="soft">{escape(report.summary)}</p>'


def _explained(report):
    if report.diagnosis:
        (best, explained), *others = report.diagnosis
        yield f'<h2>Diagnosis</h2><p class="said">{escape(best)}</p><p class="soft">explains {explained} of the failing calls looked at</p>'
        yield "".join(f"<p>or also: {escape(words)} ({n})</p>" for words, n in others[:3])
    if report.telling is not None:
        yield f"<h2>Where it fails</h2>{drawn(report.telling)}"
    if report.smallest is not None:
        yield f"<h2>The smallest failing call</h2><p><code>{escape(repr(report.smallest.call))}</code></p>"
        yield f"<p>{escape(report.smallest.reason)}</p>"


def _worst(report):
    some = report.worst_of_families(8)
    if not some:
        return
    yield "<h2>Furthest beyond their budget</h2><table><tr><th>family</th><th>call</th><th>worst element</th></tr>"
    for o in some:
        yield f"<tr><td>{escape(o.family)}</td><td><code>{escape(repr(o.call))}</code></td><td>{escape(o.reason)}</td></tr>"
    yield "</table>"


def _families(report):
    yield '<h2>Families of calls</h2><table><tr><th>family</th><th class="n">pass</th><th class="n">fail</th>'
    yield '<th class="n">not supported</th><th class="n">worst error / budget</th></tr>'
    for row in report.to_dicts():
        worst = f"{row['worst']:.2g}" if row["pass"] + row["fail"] else "-"
        cells = [f'<td class="n{" bad" if x == "fail" and row[x] else ""}">{row[x]}</td>' for x in ("pass", "fail", "unsupported")]
        over = " bad" if not row["worst"] <= 1 else ""
        yield f'<tr><td>{escape(row["family"])}</td>{"".join(cells)}<td class="n{over}">{worst}</td></tr>'
    yield "</table>"


def _judged_by(report):
    yield f"<h2>Judged by</h2><p><code>{escape(repr(report.model))}</code></p>"
    if report.tightest is not None:
        words, model, calls = report.tightest
        yield f"<p>The tightest model that {calls} of its calls pass: {escape(words)}, <code>{escape(repr(model))}</code></p>"
    missing = report.to_dict()["unsupported"]
    if missing:
        said = ", ".join(f"{why} ({n})" for why, n in missing.items())
        yield f"<p>Not supported, and not judged: {escape(said)}</p>"
