"""A real `jaxcnn play` process, and what the page would ask of it."""

import contextlib
import http.client
import json
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import Popen
from urllib.parse import urlsplit

import numpy as np

from tests import processes

BINARY = {"Content-Type": "application/octet-stream"}


@dataclass
class Server:
    process: Popen[str]
    url: str

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def ask(self, method: str, path: str, body=None, headers=None) -> tuple[int, bytes]:
        """The status and the body of the answer to one request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def inside(self, ink: np.ndarray, query: str = "") -> np.ndarray:
        status, body = self.ask("POST", f"/inside?{query}", ink.tobytes(), BINARY)
        assert status == 200, body
        return np.frombuffer(body, "<f4")

    def network(self) -> dict:
        status, body = self.ask("GET", "/network")
        assert status == 200
        return json.loads(body)

    def memory(self) -> float:
        """Megabytes that the process holds."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def first_line(process: Popen[str]) -> str:
    """The line that a starting server prints."""
    assert process.stdout is not None
    end = time.monotonic() + processes.LIMIT
    while time.monotonic() < end:
        if select.select([process.stdout], [], [], 1)[0]:
            line = process.stdout.readline()
            assert line, process.communicate()
            return line
    raise AssertionError("the server did not start")


@contextlib.contextmanager
def serving(*words: object) -> Iterator[Server]:
    process = processes.start("play", "--no-browser", *words)
    with processes.group(process):
        yield Server(process, first_line(process).split()[0])
