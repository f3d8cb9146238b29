"""Functions with a rule of their own, right or wrong."""

import jax


def ruled(fn, bwd):
    """`fn` with a rule that keeps its arguments."""
    rule = jax.custom_vjp(fn)
    rule.defvjp(lambda *args: (fn(*args), args), bwd)
    return rule
