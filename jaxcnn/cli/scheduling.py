"""How Linux shares the processor's cores among the threads of this process."""

import contextlib
import os


def batch() -> None:
    """Have no thread interrupt another when it wakes, unless the user has chosen a policy.

    XLA has as many threads as there are cores, beside the one that calls it, and for every part of
    a program it wakes one more than has work. That one would take the core of a thread that
    computes. Threads that are started later do as this one does. The process gets no smaller share
    of the processor.
    """
    # Another system than Linux has no such policy, and some sandboxes do not let it be chosen.
    with contextlib.suppress(AttributeError, OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
