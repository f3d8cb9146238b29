"""When this command began: what "time from process start" is counted from."""

import time

_began: float | None = None


def begin() -> None:
    """Start counting at the start of this interpreter. To be called before anything is imported.

    The operating system knows only when the process was forked, which may be hours before: a shell
    that ends in `exec` becomes the interpreter. But an interpreter that starts does nothing except
    compute, so it began as long ago as it has used the processor.
    """
    global _began
    _began = time.time() - time.process_time()


def process_start() -> float:
    """The time.time() at which this command began; now, where it is called from Python."""
    return time.time() if _began is None else _began
