"""JAX as the tests want it: float64, no silent promotion, eight devices. Imported first."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests compile thousands of programs and run each once: LLVM's optimisations take a third of
# their time. XLA's own are made all the same. `XLA_FLAGS= pytest` tests what users run, slower.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax

# In float32 a 5 % error in one element of a thousand passes for rounding.
jax.config.update("jax_enable_x64", True)
# A layer that quietly widens its input or stretches a shape fails here.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Enough simulated devices to shard a batch and read the collectives.
jax.config.update("jax_num_cpu_devices", 8)
