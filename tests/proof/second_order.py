"""Second derivatives of random convolutions, as users run them, compared with the reference.

    python -m tests.proof.second_order --count 1000 --seed 0

Each is the derivative of a first derivative, in (x, x), (x, w), (w, x) and (w, w), and the
directional derivative of the gradient, in float32 on one device against float64. They run in child
processes: XLA can end one. The last line counts the ends and the disagreements.
"""

import sys

import numpy as np

from tests.proof import children

# XLA's algebraic simplifier ends the process on some of what autodiff derives.
UNSIMPLIFIED: dict[str, str | bool] = {"xla_disable_hlo_passes": "algsimp"}


def geometry(seed: int, number: int):
    """Shapes of x and w, and the options of conv, small and of every kind."""
    rng = np.random.default_rng([seed, number])
    axes = int(rng.choice([1, 2, 2, 2, 3]))
    groups = int(rng.choice([1, 1, 1, 2]))
    most = 9 if axes < 3 else 5
    n = tuple(int(v) for v in rng.integers(2, most, axes))
    k = tuple(int(v) for v in rng.integers(1, 4, axes))
    c, o = (groups * int(rng.choice([1, 2, 3, 8])) for _ in "co")
    options = {
        "strides": tuple(int(v) for v in rng.choice([1, 1, 2], axes)),
        "kernel_dilation": tuple(int(v) for v in rng.choice([1, 1, 2], axes)),
        "padding": tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (axes, 2))),
        "feature_group_count": groups,
        "activation": [None, "relu"][int(rng.integers(2))],
    }
    reach = zip(n, k, options["kernel_dilation"], options["padding"], strict=True)
    if any(ni + sum(p) < (ki - 1) * d + 1 for ni, ki, d, p in reach):
        options["padding"] = tuple((2, 2) for _ in range(axes))
    return (int(rng.integers(1, 4)), *n, c), (*k, c // groups, o), options


def disagreement(seed: int, number: int) -> tuple[float, str]:
    """The largest difference of any second derivative, as a share of its largest element."""
    import jax
    import jax.numpy as jnp

    import jaxcnn
    from jaxcnn import reference

    x_shape, w_shape, options = geometry(seed, number)
    rng = np.random.default_rng([seed, number, 1])
    arrays = [rng.normal(size=s) for s in (x_shape, w_shape, x_shape, w_shape)]

    def derivatives(layers):
        def loss(x, w):
            return jnp.sum(jnp.sin(layers.conv(x, w, **options)))

        def all_of_them(x, w, u, v):
            first = jax.grad(loss, (0, 1))
            along = [
                jax.grad(lambda *xw, i=i, t=t: jnp.sum(first(*xw)[i] * t), (0, 1))(x, w)
                for i, t in ((0, u), (1, v))
            ]
            return along, jax.jvp(first, (x, w), (u, v))[1]

        return jax.jit(all_of_them)

    with jax.enable_x64(False):
        found = derivatives(jaxcnn)(*(a.astype(np.float32) for a in arrays))
        found = jax.tree.map(np.asarray, found)
    with jax.enable_x64(True):
        program = derivatives(reference).lower(*arrays).compile(compiler_options=UNSIMPLIFIED)
        expected = jax.tree.map(np.asarray, program(*arrays))
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    worst = max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-2)) for a, b in pairs)
    return worst, str(options["activation"])


def main() -> int:
    """Every geometry in children; returns 1 where one ended or disagreed."""
    # A relu that is nearly closed may open in float32.
    return children.run(
        "tests.proof.second_order", __doc__ or "", geometry=geometry, disagreement=disagreement,
        most=1e-3, count=1000,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
