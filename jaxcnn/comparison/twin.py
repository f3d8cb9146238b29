"""The layers of this package and their twins in `jaxcnn.reference`."""

import functools
from collections.abc import Callable
from typing import Any

from .. import activation, convolution, drop_in, linear, loss, pooling, reference

_MODULES = (activation, convolution, drop_in, linear, loss, pooling)


def twin_of(fn: Callable[..., Any]) -> tuple[Callable[..., Any], str] | None:
    """The same layer in `jaxcnn.reference`, options kept, and its name; None for the others."""
    if isinstance(fn, functools.partial):
        found = twin_of(fn.func)
        return found and (functools.partial(found[0], *fn.args, **fn.keywords), found[1])
    name = getattr(fn, "__name__", "")
    twin = getattr(reference, name, None)
    ours = any(getattr(module, name, None) is fn for module in _MODULES)
    if name.startswith("_") or twin is None or not ours:
        return None
    return twin, f"jaxcnn.reference.{name}"
