"""A function by its address, module:function, as a command line and another process need it."""

from importlib import import_module

__all__ = ["address", "target"]


def target(text):
    """Import what `text` names; importing a module runs it.

    >>> target("sparsevis.reference:attention").__name__
    'attention'
    """
    module, colon, names = text.partition(":")
    if not (module and colon and names):
        raise ValueError(f"{text!r} names no function: needs module:function, such as my_package.kernels:attention")
    found = import_module(module)
    for name in names.split("."):
        if not hasattr(found, name):
            raise ValueError(f"{module} has no {names!r}")
        found = getattr(found, name)
    if not callable(found):
        raise ValueError(f"{text} is a {type(found).__name__}, and needs to be a function fn(q, k, v, ...)")
    return found


def address(fn):
    """Return module:function of a function that another process can import, or raise TypeError.

    >>> from sparsevis import reference
    >>> address(reference.attention)
    'sparsevis.reference:attention'
    """
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "")
    try:
        if module != "__main__" and target(f"{module}:{name}") is fn:
            return f"{module}:{name}"
    except (ValueError, ImportError):
        pass
    raise TypeError(f"isolate=True runs {name or fn!r} in another process, which cannot import it: define it at the top of a module")
