"""Forcing one way of putting convolutions to XLA, to measure it against the others."""

import functools
import importlib

from .._errors import CommandError
from ..lowering import correlation, forms_of_dw, forms_of_y


def force(form: str) -> None:
    """Have every convolution of this process use `form` wherever a form of that name exists.

    The forward pass and dx have other forms than dw; of the two, the one that has none of that
    name goes on choosing.

    Raises:
        CommandError: neither has.
    """
    known = {"correlate": forms_of_y.FORMS, "correlate_over_batch": forms_of_dw.FORMS}
    if not any(form in forms for forms in known.values()):
        names = ", ".join(sorted({name for forms in known.values() for name in forms}))
        raise CommandError(f"--form {form}: the forms are {names}.")
    rules = importlib.import_module("jaxcnn.convolution")
    for function, forms in known.items():
        if form in forms:
            setattr(rules, function, functools.partial(getattr(correlation, function), form=form))
