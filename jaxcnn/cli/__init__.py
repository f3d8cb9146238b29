"""The command line: `jaxcnn`, one file a command."""

from .dispatch import entry as entry
from .dispatch import main as main
