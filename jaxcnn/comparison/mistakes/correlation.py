"""What goes wrong in the two backward correlations of a convolution.

For y = correlation(x, w) the right rules are a correlation of g with the flipped kernel, its
channels exchanged, and one of x with g. Nearly every mistake in them is the right rule of another
correlation: of the flipped kernel, of another padding, of no strides.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .scene import Mistakes, Scene, with_gradient

_PRIMITIVE = "conv_general_dilated"
X, W = 0, 1


@dataclass(frozen=True)
class Correlation:
    """An equation's correlation, with some of its parameters changed."""

    eqn: Any
    flipped: tuple[int, ...] = ()
    exchanged: bool = False
    changed: tuple[tuple[str, Any], ...] = ()

    def __call__(self, x: jax.Array, w: jax.Array) -> jax.Array:
        """Correlate x with w."""
        out, into, *spatial = self.eqn.params["dimension_numbers"].rhs_spec
        if self.exchanged:
            w = jnp.swapaxes(w, out, into)
        if self.flipped:
            w = jnp.flip(w, [spatial[i] for i in self.flipped])
        return self.eqn.primitive.bind(x, w, **(self.eqn.params | dict(self.changed)))

    def get(self, name: str) -> Any:
        """A parameter of the equation."""
        return self.eqn.params[name]

    def but(self, **changed: Any) -> "Correlation":
        """The same with other parameters."""
        return replace(self, changed=(*self.changed, *changed.items()))

    @property
    def kernel(self) -> list[int]:
        """The kernel's size along every spatial axis."""
        spec = self.get("dimension_numbers").rhs_spec
        return [self.eqn.invars[W].aval.shape[i] for i in spec[2:]]

    @property
    def image(self) -> list[int]:
        """The input's size along every spatial axis."""
        spec = self.get("dimension_numbers").lhs_spec
        return [self.eqn.invars[X].aval.shape[i] for i in spec[2:]]


# Another correlation, whose rule is the mistake; None where it is the same one.
Change = Callable[[Correlation], Correlation | None]


def correlation_mistakes(scene: Scene) -> Mistakes:
    """What each usual mistake in dx or dw gives, planted in every correlation of the function."""
    found = scene.of(_PRIMITIVE)
    if not found:
        return
    reaching = [i for i in (X, W) if _reaches(scene, i)]
    spatial = max(len(Correlation(eqn).kernel) for eqn in found)
    for words, operands, change in _changes(spatial):
        if any(change(Correlation(eqn)) for eqn in found):
            for operand in set(operands).intersection(reaching):
                yield words, scene.planted(_PRIMITIVE, partial(_plant, change, operand))
    for groups in {eqn.params["feature_group_count"] for eqn in found} - {1}:
        yield from _orders(scene.right, groups)


def _reaches(scene: Scene, operand: int) -> bool:
    """Whether the leaf's gradient comes through this operand of a correlation."""

    def none(eqn: Any, operands: list[Any]) -> jax.Array:
        stopped = [lax.stop_gradient(a) if i == operand else a for i, a in enumerate(operands)]
        return Correlation(eqn)(*stopped)

    return not np.array_equal(scene.planted(_PRIMITIVE, none), scene.right)


def _plant(change: Change, operand: int, eqn: Any, operands: list[Any]) -> jax.Array:
    """The correlation of `eqn`, with the other one's rule for one operand."""
    right = Correlation(eqn)
    wrong = change(right)
    if wrong is None:
        return right(*operands)

    def cotangents(at: tuple[Any, ...], g: jax.Array) -> tuple[Any, ...]:
        found = list(jax.vjp(right, *at)[1](g))
        found[operand] = _transposed(wrong, operand, at, g)
        return tuple(found)

    return with_gradient(right, cotangents)(*operands)


def _transposed(c: Correlation, operand: int, at: tuple[Any, ...], g: jax.Array) -> jax.Array:
    """The cotangent of one operand, in which the correlation is linear."""

    def part(a: jax.Array) -> jax.Array:
        return c(a, at[W]) if operand == X else c(at[X], a)

    shape = jax.eval_shape(part, at[operand]).shape
    return jax.linear_transpose(part, at[operand])(_fitted(g, shape))[0]


