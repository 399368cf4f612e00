"""Formulas as MathML, which browsers draw themselves: pages need no script from elsewhere, and formulas have the colour of the text.

A Sphinx extension: `html_math_renderer = "mathml"`.
"""

from latex2mathml.converter import convert

__all__ = ["setup"]


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer, node):
    writer.body.append(convert(node.astext()))
    raise _skip()


def _block(writer, node):
    style = "overflow: auto hidden; margin: .6rem 0; padding: .4rem 0"
    writer.body.append(f'<div style="{style}">{convert(node.astext(), display="block")}</div>\n')
    raise _skip()


def _skip():
    from docutils.nodes import SkipNode

    return SkipNode()
