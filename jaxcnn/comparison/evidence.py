"""Everything that is run to judge a gradient: in the caller's dtypes, and again in float64."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arguments import Arguments, describe, take_apart
from .automatic import rule_in, twin_of, without_rules
from .numerical import Differences
from .outputs import cotangent_for, floating_output, same_outputs
from .pullback import NEEDS_VALUES, Pullback, working
from .rounding import Precision, noise, precision, scale, wide
from .rule import rejected, rule_gradients


@dataclass(frozen=True)
class Point:
    """Where the gradients are taken: leaves, arrays held fixed, and a few cotangents."""

    leaves: list[Any]
    fixed: list[Any]
    cotangents: list[list[Any]]

    def cast(self, dtype: Any) -> "Point":
        """The same point in one floating dtype."""
        g = [_cast(c, dtype) for c in self.cotangents]
        return Point(_cast(self.leaves, dtype), _cast(self.fixed, dtype), g)


def _cast(arrays: list[Any], dtype: Any) -> list[Any]:
    """The floating arrays among them in `dtype`, as NumPy arrays."""
    return [
        np.asarray(a).astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a for a in arrays
    ]


@dataclass(frozen=True)
class Automatic:
    """What is differentiated automatically, and its name in words."""

    call: Callable
    words: str
    given: bool


@dataclass(frozen=True)
class Run:
    """Gradients of every leaf in one precision; `right` is the automatic ones, None without."""

    values: list[np.ndarray]
    gradients: list[np.ndarray]
    right_values: list[np.ndarray] | None
    right: list[np.ndarray] | None
    # The automatic gradients under the other cotangents: they show the scale of a leaf.
    others: list[list[np.ndarray]]
    precision: Precision
    # The rounding of the automatic gradients, measured in another dtype, leaf by leaf.
    noise: list[float]

    def tolerance(self, k: int) -> float:
        """The absolute error that leaf k is let pass."""
        gradients = [o[k] for o in self.others]
        gradients.append(self.gradients[k] if self.right is None else self.right[k])
        # Below this, results may be flushed to zero.
        floor = float(np.finfo(np.float32).tiny) / self.precision.eps
        return self.precision.relative * max(scale(gradients), floor) + 4 * self.noise[k]

    def reason(self, k: int) -> str:
        """That tolerance in words."""
        p = self.precision
        text = f"(8 eps + sqrt({p.terms:,}) eps') times the scale of the leaf, eps = {p.eps:.2g}"
        if p.summing_eps != p.eps:
            text += f", eps' = {p.summing_eps:.2g} since sums are expected in float32"
        else:
            text += " = eps'"
        if self.noise[k]:
            text += f"; and 4 times {self.noise[k]:.2g}, the automatic gradient's own rounding"
        return text


@dataclass(frozen=True)
class Evidence:
    """All that is known about a function's gradient."""

    name: str
    paths: list[str]
    primals: list[Any]
    own: Run
    # The run in float64, where that is another one and fn agrees with itself there.
    fine: Run | None
    differences: Differences
    # What the gradient is held against, in words; None where there is nothing automatic.
    against: str | None
    # Lengths that a factor may come from, in words.
    sizes: dict[int, str]
    # (leaf, in float64?) -> the rule at other cotangents, by name.
    probe: Callable[[int, bool], dict[str, np.ndarray]]
    failures: list[str]
    notes: list[str]