def _fitted(g: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A cotangent cut, or followed by zeros, to another shape."""
    g = g[tuple(slice(0, n) for n in shape)]
    return jnp.pad(g, [(0, n - have) for n, have in zip(shape, g.shape, strict=True)])


def _changes(spatial: int) -> Iterator[tuple[str, tuple[int, ...], Change]]:
    """The mistakes by name, and in which operand's cotangent they are made."""
    every = tuple(range(spatial))
    singles = [(i,) for i in every] if spatial > 1 else []
    yield "the kernel is not flipped", (X,), partial(_not_flipped, every)
    for (i,) in singles:
        words = f"the kernel is flipped along all spatial axes but axis {i}"
        yield words, (X,), partial(_not_flipped_along_one, i)
    yield "the kernel's channels are not exchanged", (X,), _not_exchanged
    words = "the kernel is not flipped, and its channels are not exchanged"
    yield words, (X,), partial(_neither, every)
    ends_by = {1: "one more before, one less after", -1: "one less before, one more after"}
    for by, ends in ends_by.items():
        for axes in (every, *singles):
            where = "" if axes == every else f" along spatial axis {axes[0]}"
            words = f"the padding is off by one{where}: {ends}"
            yield words, (X, W), partial(_padding_moved, axes, by)
    yield "the paddings before and after are exchanged", (X, W), _padding_exchanged
    yield "the strides are forgotten", (X, W), _no_strides
    yield "the dilation of the kernel is forgotten", (X, W), _no_kernel_dilation
    words = "the dilation of the input, the strides of a transposed convolution, is forgotten"
    yield words, (X, W), _no_input_dilation


def _not_flipped(axes: tuple[int, ...], c: Correlation) -> Correlation | None:
    flipped = tuple(i for i in axes if i < len(c.kernel) and c.kernel[i] > 1)
    return replace(c, flipped=flipped) if flipped else None


def _not_flipped_along_one(axis: int, c: Correlation) -> Correlation | None:
    alone = sum(k > 1 for k in c.kernel) < 2
    return None if alone else _not_flipped((axis,), c)


def _not_exchanged(c: Correlation) -> Correlation | None:
    out, into, *_ = c.get("dimension_numbers").rhs_spec
    shape = c.eqn.invars[W].aval.shape
    return replace(c, exchanged=True) if shape[out] == shape[into] > 1 else None


def _neither(axes: tuple[int, ...], c: Correlation) -> Correlation | None:
    exchanged = _not_exchanged(c)
    return exchanged and _not_flipped(axes, exchanged)


def _padding_moved(axes: tuple[int, ...], by: int, c: Correlation) -> Correlation | None:
    pads = [
        (low + by, high - by) if i in axes else (low, high)
        for i, (low, high) in enumerate(c.get("padding"))
    ]
    return c.but(padding=tuple(pads)) if pads else None


def _padding_exchanged(c: Correlation) -> Correlation | None:
    pads = tuple((high, low) for low, high in c.get("padding"))
    return c.but(padding=pads) if pads != tuple(c.get("padding")) else None


def _no_strides(c: Correlation) -> Correlation | None:
    strides = c.get("window_strides")
    return c.but(window_strides=(1,) * len(strides)) if max(strides, default=1) > 1 else None


def _no_kernel_dilation(c: Correlation) -> Correlation | None:
    return _undilated(c, "rhs_dilation", [1 - k for k in c.kernel])


def _no_input_dilation(c: Correlation) -> Correlation | None:
    return _undilated(c, "lhs_dilation", [n - 1 for n in c.image])


def _undilated(c: Correlation, name: str, steps: list[int]) -> Correlation | None:
    """Without a dilation, over the same outputs: what it spans less becomes padding, or is cut."""
    dilation = c.get(name)
    if max(dilation, default=1) == 1 or not any(steps):
        return None
    pads = [
        (low, high + step * (d - 1))
        for (low, high), step, d in zip(c.get("padding"), steps, dilation, strict=True)
    ]
    return c.but(**{name: (1,) * len(dilation), "padding": tuple(pads)})


def _orders(right: np.ndarray, groups: int) -> Mistakes:
    """The right gradient with its channels' groups in another order, on any axis."""
    for axis, n in enumerate(right.shape):
        if n % groups or n == 1:
            continue
        numbers = np.arange(n).reshape(groups, -1)
        words = f"the channel groups are in reverse order along axis {axis}"
        yield words, right.take(numbers[::-1].ravel(), axis)
        if groups < n:
            words = f"the channel groups are interleaved along axis {axis}"
            yield words, right.take(numbers.T.ravel(), axis)
