"""How each correlation is put to XLA: the only rooms that know platform, devices and speed."""

from .rule import correlate as correlate
from .rule import correlate_over_batch as correlate_over_batch
from .rule import using as using
