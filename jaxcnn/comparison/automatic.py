"""What is differentiated automatically: a reference, the twin of a layer, or `fn` without rules."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from .arguments import Arguments, describe
from .jaxpr import rule_in, without_rules
from .pullback import NEEDS_VALUES, working
from .twin import twin_of


@dataclass(frozen=True)
class Automatic:
    """A function of (leaves, fixed) to differentiate, its name in words, and whether it was given.

    One that was not given may turn out to have no derivative.
    """

    call: Callable[[Any, Any], Any]
    words: str
    given: bool


def find_automatic(
    fn: Callable[..., Any], arguments: Arguments, reference: Callable[..., Any] | None
) -> Automatic | None:
    """What to compare the gradient of `fn` with; None where only differences are left."""
    if reference is not None:
        return Automatic(arguments.bind(reference), describe(reference), given=True)
    twin = twin_of(fn)
    if twin is not None:
        return Automatic(arguments.bind(twin[0]), twin[1], given=False)
    call = arguments.bind(fn)
    try:
        with working(float64=False):
            rule = rule_in(jax.make_jaxpr(call)(arguments.leaves, arguments.fixed))
    except NEEDS_VALUES:
        return None
    if rule is None:
        return None
    words = f"the automatic gradient of {describe(fn)} without its {rule}"
    return Automatic(without_rules(call, rule), words, given=False)
