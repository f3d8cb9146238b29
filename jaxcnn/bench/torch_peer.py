"""The same layers and training step in PyTorch, in each of the ways it may be fast.

Operands come and go as NumPy arrays in the layout of `jaxcnn`; the conversion is not timed.
"""

import torch as torch

from .torch_device import use as use
from .torch_layers import layer_programs as layer_programs
from .torch_networks import evaluation_programs as evaluation_programs
from .torch_networks import step_programs as step_programs
