"""Malformed requests and many clients at once: `python -m tests.play.load`.

Prints what was sent and how the server's memory went; ends with status 1 where an answer was wrong,
missing or no refusal, or where the server held more memory at the end than it may.
"""

import argparse
import http.client
import io
import random
import socket
import sys
import threading
import time

import numpy as np

from tests.play.page_server import Server, serving

SIDE = 112
SIZE = SIDE * SIDE
# Megabytes by which a process may grow after its first hundred answers: pools of its allocator.
GROWTH = 64


def drawings(count: int, seed: int) -> list[np.ndarray]:
    """Ink that no two of are equal: bars at random places."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        ink = np.zeros((SIDE, SIDE), np.uint8)
        for _ in range(3):
            top, left = rng.integers(0, 90, 2)
            height, width = rng.integers(4, 60, 2)
            ink[top : top + height, left : left + width] = 255
        result.append(ink)
    return result


def malformed(rng: random.Random) -> bytes:
    """One request that no server should answer with success, as it goes over the wire."""
    host = "Host: 127.0.0.1\r\n"
    kind = "Content-Type: application/octet-stream\r\n"
    junk = rng.randbytes(rng.randint(1, 400))

    def post(path="/inside", headers=host + kind, body=b"", length: object = None) -> bytes:
        length = len(body) if length is None else length
        return f"POST {path} HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n".encode() + body

    whole = bytes(SIZE)
    label = rng.choice(["10", "-1", "3.0", "", "three", "%00", "3&label=3", "3&x=1", "9" * 3000])
    rate = rng.choice(["-1", "1.01", "nan", "inf", "1e999", "", "0x1", "fast", "1" * 5000])
    method = rng.choice(["PUT", "DELETE", "PATCH", "TRACE"])
    path = rng.choice(
        ["/etc/passwd", "/../server.py", "/%2e%2e/server.py", "/style.css/", "//", "/x"]
    )
    return rng.choice(
        [
            lambda: junk,
            lambda: junk + b"\r\n\r\n",
            lambda: b"GET / HTTP/9.9\r\n\r\n",
            lambda: b"GET /\r\n\r\n",
            lambda: f"GET {path} HTTP/1.1\r\n{host}\r\n".encode(),
            lambda: b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            lambda: f"GET /{'a' * 70_000} HTTP/1.1\r\n{host}\r\n".encode(),
            lambda: f"GET / HTTP/1.1\r\n{host}X: {'a' * 70_000}\r\n\r\n".encode(),
            lambda: f"{method} / HTTP/1.1\r\n{host}\r\n".encode(),
            lambda: f"GET /inside HTTP/1.1\r\n{host}\r\n".encode(),
            lambda: post(body=junk),
            lambda: post(body=whole[:-1]),
            lambda: post(body=whole + b"\0"),
            lambda: post(body=bytes(rng.randint(20_000, 300_000))),
            lambda: post(body=whole, headers=host),
            lambda: post(body=whole, headers=host + "Content-Type: text/plain\r\n"),
            lambda: post(path=f"/inside?label={label}", body=whole),
            lambda: post(path=f"/inside?rate={rate}", body=whole),
            lambda: post(path="/network", body=whole),
            lambda: post(body=whole, length="many"),
            lambda: post(body=whole, length=-5),
            lambda: post(body=whole[:100], length=SIZE),
            lambda: post(
                headers=f"{host}{kind}Transfer-Encoding: chunked\r\n", body=b"zz\r\n" + junk
            ),
        ]
    )()


def send(server: Server, data: bytes) -> bytes:
    """All that comes back for these bytes, the writing side closed behind them."""
    with socket.create_connection(server.address, timeout=60) as s:
        received = b""
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while piece := s.recv(65536):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # It hung up in the middle of nonsense, as it may.
        return received


def is_refusal(answer: bytes) -> bool:
    """Whether it is a status from 400 to 499 and at most one line."""

    class Received:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(answer)

    response = http.client.HTTPResponse(Received())  # pyright: ignore[reportArgumentType]
    response.begin()
    return 400 <= response.status < 500 and len(response.read().splitlines()) <= 1


def refusals(server: Server, count: int, seed: int) -> list[str]:
    """What was wrong with the answers to so many malformed requests."""
    rng = random.Random(seed)
    wrong = []
    for _ in range(count):
        data = malformed(rng)
        answer = send(server, data)
        # Nothing at all is a refusal too: of bytes that are no request, or of half of one.
        if answer and not is_refusal(answer):
            wrong.append(f"{data[:80]!r} was answered {answer[:120]!r}")
    return wrong


def crowd(server: Server, clients: int, seconds: float) -> tuple[int, list[str], list[float]]:
    """So many clients at once: the number of answers, what was wrong, and the memory as it went."""
    inks = drawings(2 * clients, seed=1)
    # Asked for alone, before the crowd comes.
    expected = [server.inside(ink, f"label={n % 10}&rate=0.01") for n, ink in enumerate(inks)]
    wrong: list[str] = []
    counts = [0] * clients
    memory = []
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < end and not wrong:
            n = rng.randrange(len(inks))
            try:
                row = server.inside(inks[n], f"label={n % 10}&rate=0.01")
            except Exception as error:
                wrong.append(f"client {number}: {error!r}")
                return
            if not np.array_equal(row, expected[n]):
                wrong.append(f"client {number} got another answer for drawing {n}")
            counts[number] += 1

    threads = [threading.Thread(target=client, args=[n]) for n in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.append(server.memory())
        time.sleep(min(1.0, seconds / 10))
    for thread in threads:
        thread.join()
    if not all(counts):
        wrong.append(f"a client got no answer: {counts}")
    return sum(counts), wrong, memory


def main() -> int:
    """Send all of it to a server of its own; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--malformed", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with serving("--port", 0) as server:
        for ink in drawings(100, seed=2):
            server.inside(ink)
        before = server.memory()
        wrong = refusals(server, options.malformed, options.seed)
        print(
            f"{options.malformed} malformed requests: {len(wrong)} answered otherwise than refused"
        )
        answers, others, memory = crowd(server, options.clients, options.seconds)
        wrong += others
        print(
            f"{options.clients} clients for {options.seconds:g} s:"
            f" {answers} answers, {len(others)} wrong"
        )
        after = server.memory()
        halves = memory[len(memory) // 2], after
        print(f"memory: {before:.0f} MB before, {halves[0]:.0f} half-way, {after:.0f} at the end")
        if after - before > GROWTH:
            wrong.append(f"the server grew by {after - before:.0f} MB")
        if server.process.poll() is not None:
            wrong.append(f"the server ended: {server.process.communicate()}")
    for line in wrong[:20]:
        print(line)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
