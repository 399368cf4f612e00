"""What each command of the command line does: read the words, compute a result, print it, and draw it if a file is named.

A file's ending says what is written: .png, .svg or .pdf, a picture; .html, a page that stands alone, with the picture and the table.
"""

import ast
import inspect
import io
from html import escape
from pathlib import Path

from tqdm import tqdm

from sparsevis import spoken
from sparsevis.pattern import Pattern

__all__ = ["animate", "compare", "cost", "diff", "lint", "list_patterns", "receptive", "show"]

ENDINGS = (".png", ".svg", ".pdf", ".html")
MOVING = (".gif", ".html", ".mp4")


def list_patterns(arguments, rest):
    """Print the vocabulary."""
    for name, make in spoken.vocabulary().items():
        first = inspect.getdoc(make).partition("\n")[0]
        print(f"{name}{inspect.signature(make).replace(return_annotation=inspect.Signature.empty)}\n    {first}")


def show(arguments, rest):
    """One pattern, as text or as a picture."""
    _check_ending(arguments.output)
    pattern = spoken.pattern(arguments.pattern, _options(rest))
    n = pattern.example_length() if arguments.n is None else spoken.length(arguments.n)
    if arguments.output is None:
        print(pattern.describe(n))
        return
    plots = _plots()
    if isinstance(pattern, Pattern):
        picture = plots.mask(pattern, n)
    else:
        picture = plots.compare_grid({f"head {h}": p for h, p in enumerate(pattern.patterns)}, n)
    _write(picture, arguments.output, pattern.describe(n))
    print(f"{arguments.output}: {pattern!r} at n = {n:,}")


def cost(arguments, rest):
    """What a pattern costs, at one length or as a curve; measured as well, if asked."""
    from sparsevis.cost import Cost, cost
    from sparsevis.cost_curve import cost_curve

    _check_ending(arguments.output)
    pattern, ns = spoken.pattern(arguments.pattern, _options(rest)), spoken.lengths(arguments.n)
    asked = {"head_dim": arguments.head_dim, "heads": arguments.heads, "block": arguments.tile}
    if arguments.measure:
        from sparsevis.measure import measure

        result = measure(pattern, ns, **asked | {"heads": arguments.heads or (8 if isinstance(pattern, Pattern) else len(pattern))})
    else:
        result = cost(pattern, ns[0], **asked) if len(ns) == 1 else cost_curve(pattern, ns, **asked)
    print(result)
    if not arguments.output:
        return
    if isinstance(result, Cost):
        bars = {"dense": cost(None, ns[0], **asked | {"heads": result.heads}), arguments.pattern: result}
        picture = _plots().cost_bars(bars)
    else:
        picture = _plots().cost({arguments.pattern: result}, quantity=arguments.quantity)
    _write(picture, arguments.output, str(result))


def receptive(arguments, rest):
    """What queries have seen after each layer."""
    from sparsevis.receptive_field import receptive_field

    _check_ending(arguments.output)
    layers = spoken.stack(arguments.pattern, _options(rest), arguments.layers)
    n = spoken.length(arguments.n)
    field = receptive_field(layers, n, query=None if arguments.query == "all" else int(arguments.query))
    print(field)
    if arguments.output:
        plots = _plots()
        picture = plots.growth(field) if arguments.query == "all" else plots.receptive_field(field)
        _write(picture, arguments.output, str(field))


def compare(arguments, rest):
    """Patterns beside dense attention on the queries, keys and values of a real model."""
    from sparsevis import data
    from sparsevis.compare import compare

    _check_ending(arguments.output)
    capture = data.load()
    patterns = {text: spoken.pattern(text) for text in arguments.patterns}
    layer = capture.layers[0] if arguments.layer is None else arguments.layer
    result = compare(*capture.layer(layer), patterns)
    print(f"{capture!r}, layer {layer}\n{result}")
    if arguments.output:
        _write(_plots().compare(result), arguments.output, str(result))


