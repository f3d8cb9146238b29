"""XLA's persistent compilation cache: on by default, and known to be cold or warm."""

import os
import sys
from pathlib import Path

import jax


def default_folder() -> Path:
    """`$JAX_COMPILATION_CACHE_DIR`, else a folder in the user's cache."""
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "jaxcnn" / "xla"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "jaxcnn" / "xla"


class CompilationCache:
    """Turns the cache on, and counts what it answered."""

    def __init__(self, *, on: bool | None = True):
        """Use the cache from here on, or no cache at all; None leaves JAX's settings alone."""
        self._on = on
        self._hits = self._misses = 0
        if on is None:
            return
        if not on:
            jax.config.update("jax_enable_compilation_cache", False)
            return
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", str(default_folder()))
        # Small programs add up too: the default keeps only what took a second or more.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        jax.monitoring.register_event_listener(self._count)

    def _count(self, event: str, **_: object) -> None:
        self._hits += event == "/jax/compilation_cache/cache_hits"
        self._misses += event == "/jax/compilation_cache/cache_misses"

    @property
    def state(self) -> str:
        """`off`, `cold` (something had to be compiled) or `warm` (all was found)."""
        if not self._on:
            return "off"
        return "warm" if self._hits and not self._misses else "cold"
