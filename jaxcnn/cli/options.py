"""Commands as tyro is to see them: their fields' docstrings as whole paragraphs."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
import typing
from typing import Annotated, Any

import tyro


def told(command: Any) -> Any:
    """The command's class, each option with the docstring under it as one paragraph of help.

    Tyro breaks the lines of help where the source does, and writes "(default: None)" where an
    option that is left out has no value.
    """
    texts = {name: text for c in reversed(command.__mro__) for name, text in _docstrings(c).items()}
    hints = typing.get_type_hints(command, include_extras=True)
    fields = []
    for f in dataclasses.fields(command):
        hint, text = hints[f.name], texts[f.name]
        # What the field says of itself comes after, and counts.
        said = getattr(hint, "__metadata__", ())
        kind = typing.get_args(hint)[0] if said else hint
        if f.default in (None, ()):
            said = (tyro.conf.arg(help_behavior_hint=""), *said)
        annotated = Annotated[kind, tyro.conf.arg(help=text), *said]
        fields.append((f.name, annotated, dataclasses.field(default=f.default)))
    frozen = command.__dataclass_params__.frozen
    made = dataclasses.make_dataclass(command.__name__, fields, bases=(command,), frozen=frozen)
    made.__doc__ = command.__doc__
    return made


def _docstrings(cls: Any) -> dict[str, str]:
    """The docstring under each field of a class, on one line."""
    if cls is object:
        return {}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(typing.cast(type, cls)))).body
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
