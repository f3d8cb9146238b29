"""`python -m jaxcnn`: the command line where no console script is installed."""

from .cli import entry

entry()