def diff(arguments, rest):
    """Where two patterns part."""
    from sparsevis.diff import diff

    _check_ending(arguments.output)
    result = diff(spoken.pattern(arguments.a), spoken.pattern(arguments.b), spoken.length(arguments.n))
    print(result)
    if arguments.output:
        _write(_plots().diff(result), arguments.output, str(result))


def lint(arguments, rest):
    """What looks wrong in a pattern; the exit code is 1 where something is an error."""
    from sparsevis.lint import lint

    pattern = spoken.pattern(arguments.pattern, _options(rest))
    found = lint(pattern, spoken.length(arguments.n), causal=arguments.causal or None, layers=arguments.layers, block=arguments.tile)
    print(found)
    return int(any(finding.severity == "error" for finding in found))


def animate(arguments, rest):
    """Layers opening, tiles walked, or a parameter swept, as a film."""
    if arguments.output.suffix not in MOVING:
        raise ValueError(f"{arguments.output} ends in {arguments.output.suffix or 'nothing'!r}, and needs to end in {' or '.join(MOVING)}")
    options, n, plots = _options(rest), spoken.length(arguments.n), _plots()
    if arguments.sweep:
        name, _, values = arguments.sweep.partition("=")
        first, _, last = values.partition("..")
        if not (first.isdecimal() and last.isdecimal()):
            raise ValueError(f"--sweep {arguments.sweep!r}: needs a parameter and two whole numbers, such as window=2..24")
        movie = plots.animate(
            lambda x: plots.mask(spoken.pattern(arguments.pattern, options | {name: x}), n, size=6),
            tqdm(range(int(first), int(last) + 1), unit="frame", disable=None, leave=False),
        )
    elif arguments.tiles:
        from sparsevis import data
        from sparsevis.walk import walk

        q, k, v = (x[0, :n] for x in data.load().layer(2))
        movie = plots.animate(walk(q, k, v, spoken.pattern(arguments.pattern, options), block=arguments.tile))
    else:
        from sparsevis.receptive_field import receptive_field

        movie = plots.animate(receptive_field(spoken.stack(arguments.pattern, options, arguments.layers), n, query=-1))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    print(f"{movie.save(arguments.output)}: {len(movie)} frames")


# ---------------------------------------------------------------- words and files


def _options(rest):
    """["--window", "64", "--plan=published"] as {"window": 64, "plan": "published"}."""
    options, words = {}, iter(rest)
    for word in words:
        if not word.startswith("--"):
            raise ValueError(f"{word!r} is not expected here; parameters are given as --name value")
        name, equals, value = word[2:].partition("=")
        value = value if equals else next(words, None)
        if value is None:
            raise ValueError(f"--{name} needs a value")
        options[name.replace("-", "_")] = _value(value)
    return options


def _value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _check_ending(file):
    """Before anything takes time."""
    if file is not None and file.suffix not in ENDINGS:
        raise ValueError(f"{file} ends in {file.suffix or 'nothing'!r}, and needs to end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")


def _plots():
    import matplotlib as mpl

    mpl.use("Agg")
    from sparsevis import plots

    return plots


def _write(picture, file, text):
    """A picture to a file; as a page, with the text under it."""
    plots = _plots()
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix != ".html":
        plots.save(picture, file)
        return
    svg = io.StringIO()
    plots.save(picture, svg, format="svg")
    drawn = svg.getvalue()
    style = "body{max-width:64rem;margin:2rem auto;font-family:sans-serif}svg{max-width:100%;height:auto}pre{overflow-x:auto}"
    page = f"<!doctype html><meta charset='utf-8'><title>{escape(Path(file).stem)}</title><style>{style}</style>"
    file.write_text(f"{page}{drawn[drawn.index('<svg'):]}<pre>{escape(text)}</pre>\n", encoding="utf-8")
