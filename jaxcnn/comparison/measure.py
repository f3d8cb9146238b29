"""Everything that is run to judge a gradient: in the caller's dtypes, and again in float64."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arguments import Arguments, describe, take_apart
from .automatic import Automatic, find_automatic
from .numerical import Differences
from .outputs import cotangent_for, floating_output, same_outputs
from .pullback import Pullback
from .rounding import wide
from .rule import rejected, rule_gradients
from .trial import LeafGradients, Point, Trial, attempt, unlike_values, with_noise


@dataclass(frozen=True)
class Leaf:
    """What was measured of one leaf: in the caller's dtypes and, where that is more, in float64."""

    number: int
    path: str
    primal: Any
    own: LeafGradients
    fine: LeafGradients | None

    @property
    def finest(self) -> LeafGradients:
        """The rule at its clearest, without the rounding of the caller's dtype."""
        return self.fine or self.own


@dataclass(frozen=True)
class Measured:
    """All that is known about a function's gradient."""

    name: str
    # What the gradient is compared with, in words; None where there is nothing automatic.
    against: str | None
    leaves: list[Leaf]
    differences: Differences
    # The trial in float64 where there is one, else that in the caller's dtypes.
    finest: Trial
    # Of the leaves and the outputs, by name.
    shapes: list[tuple[str, tuple[int, ...]]]
    failures: list[str]
    notes: list[str]


@dataclass(frozen=True)
class _Subject:
    """The function in question and its arguments, what it returned, and what it is called."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    name: str
    arguments: Arguments
    hand: Pullback
    value: Any
    outs: list[np.ndarray]
    point: Point
    failures: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


def measure(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    reference: Callable[..., Any] | None,
    argnums: int | Sequence[int] | None,
    cotangent: Any,
    rng: np.random.Generator,
) -> Measured:
    """Run `fn` and what it is compared with, and measure how far rounding takes them apart."""
    subject = _subject(fn, args, argnums, cotangent, rng)
    automatic = find_automatic(fn, subject.arguments, reference)
    own, automatic = _in_own_dtypes(subject, automatic)
    fine, fine_hand = _in_float64(subject, automatic, own)
    own, fine = with_noise(own, fine)
    words = automatic.words if automatic else None
    subject.failures.extend(unlike_values(own, subject.outs, words))
    differences = _differences(subject, own, fine_hand)
    leaves = [
        Leaf(k, path, primal, own.leaf(k), fine.leaf(k) if fine else None)
        for k, (path, primal) in enumerate(
            zip(subject.arguments.paths, subject.arguments.leaves, strict=True)
        )
    ]
    return Measured(
        name=subject.name,
        against=words,
        leaves=leaves,
        differences=differences,
        finest=fine or own,
        shapes=_shapes(subject),
        failures=subject.failures,
        notes=subject.notes,
    )


def _subject(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    argnums: int | Sequence[int] | None,
    cotangent: Any,
    rng: np.random.Generator,
) -> _Subject:
    """Call `fn` once, check what it returns, and choose the cotangents."""
    arguments, name = take_apart(fn, args, argnums), describe(fn)
    hand = Pullback(arguments.bind(fn), float64=False)
    value = hand.tree(arguments.leaves, arguments.fixed)
    outs = floating_output(name, value)
    g = cotangent_for(value, cotangent, rng)
    others = [cotangent_for(value, None, rng) for _ in range(2)]
    point = Point(arguments.leaves, arguments.fixed, [g, *others])
    return _Subject(fn, args, name, arguments, hand, value, outs, point)


def _in_own_dtypes(s: _Subject, automatic: Automatic | None) -> tuple[Trial, Automatic | None]:
    """The trial in the caller's dtypes, and what was differentiated: None without a derivative."""
    auto = automatic and Pullback(automatic.call, float64=False)
    if automatic and auto and automatic.given:
        same_outputs(s.value, auto.tree(s.point.leaves, s.point.fixed))
    hand, found = _by_hand(s)
    try:
        return attempt(hand, auto, s.point, found, s.hand.narrowest), automatic
    except Exception as error:  # whatever JAX raises where it has no derivative
        if automatic is None or automatic.given:
            raise
        s.notes.append(f"{automatic.words} does not exist: {_first_line(error)}")
        return attempt(hand, None, s.point, found, s.hand.narrowest), None


