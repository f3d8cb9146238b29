"""Hand-written gradients compared with automatic and numerical ones, of any rule.

`jax.test_util.check_grads` says pass or fail; `compare` says where a gradient is wrong, by how
much, and which usual mistake it looks like. Three things are compared with each other:

hand-written:  <g, J v> as the rule of a `jax.custom_vjp` or `jax.custom_jvp` gives it
automatic:     what `jax.vjp` derives from a reference
numerical:     (f(x + d) - f(x - d)) / 2 in float64, at d and at d / 2
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np

from .judge import Options, judge
from .measure import measure
from .result import Comparison


def compare(
    fn: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    argnums: int | Sequence[int] | None = None,
    cotangent: Any = None,
    numerical: bool = True,
    kinks: Literal["report", "fail"] = "report",
    samples: int = 8,
    seed: int = 0,
) -> Comparison:
    """Compare the gradient of `fn` at `args` with the automatic and the numerical one.

    With a cotangent g the gradient of a leaf x is the vector-Jacobian product

        dx_i = sum over j of g_j * d fn_j / d x_i

    as `jax.vjp` gives it. It is compared, element by element, with that of `reference` in the
    dtypes of `args`, with both again in float64 where `fn` can run there (the float64 switch of JAX
    stays as it is), and with central differences. Matrix products run at full precision.

    An element where the two differ because `fn` has a kink there (a tie, a zero), so that its
    one-sided differences disagree, is reported and not counted as wrong, as long as the gradient
    lies between the one-sided slopes.

    Args:
        fn: any function of arrays, or of pytrees of them, that JAX can differentiate; set its
            options with functools.partial. Complex arguments are not taken.
        *args: where to compare. Floating arrays of any shape are differentiated, everything else is
            held fixed.
        reference: what to differentiate automatically, with the signature of `fn`. None takes the
            twin in `jaxcnn.reference` for a layer of this package; else `fn` with its custom rules
            taken out (also those of functions that it calls); else, where there is no rule, the
            differences alone. The result says which.
        argnums: the arguments to differentiate; by default every one that holds a floating array.
            Name a Python float here to differentiate it too.
        cotangent: g, with the tree and the shapes of the output; random by default. Elements of a
            cotangent of ones hide flips and transposes.
        numerical: False takes no central differences, but still asks for kinks where needed.
        kinks: "fail" counts it as wrong where the gradient at a kink is not the reference's, for a
            rule that promises the same convention.
        samples: how many elements of a leaf to check alone with differences, besides two random
            directions that involve every element.
        seed: of the random cotangent and samples.

    Returns:
        A `Comparison`: `ok`, `leaves`, `print(result)`, `result.plot()`, a table in notebooks.

    Raises:
        TypeError: there is no floating argument or output, or one is complex.
        ValueError: a differentiated argument, the cotangent or the output is not finite; the
            cotangent or the reference's output has another tree or shape; argnums is out of range;
            numerical=False and there is no reference.

    Example:
        A rule for y = x sin(x) whose author forgot a term:

        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import compare
        >>> @jax.custom_vjp
        ... def f(x):
        ...     return x * jnp.sin(x)
        >>> f.defvjp(lambda x: (f(x), x), lambda x, g: (g * jnp.sin(x),))
        >>> x = jnp.linspace(0.5, 3.0, 6)
        >>> result = compare(f, x)
        >>> result.ok
        False
        >>> result.against
        'the automatic gradient of f without its custom_vjp and central differences'
        >>> f.defvjp(lambda x: (f(x), x), lambda x, g: (g * (jnp.sin(x) + x * jnp.cos(x)),))
        >>> compare(f, x).ok
        True

        And one that divides by the batch:

        >>> f.defvjp(lambda x: (f(x), x), lambda x, g: (g * (jnp.sin(x) + x * jnp.cos(x)) / 6,))
        >>> compare(f, x)["x"].diagnosis
        ('off by a factor 1/6, 6 being the size of axis 0 of x',)
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if kinks not in ("report", "fail"):
        raise ValueError(f"kinks must be 'report' or 'fail', got {kinks!r}")
    rng = np.random.default_rng(seed)
    measured = measure(fn, args, reference, argnums, cotangent, rng)
    if measured.against is None and not numerical:
        raise ValueError(
            f"numerical=False leaves nothing to compare {measured.name} with: it has no automatic "
            "twin; pass a reference, or leave numerical=True"
        )
    options = Options(numerical, samples, kinks_may_differ=kinks == "report")
    leaves = [judge(measured, leaf, options, rng) for leaf in measured.leaves]
    against = [measured.against] if measured.against else []
    against += ["central differences"] if numerical else []
    return Comparison(
        name=measured.name,
        against=" and ".join(against),
        backend=jax.default_backend(),
        dtype=" and ".join(sorted({leaf.dtype for leaf in leaves})),
        leaves=tuple(leaves),
        failures=tuple(measured.failures),
        notes=tuple(measured.notes),
    )


def assert_gradients_match(
    fn: Callable[..., Any],
    *args: Any,
    reference: Callable[..., Any] | None = None,
    argnums: int | Sequence[int] | None = None,
    cotangent: Any = None,
    numerical: bool = True,
    kinks: Literal["report", "fail"] = "report",
    samples: int = 8,
    seed: int = 0,
) -> None:
    """Raise AssertionError with the table of `compare` where a gradient is wrong: for tests.

    Args:
        fn: as in `compare`, and so is everything else.
        *args: as in `compare`.
        reference: as in `compare`.
        argnums: as in `compare`.
        cotangent: as in `compare`.
        numerical: as in `compare`.
        kinks: as in `compare`.
        samples: as in `compare`.
        seed: as in `compare`.

    Raises:
        AssertionError: a gradient does not match; the message is the table.
        TypeError: as `compare`.
        ValueError: as `compare`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import assert_gradients_match
        >>> assert_gradients_match(jax.nn.relu, jnp.array([-1.0, 0.0, 2.0]))
    """
    __tracebackhide__ = True
    result = compare(
        fn,
        *args,
        reference=reference,
        argnums=argnums,
        cotangent=cotangent,
        numerical=numerical,
        kinks=kinks,
        samples=samples,
        seed=seed,
    )
    if not result.ok:
        raise AssertionError(str(result))
