"""What a function returns: its floating leaves, a cotangent for them, and whether two agree."""

from typing import Any

import jax
import numpy as np

from .arguments import check_finite
from .pullback import floating


def floating_output(name: str, value: Any) -> list[np.ndarray]:
    """The floating leaves of the value of the function of that name, checked to be finite."""
    outs = floating(value)
    if not outs:
        kinds = {str(getattr(v, "dtype", type(v).__name__)) for v in jax.tree.leaves(value)}
        raise TypeError(
            f"{name} must return a floating array to differentiate, got "
            f"{' and '.join(sorted(kinds)) or 'nothing'}"
        )
    for path, v in outs:
        check_finite(f"the output{path} of {name}", v)
    return [np.asarray(v) for _, v in outs]


def _random(out: Any, rng: np.random.Generator) -> np.ndarray:
    """A cotangent of random signs and sizes, none of them so small that an error hides."""
    g = rng.uniform(0.5, 1.5, np.shape(out)) * rng.choice([-1.0, 1.0], np.shape(out))
    return np.asarray(g).astype(out.dtype)


def cotangent_for(value: Any, cotangent: Any, rng: np.random.Generator) -> list[Any]:
    """The given cotangent, checked, or a random one: a leaf for every floating leaf of `value`."""
    outs = floating(value)
    if cotangent is None:
        made = [_random(v, rng) for _, v in outs]
    else:
        _same_tree("cotangent", cotangent, "the output of fn", value)
        wanted = {path for path, _ in outs}
        keyed = jax.tree_util.tree_flatten_with_path(cotangent)[0]
        given = [(jax.tree_util.keystr(k), v) for k, v in keyed]
        made = [np.asarray(v) for path, v in given if path in wanted]
        for (path, out), c in zip(outs, made, strict=True):
            if c.shape != out.shape:
                raise ValueError(
                    f"cotangent{path} has the shape {list(c.shape)}, and the output of fn there "
                    f"{list(out.shape)}: they must be equal"
                )
            check_finite(f"cotangent{path}", c)
        made = [c.astype(out.dtype) for c, (_, out) in zip(made, outs, strict=True)]
    if len(jax.devices()) == 1:
        return made
    # A sharded output has to get a cotangent that is sharded alike.
    return [
        jax.device_put(c, v.sharding) if isinstance(v, jax.Array) else c
        for c, (_, v) in zip(made, outs, strict=True)
    ]


def _same_tree(a_name: str, a: Any, b_name: str, b: Any) -> None:
    one, two = jax.tree.structure(a), jax.tree.structure(b)
    if one != two:
        raise ValueError(f"{a_name} has the tree {one}, and {b_name} {two}: they must be equal")


def same_outputs(value: Any, other: Any) -> None:
    """Raise unless the reference returned what fn returned, up to the dtype."""
    _same_tree("the output of the reference", other, "the output of fn", value)
    for (path, a), (_, b) in zip(floating(value), floating(other), strict=True):
        if np.shape(a) != np.shape(b):
            raise ValueError(
                f"the output{path} of the reference has the shape {list(np.shape(b))}, and that of "
                f"fn {list(np.shape(a))}: they must be equal"
            )
