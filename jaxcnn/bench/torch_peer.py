"""The same layers and training step in PyTorch, in each of the ways it may be fast.

Operands come and go as NumPy arrays in the layout of `jaxcnn`; the conversion is not timed.
"""

import os

import torch

from .torch_layers import layer_programs as layer_programs
from .torch_networks import evaluation_programs as evaluation_programs
from .torch_networks import step_programs as step_programs


def use_all_threads() -> None:
    """As many threads as JAX has: the processors that this process may use."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(n)