def gather(
    fn: Callable,
    args: tuple,
    reference: Callable | None,
    argnums: int | Sequence[int] | None,
    cotangent: Any,
    rng: np.random.Generator,
) -> Evidence:
    """Run `fn` and what it is held against, and measure how far rounding takes them apart."""
    arguments = take_apart(fn, args, argnums)
    call, name = arguments.bind(fn), describe(fn)
    hand = Pullback(call, float64=False)
    value = hand.tree(arguments.leaves, arguments.fixed)
    outs = floating_output(name, value)
    g = cotangent_for(value, cotangent, rng)
    others = [cotangent_for(value, None, rng) for _ in range(2)]
    point = Point(arguments.leaves, arguments.fixed, [g, *others])

    automatic = _find(fn, arguments, reference, name)
    auto = automatic and Pullback(automatic.call, float64=False)
    if automatic and auto and automatic.given:
        same_outputs(value, auto.tree(point.leaves, point.fixed))

    failures: list[str] = []
    notes: list[str] = []
    try:
        got = hand(point.leaves, point.fixed, g)
    except (TypeError, ValueError) as error:
        if not rejected(error):
            raise
        tree = jax.tree.unflatten(jax.tree.structure(value), g)
        got = outs, rule_gradients(fn, args, arguments, tree, error)
        failures.append(f"JAX rejects the rule: {error}")
    try:
        own = _run(got, hand, auto, point)
    except Exception as error:  # whatever JAX raises where it has no derivative
        if automatic is None or automatic.given:
            raise
        notes.append(f"{automatic.words} does not exist: {_first_line(error)}")
        automatic = auto = None
        own = _run(got, hand, None, point)

    fine_point = point.cast(np.float64)
    double = all(a.dtype == np.float64 for a in [*point.leaves, *outs])
    fine, fine_hand = None, hand if double else None
    if not double and not failures:
        fine_hand = Pullback(call, float64=True)
        fine_auto = automatic and Pullback(automatic.call, float64=True)
        try:
            fine = _run_fine(fine_hand, fine_auto, fine_point, outs, own.precision.relative)
        except Exception as error:  # a function may insist on a dtype in any way it likes
            fine_hand = None
            notes.append(f"not checked again in float64: {_first_line(error)}")
    own, fine = _with_noise(own, fine, auto, point)

    failures += _unlike_values(own, outs, automatic)
    differences = _differences(name, hand, fine_hand, point, fine_point, own.precision, notes)

    @functools.cache
    def at_others(sharp: bool) -> dict[str, list[np.ndarray]]:
        run, p = (fine_hand, fine_point) if sharp else (hand, point)
        if failures or run is None:
            return {}
        doubled = [np.asarray(c) * np.asarray(2, c.dtype) for c in p.cotangents[0]]
        cotangents = {"other": p.cotangents[1], "doubled": doubled}
        return {k: run(p.leaves, p.fixed, c)[1] for k, c in cotangents.items()}

    return Evidence(
        name=name,
        paths=arguments.paths,
        primals=arguments.leaves,
        own=own,
        fine=fine,
        differences=differences,
        against=automatic.words if automatic else None,
        sizes=_sizes(arguments, outs),
        probe=lambda k, sharp: {n: wide(v[k]) for n, v in at_others(sharp).items()},
        failures=failures,
        notes=notes,
    )


def _find(
    fn: Callable, arguments: Arguments, reference: Callable | None, name: str
) -> Automatic | None:
    """What to differentiate automatically."""
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
    words = f"the automatic gradient of {name} without its {rule}"
    return Automatic(without_rules(call, rule), words, given=False)


def _run(got: tuple[list, list], hand: Pullback, auto: Pullback | None, point: Point) -> Run:
    """The gradients in one precision; `got` is what `hand` gave for the first cotangent."""
    values, gradients = got
    right_values, right, others, narrowest = None, None, [], list(hand.narrowest)
    if auto is not None:
        right_values, right = auto(point.leaves, point.fixed, point.cotangents[0])
        others = [auto(point.leaves, point.fixed, g)[1] for g in point.cotangents[1:]]
        narrowest += auto.narrowest
    arrays = [*point.leaves, *point.fixed, *values]
    p = precision(arrays, narrowest)
    return Run(values, gradients, right_values, right, others, p, [0.0] * len(gradients))


class _Unlike(Exception):
    """The function is another one in float64."""


def _run_fine(
    hand: Pullback, auto: Pullback | None, point: Point, outs: list, relative: float
) -> Run:
    got = hand(point.leaves, point.fixed, point.cotangents[0])
    for v, out in zip(got[0], outs, strict=True):
        size = np.max(np.abs(wide(out)), initial=0.0)
        if not np.max(np.abs(wide(v) - wide(out)), initial=0.0) <= 4 * relative * size:
            raise _Unlike("it returns other values there, beyond rounding")
    return _run(got, hand, auto, point)


