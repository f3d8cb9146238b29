"""When this process began: what "time from process start" is counted from."""

import os
import time
from pathlib import Path


def process_start() -> float:
    """The time.time() at which the operating system started this process.

    Where the system does not tell (only Linux is asked), the time of this call.
    """
    try:
        # Field 22 of stat, ticks since boot; the command's name, field 2, may hold spaces.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks
    except (OSError, ValueError, AttributeError, IndexError):
        return time.time()
    return time.time() - age if 0 <= age < 3600 else time.time()
