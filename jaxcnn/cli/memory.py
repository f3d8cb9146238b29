"""The memory of this process: what a step has freed is kept for the next one."""

import contextlib
import ctypes
import os

# As glibc's malloc.h numbers them. An int is all that a threshold can be.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep() -> None:
    """Have glibc keep what is freed, unless the user's environment says how it should allocate.

    glibc gives a block of more than 32 MB back to the system as soon as it is freed, and a step's
    temporaries are one block: mapped anew at each call, it costs a page fault for every 4 KB.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    # Another system's library has no mallopt, or is not to be had without a name.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)
