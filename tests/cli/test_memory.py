"""What a process of the command line keeps of the memory it has freed."""

import platform
import subprocess
import sys

import pytest

from tests import processes

_FAULTS = """
import resource, sys
if "keep" in sys.argv:
    from jaxcnn.cli import memory
    memory.keep()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"1" * 96_000_000  # written and freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def _faults(*words: str, **variables: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, *words],
        env=processes.environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's")
def test_memory_is_kept_but_not_against_the_environment():
    before = _faults()
    if before < 1000:
        pytest.skip("this system maps memory in large pages, or keeps it by itself")
    assert _faults("keep") < 100
    assert _faults("keep", MALLOC_ARENA_MAX="8") > before / 2
    assert _faults("keep", GLIBC_TUNABLES="glibc.malloc.tcache_count=7") > before / 2
