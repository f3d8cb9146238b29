"""Vector-Jacobian products of a function over flat lists of arrays, in a dtype of our choosing."""

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .jaxpr import narrowest_inside

# Raised where Python needs a value that tracing does not have: then there is no jit for it.
NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


@contextlib.contextmanager
def working(float64: bool) -> Generator[None]:
    """Full matmul precision, and float64 where asked; the caller's configuration is untouched.

    A GPU's TF32 and a TPU's bfloat16 passes would drown the rule's own error. A TPU has no float64:
    there the float64 part runs on the host.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.default_matmul_precision("highest"))
        if float64:
            stack.enter_context(jax.enable_x64(True))
            if jax.default_backend() == "tpu":
                stack.enter_context(jax.default_device(jax.devices("cpu")[0]))
        yield


class Jitted:
    """A function under jit, or without it where it needs concrete values."""

    def __init__(self, fn: Callable[..., Any]):
        """Wrap `fn`; nothing is traced yet."""
        self._plain, self._jit, self.narrowest = fn, jax.jit(fn), None
        self._traced = False

    def __call__(self, *args: Any) -> Any:
        """Run it, and on the first call note the coarsest dtype to which it rounds."""
        if self._jit is None:
            return self._plain(*args)
        try:
            if not self._traced:
                self.narrowest = narrowest_inside(self._jit.trace(*args).jaxpr)
                self._traced = True
            return self._jit(*args)
        except NEEDS_VALUES:
            self._jit = None
            return self._plain(*args)


def floating(tree: Any) -> list[tuple[str, Any]]:
    """The floating leaves of a function's value, each with its path."""
    return [
        (jax.tree_util.keystr(path), v if hasattr(v, "dtype") else jnp.asarray(v))
        for path, v in jax.tree_util.tree_flatten_with_path(tree)[0]
        if jnp.issubdtype(getattr(v, "dtype", type(v)), jnp.floating)
    ]


def _values(tree: Any) -> list[jax.Array]:
    return [jnp.asarray(v) for _, v in floating(tree)]


class Pullback:
    """The value and the vector-Jacobian product of `call(leaves, fixed)`."""

    def __init__(self, call: Callable[..., Any], float64: bool):
        """`call` takes lists of arrays; `float64` says in which precision it runs."""
        self.call, self.float64 = call, float64
        self._forward = Jitted(call)
        self._vjp = Jitted(lambda leaves, fixed, cotangents: vjp(call, leaves, fixed, cotangents))

    def __call__(
        self, leaves: list[Any], fixed: list[Any], cotangents: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """(values, gradients) at `leaves` as lists of NumPy arrays."""
        with working(self.float64):
            values, gradients = self._vjp(leaves, fixed, cotangents)
            return [np.asarray(v) for v in values], [np.asarray(g) for g in gradients]

    def tree(self, leaves: list[Any], fixed: list[Any]) -> Any:
        """The value as `fn` returns it without differentiation."""
        with working(self.float64):
            return self._forward(leaves, fixed)

    def value(self, leaves: list[Any], fixed: list[Any]) -> list[np.ndarray]:
        """The floating leaves of that value, as NumPy arrays."""
        return [np.asarray(v) for _, v in floating(self.tree(leaves, fixed))]

    @property
    def narrowest(self) -> list[Any]:
        """The coarsest dtypes to which the value and the product round inside, where they do."""
        return [d for d in (self._forward.narrowest, self._vjp.narrowest) if d is not None]


def vjp(
    call: Callable[..., Any], leaves: list[Any], fixed: list[Any], cotangents: list[Any]
) -> tuple[list[Any], list[Any]]:
    values, pull = jax.vjp(lambda leaves: _values(call(leaves, fixed)), leaves)
    # A function's dtype may follow the precision that it runs in; its cotangent has to follow too.
    cast = [jnp.asarray(g, v.dtype) for g, v in zip(cotangents, values, strict=True)]
    return values, pull(cast)[0]
