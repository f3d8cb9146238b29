"""Which form a correlation takes: ordered tables, of which the first that fits is used.

A form is the same sum put to XLA in another way. On a CPU the ways differ by factors of 2 to 100;
elsewhere XLA has its own libraries and gets the plain convolution. What was measured, and what did
not pay, stands in MEASURED.md.
"""

import jax
import jax.numpy as jnp

from . import onednn, plain
from .apart import apart
from .choice_of_dw import FORMS_OF_DW
from .choice_of_y import FORMS_OF_Y
from .correlation import FREE, Correlation, Problem
from .form import Form

# XLA would fuse these with what reads y, and compute them anew for every place that is read.
APART = ("shifted", "tiled")
# These take bias and activation, and operands of 16 bits, themselves.
WHOLE = ("onednn", "neighbours")
NAMES = tuple(dict.fromkeys(form.name for form in (*FORMS_OF_Y, *FORMS_OF_DW)))


def table(c: Correlation) -> tuple[Form, ...]:
    """The forms of a sum, the first that fits first."""
    return FORMS_OF_DW if c.over_batch else FORMS_OF_Y


def choose(p: Problem) -> Form:
    """The first form that fits, or the one that is forced, whether it is fast or not."""
    forms = table(p.c)
    for form in forms:
        if form.name == p.c.form and (form.name != "onednn" or onednn.fits(p)):
            return form
    if p.target.platform != "cpu" or p.target.export:
        return forms[-1]
    return next(form for form in forms if form.fits(p))


def better_widened(p: Problem, form: Form) -> bool:
    """Whether operands of 16 bits are better put to XLA in float32, and the result rounded.

    XLA:CPU has no kernels for them and widens them itself, but late, and the forms for float32 are
    lost. oneDNN has its own.
    """
    narrow = jnp.issubdtype(p.dtype, jnp.floating) and jnp.dtype(p.dtype).itemsize < 4
    return narrow and form.name not in WHOLE and p.target.platform == "cpu" and not p.target.export


def run(
    x: jax.Array, w: jax.Array, b: jax.Array | None = None, *, c: Correlation, form: Form
) -> jax.Array:
    """The correlation by this form, with its bias and its activation."""
    # Inside the form that was forced, the nested choices are free.
    inner = c.with_(form=FREE if c.form == form.name else c.form)
    if form.name in WHOLE:
        return form.run(x, w, inner, *([] if b is None else [b]))
    inner = inner.linear()

    def finished(x: jax.Array, w: jax.Array, b: jax.Array | None) -> jax.Array:
        y = form.run(x, w, inner).astype(c.dtype or x.dtype)
        return plain.finished(y, b, c.activation)

    alone = form.name in APART and c.groups == 1 and not c.over_batch
    return (apart(finished) if alone else finished)(x, w, b)
