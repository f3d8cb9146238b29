"""The layers of a convolutional network in JAX, each with a hand-written gradient rule."""

import importlib

__version__ = "0.1.0"

TYPE_CHECKING = False  # Type checkers take it for True; `typing` is slow to import.
if TYPE_CHECKING:
    from ._public import *  # noqa: F403
else:
    # What is asked for is loaded then: JAX takes a second to import, and the command line has to
    # answer --help and Ctrl-C before that.
    def __getattr__(name):
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
        public = vars(importlib.import_module("._public", __name__))
        if name not in public:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = public[name]
        return public[name]

    def __dir__():
        public = vars(importlib.import_module("._public", __name__))
        return sorted({*globals(), *(name for name in public if not name.startswith("_"))})
