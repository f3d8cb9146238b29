"""Random convolutions by oneDNN, the engine inside jaxlib: values and every first gradient.

    python -m tests.proof.engine --count 2000 --seed 0

The engine takes whatever it can express, chosen or not, in float32 on one device, every second one
with as many neighbouring places in a vector as there is room for; the reference is float64. They
run in child processes, since a configuration that the engine does not know ends one. The last line
counts the ends and the disagreements, and the calls of the engine in forward passes and in
gradients.
"""

import sys

import numpy as np

from tests.proof import children


def geometry(seed: int, number: int):
    """Shapes of x and w, whether there is a bias, and the options of conv."""
    rng = np.random.default_rng([seed, number, 2])
    axes = int(rng.choice([1, 2, 2, 2, 3]))
    groups = int(rng.choice([1, 1, 1, 2, 3, 8]))
    most, widest = {1: (40, 6), 2: (14, 6), 3: (7, 4)}[axes]
    n = tuple(int(v) for v in rng.integers(1, most, axes))
    k = tuple(int(v) for v in rng.integers(1, widest, axes))
    c, o = (groups * int(rng.choice([1, 2, 3, 4, 8, 13, 16])) for _ in "co")
    if rng.integers(4) == 0:  # depthwise, of one copy or two
        c, o = groups, groups * int(rng.choice([1, 2]))
    options = {
        "strides": tuple(int(v) for v in rng.choice([1, 1, 2, 3], axes)),
        "kernel_dilation": tuple(int(v) for v in rng.choice([1, 1, 2, 3], axes)),
        "padding": tuple((int(a), int(b)) for a, b in rng.integers(-1, 6, (axes, 2))),
        "feature_group_count": groups,
        "activation": [None, "relu"][int(rng.integers(2))],
    }
    reach = zip(n, k, options["kernel_dilation"], options["padding"], strict=True)
    if any(ni + sum(p) < (ki - 1) * d + 1 for ni, ki, d, p in reach):
        options["padding"] = tuple((3 * (ki - 1), 3 * (ki - 1)) for ki in k)
    x, w = (int(rng.integers(1, 9)), *n, c), (*k, c // groups, o)
    return x, w, bool(rng.integers(2)), options


def disagreement(seed: int, number: int) -> tuple[float, str]:
    """The largest error of y, dx, dw and db, each as a share of its largest element."""
    import jax
    import jax.numpy as jnp

    import jaxcnn
    from jaxcnn import lowering, reference

    x_shape, w_shape, bias, options = geometry(seed, number)
    rng = np.random.default_rng([seed, number, 3])
    shapes = (x_shape, w_shape, w_shape[-1:])[: 3 if bias else 2]
    arrays = [rng.normal(size=s) for s in shapes]

    def both(layers):
        def of(g, *arrays):
            y, pull = jax.vjp(lambda *a: layers.conv(*a, **options), *arrays)
            return y, *pull(g)

        return jax.jit(of)

    with jax.enable_x64(True):
        wide = [jnp.asarray(a) for a in arrays]
        before = np.asarray(reference.conv(*wide, **{**options, "activation": None}))
        # Where y is all but 0, float32 may open or close the relu.
        near = np.abs(before) < 1e-4 * np.abs(before).max(initial=1e-30)
        g = np.where(near, 0.0, rng.normal(size=before.shape))
        expected = [np.asarray(v) for v in both(reference)(jnp.asarray(g), *wide)]
    form = ("onednn", "neighbours")[number % 2]
    with jax.enable_x64(False), lowering.using(form):
        narrow = [jnp.asarray(a, jnp.float32) for a in (g, *arrays)]
        calls = both(jaxcnn).lower(*narrow).as_text().count("__onednn$convolution")
        found = [np.asarray(v) for v in both(jaxcnn)(*narrow)]
    words = ["engine"] * calls or ["nothing"]
    errors = (
        np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-2)
        for a, b in zip(found, expected, strict=True)
    )
    return float(max(errors)), " ".join(words)


def main() -> int:
    """Every geometry in children; returns 1 where one ended or disagreed."""
    return children.run(
        "tests.proof.engine", __doc__ or "", geometry=geometry, disagreement=disagreement,
        most=1e-4, count=2000,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
