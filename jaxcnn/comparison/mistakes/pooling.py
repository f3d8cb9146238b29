"""What goes wrong in the rule of a pooling window: who wins a tie, and what an average counts."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .scene import Mistakes, Scene, with_gradient

MAXIMUM, SUM = "reduce_window_max", "reduce_window_sum"
# jnp.isclose's own tolerances, which the post's mask has.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-8


def windows(scene: Scene) -> list[tuple[int, ...]]:
    """The windows over which the function takes maxima or sums, without their axes of size 1."""
    found = [eqn.params["window_dimensions"] for eqn in scene.of(MAXIMUM, SUM)]
    for eqn in scene.of("reduce_sum"):
        shape = eqn.invars[0].aval.shape
        summed = tuple(shape[i] for i in eqn.params["axes"])
        # A sum over one axis alone is no window but a batch or the classes.
        found += [summed] if sum(n > 1 for n in summed) > 1 else []
    kept = [tuple(n for n in window if n > 1) for window in found]
    return [window for window in kept if window]


def pooling_mistakes(scene: Scene) -> Mistakes:
    """What each usual mistake gives in every pooling window of the function."""
    if scene.of(MAXIMUM):
        for words, weights in _SHARES:
            yield words, scene.planted(MAXIMUM, partial(_shared, weights))
        yield "the mask is applied twice", scene.right * _wins(scene)
    for primitive in (MAXIMUM, SUM):
        if any(map(_overlap, scene.of(primitive))):
            words = "where windows overlap, the last one overwrites the others"
            yield words, scene.planted(primitive, _overwritten)
    if any(_pads(eqn) for eqn in scene.of(SUM)):
        yield "the padding is left out of the count", scene.planted(SUM, partial(_counted, -1))
        yield "the padding is counted", scene.planted(SUM, partial(_counted, 1))


def _pads(eqn: Any) -> bool:
    return any(low or high for low, high in eqn.params["padding"])


def _overlap(eqn: Any) -> bool:
    p = eqn.params
    undilated = set(p["base_dilation"]) == {1} == set(p["window_dilation"])
    overlap = any(k > s for k, s in zip(p["window_dimensions"], p["window_strides"], strict=True))
    return undilated and overlap


def _bound(eqn: Any) -> Callable[[jax.Array], jax.Array]:
    return lambda x: eqn.primitive.bind(x, **eqn.params)


def _slices(eqn: Any, shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Where the padded input meets each place of the window, for outputs of that shape."""
    p = eqn.params
    for offset in np.ndindex(*p["window_dimensions"]):
        yield tuple(
            slice(a * d, a * d + (n - 1) * s + 1, s)
            for a, d, n, s in zip(
                offset, p["window_dilation"], shape, p["window_strides"], strict=True
            )
        )


def _stacked(eqn: Any, x: jax.Array, fill: float) -> jax.Array:
    """[K, outputs]: the elements of every window."""
    p = eqn.params
    pads = zip(p["padding"], p["base_dilation"], strict=True)
    config = [(low, high, d - 1) for (low, high), d in pads]
    padded = lax.pad(x, jnp.asarray(fill, x.dtype), config)
    return jnp.stack([padded[at] for at in _slices(eqn, eqn.outvars[0].aval.shape)])


def _equal(elements: jax.Array, y: jax.Array) -> jax.Array:
    return elements == y[None]


def _first(elements: jax.Array, y: jax.Array) -> jax.Array:
    tied = elements == y[None]
    return tied & (jnp.cumsum(tied, 0) == 1)


def _last(elements: jax.Array, y: jax.Array) -> jax.Array:
    return _first(elements[::-1], y)[::-1]


def _split(elements: jax.Array, y: jax.Array) -> jax.Array:
    tied = elements == y[None]
    return tied.astype(y.dtype) / tied.sum(0, keepdims=True).astype(y.dtype)


def _close(elements: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.abs(elements - y[None]) <= _ABSOLUTE + _RELATIVE * jnp.abs(y[None])


def _all(elements: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.ones_like(elements)


_SHARES = (
    ("the mask is forgotten: every element of a window gets the cotangent", _all),
    ("every tied element of a window gets the full gradient", _equal),
    ("the tied elements of a window share the gradient", _split),
    ("the first of the tied elements of a window gets the gradient", _first),
    ("the last of the tied elements of a window gets the gradient", _last),
    ("elements close to the maximum, as jnp.isclose has it, count as the maximum", _close),
)


def _shared(
    weights: Callable[[jax.Array, jax.Array], jax.Array], eqn: Any, operands: list[Any]
) -> jax.Array:
    """The maximum of every window, with its gradient shared out by these weights."""
    (x,) = operands
    y = lax.stop_gradient(_bound(eqn)(x))
    # Finite, since infinity less infinity is no zero.
    elements = _stacked(eqn, x, float(jnp.finfo(x.dtype).min))
    w = lax.stop_gradient(weights(elements, y)).astype(x.dtype)
    moving = elements - lax.stop_gradient(elements)
    return y + (w * moving).sum(0)


def _wins(scene: Scene) -> np.ndarray:
    """How many windows each element wins."""
    return scene.gradient(cotangents=[np.ones_like(g) for g in scene.point.cotangents[0]])


def _overwritten(eqn: Any, operands: list[Any]) -> jax.Array:
    """The maximum or sum, with a rule that writes each window's cotangent over the last one's."""
    if not _overlap(eqn):
        return _bound(eqn)(*operands)

    def cotangents(at: tuple[Any, ...], g: jax.Array) -> tuple[Any, ...]:
        (x,) = at
        p = eqn.params
        shares = jnp.ones((int(np.prod(p["window_dimensions"])), *g.shape), g.dtype)
        if eqn.primitive.name == MAXIMUM:
            shares = _first(_stacked(eqn, x, -np.inf), _bound(eqn)(x)).astype(g.dtype)
        padded = jnp.zeros(
            [n + low + high for n, (low, high) in zip(x.shape, p["padding"], strict=True)], g.dtype
        )
        # Of the windows over an element, the last one has it nearest to its own beginning.
        for share, place in reversed([*zip(shares, _slices(eqn, g.shape), strict=True)]):
            padded = padded.at[place].set(share * g)
        inside = [slice(low, low + n) for n, (low, _) in zip(x.shape, p["padding"], strict=True)]
        return (padded[tuple(inside)],)

    return with_gradient(_bound(eqn), cotangents)(*operands)


def _counted(power: int, eqn: Any, operands: list[Any]) -> jax.Array:
    """The sum of every window, with a gradient weighted by the part that is not padding."""
    (x,) = operands
    y = _bound(eqn)(x)
    window = jnp.asarray(np.prod(eqn.params["window_dimensions"]), x.dtype)
    part = lax.stop_gradient(_bound(eqn)(jnp.ones_like(x))) / window
    weighted = y * part if power == 1 else y / part
    return lax.stop_gradient(y) + (weighted - lax.stop_gradient(weighted))
