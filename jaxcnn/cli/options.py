"""Commands as tyro is to see them: their fields' docstrings as whole paragraphs."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
import typing
from typing import Annotated, Any

import tyro


def told(command: type) -> type:
    """The command's class, each option with the docstring under it as one paragraph of help.

    Tyro breaks the lines of help where the source does, and writes "(default: None)" where an
    option that is left out has no value.
    """
    texts = {name: text for c in reversed(command.__mro__) for name, text in _docstrings(c).items()}
    hints = typing.get_type_hints(command, include_extras=True)
    fields = []
    for f in dataclasses.fields(command):
        hint = {"help_behavior_hint": ""} if f.default in (None, ()) else {}
        told = [
            tyro.conf.arg(help=texts[f.name], **hint),
            *getattr(hints[f.name], "__metadata__", ()),
        ]
        kind = (
            typing.get_args(hints[f.name])[0]
            if hasattr(hints[f.name], "__metadata__")
            else (hints[f.name])
        )
        fields.append((f.name, Annotated[kind, *told], dataclasses.field(default=f.default)))
    frozen = command.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    made = dataclasses.make_dataclass(command.__name__, fields, bases=(command,), frozen=frozen)
    made.__doc__ = command.__doc__
    return made


def _docstrings(cls: Any) -> dict[str, str]:
    """The docstring under each field of a class, on one line."""
    if not dataclasses.is_dataclass(cls):
        return {}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    body = typing.cast(ast.ClassDef, tree).body
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
