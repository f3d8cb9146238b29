"""The reference of `jaxcnn`: pdoc's pages, with the formulas of the docstrings as mathematics."""

import contextlib
import importlib
import inspect
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax
import pdoc
import pdoc.render
import pdoc.render_helpers
from jax.typing import ArrayLike
from jinja2 import pass_context
from jinja2.runtime import Context

from jaxcnn._window import Padding, TransposedPadding

from .docstring import with_mathematics

# What a user imports. The package loads its names when they are asked for, so that they stand in
# no module's dictionary, where pdoc looks.
_LAYERS = (
    *("conv", "conv_transpose", "conv_general_dilated", "max_pool", "avg_pool", "relu"),
    *("softmax", "dense", "softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels"),
)
NAMES = {
    "jaxcnn": (*_LAYERS, "compare", "assert_gradients_match"),
    "jaxcnn.reference": _LAYERS,
    "jaxcnn.comparison": ("compare", "assert_gradients_match", "Comparison"),
    "jaxcnn.convolution": ("conv", "conv_transpose"),
    "jaxcnn.mnist": ("train", "load"),
}
# The derivations, beside their functions; the twins; what comes back from compare, train and load.
PAGES = {
    "jaxcnn": (
        *("activation", "comparison", "convolution", "linear", "loss", "mnist", "pooling"),
        "reference",
    ),
    "jaxcnn.comparison": (),
    "jaxcnn.convolution": (),
    "jaxcnn.reference": (),
    "jaxcnn.mnist": ("run",),
    "jaxcnn.mnist.run": ("trained",),
}
_ALIASES: dict[str, Any] = {
    "jax.Array": jax.Array,
    "ArrayLike": ArrayLike,
    "Padding": Padding,
    "TransposedPadding": TransposedPadding,
    "PrecisionLike": jax.lax.PrecisionLike,
}
_TEMPLATES = Path(__file__).parent / "templates"


def build(out: Path) -> None:
    """Write the reference into the folder, which is made."""
    pdoc.render.configure(
        docformat="google",
        template_directory=_TEMPLATES,
        footer_text="",
        search=True,
        show_source=True,
        include_undocumented=False,
    )
    filters: dict[str, Any] = pdoc.render.env.filters
    plain = dict(filters)
    filters.update(to_markdown=_to_markdown, format_signature=_format_signature)
    try:
        with _listed():
            pdoc.pdoc("jaxcnn", output_directory=out)
    finally:
        filters.update(plain)


@pass_context
def _to_markdown(context: Context, docstring: str) -> str:
    marked = with_mathematics(docstring)
    return pdoc.render_helpers.to_markdown_with_context(context, marked)


def _format_signature(signature: inspect.Signature, colon: bool) -> str:
    parameters = [
        p.replace(annotation=_by_name(p.annotation)) for p in signature.parameters.values()
    ]
    returned = _by_name(signature.return_annotation)
    named = signature.replace(parameters=parameters, return_annotation=returned)
    return pdoc.render_helpers.format_signature(named, colon)


class _Name:
    """An annotation that is shown by its name, not by the union that it stands for."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


def _by_name(annotation: Any) -> Any:
    for name, alias in _ALIASES.items():
        if annotation == alias:
            return _Name(name)
        if not isinstance(alias, type) and annotation == (alias | None):
            return _Name(f"{name} | None")
    return annotation


@contextlib.contextmanager
def _listed() -> Generator[None, None, None]:
    """Every package with the names and the pages above as its `__all__`."""
    packages = {name: importlib.import_module(name) for name in PAGES}
    for name, package in packages.items():
        for public in NAMES.get(name, ()):
            package.__dict__[public] = getattr(package, public)
        package.__dict__["__all__"] = [*NAMES.get(name, ()), *PAGES[name]]
    try:
        yield
    finally:
        for package in packages.values():
            del package.__dict__["__all__"]
