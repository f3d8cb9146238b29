"""Which engine computes a run's convolutions, and what the compilation cache keeps of them.

A program that calls oneDNN cannot be kept in JAX's compilation cache. A narrow network is as fast
without the call, so its programs are kept and start warm. A wide one gains more in each step than
the cache would save once: its programs call oneDNN and are compiled anew at each start.
"""

import contextlib
from collections.abc import Generator

import jax

from ...lowering import onednn

# Products of an image's forward pass from which the engine is worth a cold start. Measured on two
# cores: the post's network, 0.8 million, takes 59 s either way; the wide one, 18 million, 69 s
# for 200 steps with a cold start, and 78 without the engine and warm.
WORTH_A_COLD_START = 5_000_000


def name(products: int, devices: int, dtype: str) -> str:
    """What computes the convolutions of such a network on so many devices: `oneDNN` or `XLA`.

    Args:
        products: that the forward pass of one image adds up.
        devices: that share the batch.
        dtype: of the convolutions.
    """
    # Asking compiles a small program that calls the engine, and it cannot be kept either.
    wide = products >= WORTH_A_COLD_START
    with _nothing_kept() if wide else contextlib.nullcontext():
        here = jax.default_backend() == "cpu" and devices == 1 and dtype in onednn.NEEDS
        return "oneDNN" if here and onednn.wanted() and onednn.available(dtype) else "XLA"


@contextlib.contextmanager
def compiling_for(engine: str) -> Generator[None]:
    """Compile what is lowered and compiled inside for the engine of this name."""
    with _nothing_kept() if engine == "oneDNN" else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _nothing_kept() -> Generator[None]:
    """Compile without writing to the compilation cache, and without a word of it."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, float("inf"))
    try:
        yield
    finally:
        jax.config.update(name, before)