def _by_hand(s: _Subject) -> tuple[Pullback | None, tuple[list[np.ndarray], list[np.ndarray]]]:
    """The values and gradients of `fn`, with no pullback where JAX rejects what a rule returns."""
    g = s.point.cotangents[0]
    try:
        return s.hand, s.hand(s.point.leaves, s.point.fixed, g)
    except (TypeError, ValueError) as error:
        if not rejected(error):
            raise
        tree = jax.tree.unflatten(jax.tree.structure(s.value), g)
        gradients = rule_gradients(s.fn, s.args, s.arguments, tree, error)
        s.failures.append(f"JAX rejects the rule: {error}")
        return None, (s.outs, gradients)


def _in_float64(
    s: _Subject, automatic: Automatic | None, own: Trial
) -> tuple[Trial | None, Pullback | None]:
    """The trial in float64, where that is another one, and `fn` where it runs in float64."""
    if all(a.dtype == np.float64 for a in [*s.point.leaves, *s.outs]):
        return None, s.hand
    if own.hand is None:
        return None, None
    point = s.point.cast(np.float64)
    hand = Pullback(own.hand.call, float64=True)
    auto = automatic and Pullback(automatic.call, float64=True)
    try:
        found = hand(point.leaves, point.fixed, point.cotangents[0])
        _require_alike(found[0], s.outs, own.precision.relative)
        return attempt(hand, auto, point, found, hand.narrowest), hand
    except Exception as error:  # a function may insist on a dtype in any way it likes
        s.notes.append(f"not checked again in float64: {_first_line(error)}")
        return None, None


class _Unlike(Exception):
    """The function is another one in float64."""


def _require_alike(values: list[np.ndarray], outs: list[np.ndarray], relative: float) -> None:
    for v, out in zip(values, outs, strict=True):
        size = np.max(np.abs(wide(out)), initial=0.0)
        if not np.max(np.abs(wide(v) - wide(out)), initial=0.0) <= 4 * relative * size:
            raise _Unlike("it returns other values there, beyond rounding")


def _differences(s: _Subject, own: Trial, fine_hand: Pullback | None) -> Differences:
    """Central differences of `fn`, in float64 where it runs there."""
    if fine_hand is None:
        leaves = [np.asarray(leaf) for leaf in s.point.leaves]
        dtypes = " and ".join(sorted({str(leaf.dtype) for leaf in leaves}))
        s.notes.append(f"the central differences are taken in {dtypes}, and as noisy as that")
        evaluate = functools.partial(_value_at, s.hand, s.point.fixed)
        eps = own.precision.eps
        return Differences(evaluate, leaves, s.point.cotangents[0], eps, eps)
    point = s.point.cast(np.float64)
    narrow = max(fine_hand.narrowest, key=lambda d: jnp.finfo(d).eps, default=None)
    if narrow is not None:
        s.notes.append(
            f"{s.name} rounds to {narrow} inside: the central differences are as noisy as that"
        )
    eps = float(jnp.finfo(narrow or np.float64).eps)
    evaluate = functools.partial(_value_at, fine_hand, point.fixed)
    return Differences(evaluate, point.leaves, point.cotangents[0], eps, own.precision.eps)


def _value_at(hand: Pullback, fixed: list[Any], leaves: list[Any]) -> list[np.ndarray]:
    return hand.value(leaves, fixed)


def _shapes(s: _Subject) -> list[tuple[str, tuple[int, ...]]]:
    named = [*zip(s.arguments.paths, s.arguments.leaves, strict=True)]
    named += [("the output", out) for out in s.outs]
    return [(path, tuple(np.shape(a))) for path, a in named]


def _first_line(error: Exception) -> str:
    kind = "" if isinstance(error, _Unlike) else f"{type(error).__name__}: "
    lines = str(error).strip().splitlines() or [""]
    return kind + lines[0][:200]
