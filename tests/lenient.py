"""JAX as a user has it, for the tests of what users run: the other end of `tests.strict`."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def as_a_user_has_it() -> Iterator[None]:
    """Float32, and whatever promotion JAX does by itself."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        yield