def _with_noise(
    own: Run, fine: Run | None, auto: Pullback | None, point: Point
) -> tuple[Run, Run | None]:
    """Both runs with the rounding of their automatic gradients measured against each other.

    The rounding of one dtype, times the ratio of the two eps, is that of the other: it covers what
    cancels inside the function, of which the scale of the gradient knows nothing.
    """
    if own.right is None or auto is None:
        return own, fine
    if fine is not None and fine.right is not None:
        measured = [noise(a, b) for a, b in zip(own.right, fine.right, strict=True)]
        by = fine.precision.eps / own.precision.eps
        fine = replace(fine, noise=[n * by for n in measured])
        return replace(own, noise=measured), fine
    apart = [
        h.shape == a.shape and not noise(h, a) <= own.tolerance(k)
        for k, (h, a) in enumerate(zip(own.gradients, own.right, strict=True))
    ]
    if own.precision.eps > 1e-15 or not any(apart):
        return own, fine
    coarse = point.cast(np.float32)
    try:
        rounded = auto(coarse.leaves, coarse.fixed, coarse.cotangents[0])[1]
    except Exception:  # a function may insist on float64
        return own, fine
    by = own.precision.eps / float(np.finfo(np.float32).eps)
    measured = [noise(a, b) * by for a, b in zip(rounded, own.right, strict=True)]
    return replace(own, noise=measured), fine


def _differences(
    name: str,
    hand: Pullback,
    fine_hand: Pullback | None,
    point: Point,
    fine_point: Point,
    p: Precision,
    notes: list[str],
) -> Differences:
    if fine_hand is None:
        leaves = [np.asarray(leaf) for leaf in point.leaves]
        dtypes = " and ".join(sorted({str(leaf.dtype) for leaf in leaves}))
        notes.append(f"the central differences are taken in {dtypes}, and as noisy as that")
        g = point.cotangents[0]
        return Differences(lambda at: hand.value(at, point.fixed), leaves, g, p.eps, p.eps)
    narrow = max(fine_hand.narrowest, key=lambda d: jnp.finfo(d).eps, default=None)
    if narrow is not None:
        notes.append(
            f"{name} rounds to {narrow} inside: the central differences are as noisy as that"
        )
    eps = float(jnp.finfo(narrow or np.float64).eps)
    evaluate = functools.partial(_value_at, fine_hand, fine_point.fixed)
    return Differences(evaluate, fine_point.leaves, fine_point.cotangents[0], eps, p.eps)


def _value_at(hand: Pullback, fixed: list, leaves: list) -> list[np.ndarray]:
    return hand.value(leaves, fixed)


def _unlike_values(own: Run, outs: list[np.ndarray], automatic: Automatic | None) -> list[str]:
    """Values that differ beyond rounding: then the gradients are of two functions."""
    found = []
    pairs = [("its rule's forward pass", own.values)]
    if automatic and own.right_values is not None:
        pairs.append((automatic.words, own.right_values))
    for words, values in pairs:
        for out, v in zip(outs, values, strict=True):
            a, b = wide(out), wide(v)
            apart = np.abs(a - b)
            if not np.max(apart, initial=0.0) <= 4 * own.precision.relative * scale([a]):
                index = tuple(int(i) for i in np.unravel_index(np.argmax(apart), a.shape))
                found.append(
                    f"the value is not that of {words}: at {index} {a[index]:.6g} for "
                    f"{b[index]:.6g}"
                )
                break
    return found


def _sizes(arguments: Arguments, outs: list[np.ndarray]) -> dict[int, str]:
    sizes: dict[int, str] = {}
    named = [*zip(arguments.paths, arguments.leaves, strict=True)]
    named += [("the output", out) for out in outs]
    for path, a in named:
        for axis, n in enumerate(np.shape(a)):
            sizes.setdefault(n, f"the size of axis {axis} of {path}")
    for path, a in named:
        sizes.setdefault(int(np.size(a)), f"the number of elements of {path}")
        sizes.setdefault(
            int(np.prod(np.shape(a)[:-1])), f"the product of all axes but the last of {path}"
        )
    return sizes


def _first_line(error: Exception) -> str:
    kind = "" if isinstance(error, _Unlike) else f"{type(error).__name__}: "
    lines = str(error).strip().splitlines() or [""]
    return kind + lines[0][:200]
