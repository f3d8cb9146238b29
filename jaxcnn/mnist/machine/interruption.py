"""Ctrl-C and SIGTERM, taken as a request to stop at the next safe place."""

import signal
import threading
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, remembers the first SIGINT or SIGTERM instead of dying of it.

    A second one does what it always does, for somebody who will not wait.
    """

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interruption":
        """Listen. Only a program's main thread can: elsewhere signals stay as they are."""
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._remember) for s in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        """Put back what was there."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._before = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = signal.Signals(number)
        for s, handler in self._before.items():
            signal.signal(s, handler)  # pyright: ignore[reportArgumentType]
