"""The command line: `jaxcnn`, one file a command."""

from .console import entry as entry
