"""The images: where they come from, how they are read, and how a picture becomes one of them."""

from .dataset import Dataset as Dataset
from .sources import load as load
