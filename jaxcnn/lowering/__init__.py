"""How each correlation is put to XLA: the only rooms that know platform, devices and speed."""

from .apart import beforehand as beforehand
from .correlation import Activation as Activation
from .correlation import Correlation as Correlation
from .primitive import correlate as correlate
from .primitive import exchange_channels as exchange_channels
from .primitive import off_channels as off_channels
from .primitive import onto_channels as onto_channels
from .rule import using as using
