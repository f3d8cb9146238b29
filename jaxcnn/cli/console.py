"""The process of the console script: how it answers signals, when it began, and how it ends.

Imported before anything else, so it imports next to nothing itself.
"""

import os
import signal
import sys

from . import clock, memory, scheduling

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def entry() -> None:
    """Run the command that this process's words name, and end the process with its status.

    SIGINT and SIGTERM end it at once with one line and the status 130 or 143, wherever it is. Not
    by an exception: one raised in a callback of JAX's would be printed and lost.
    """
    for number in _WORDS:
        signal.signal(number, _stop)
    clock.begin()
    memory.keep()
    scheduling.batch()

    from .dispatch import main

    status = main()

    import atexit

    # The rest of an interpreter's end takes the ground from under JAX's threads.
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stop(number: int, frame: object) -> None:
    del frame
    try:
        sys.stdout.flush()
    except (OSError, RuntimeError, ValueError):
        pass  # Its reader is gone, or the signal came while it was being written to.
    # A terminal shows ^C where the cursor was.
    start = "\n" if os.isatty(2) else ""
    os.write(2, f"{start}jaxcnn: {_WORDS[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)
