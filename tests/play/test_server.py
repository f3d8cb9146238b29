"""The server: what it refuses, what it answers to many at once, how it starts and ends."""

import signal
import socket

import numpy as np
import pytest

from tests import processes
from tests.play import load
from tests.play.page_server import BINARY, first_line, serving

INK = bytes(load.SIZE)


@pytest.fixture(scope="module")
def server():
    with serving("--port", 0) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", b"text/html"),
        ("/style.css", b"text/css"),
        ("/script.js", b"text/javascript"),
        ("/network", b"application/json"),
        ("/weights", b"application/octet-stream"),
    ],
)
def test_its_own_files_and_their_headers(server, path, kind):
    answer = load.send(server, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 200")
    assert b"content-type: " + kind in head
    assert b"default-src 'none'" in head
    assert b"x-content-type-options: nosniff" in head


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "told"),
    [
        ("GET", "/server.py", None, {}, 404, b"Not Found"),
        ("GET", "/../server.py", None, {}, 404, b"Not Found"),
        ("GET", "/page/index.html", None, {}, 404, b"Not Found"),
        ("GET", "/inside", None, {}, 405, b"Method Not Allowed"),
        ("GET", "/", None, {"Host": "evil.example"}, 400, b"Invalid host header"),
        ("GET", "/", None, {"X": "a" * 20_000}, 431, b"the head has 20"),
        ("POST", "/inside", INK, {}, 415, b"the content type is '': it must be"),
        ("POST", "/inside", INK[:-1], BINARY, 400, b"the body has 12543 bytes"),
        ("POST", "/inside", INK + b"0", BINARY, 413, b"the body is too large"),
        ("POST", "/inside?label=10", INK, BINARY, 400, b"label is '10': it must be a digit"),
        ("POST", "/inside?label=3&label=4", INK, BINARY, 400, b"label is given more than once"),
        ("POST", "/inside?rate=nan", INK, BINARY, 400, b"rate is 'nan': it must be a number"),
        ("POST", "/inside?rate=1.1", INK, BINARY, 400, b"rate is '1.1'"),
        ("POST", "/inside?step=1", INK, BINARY, 400, b"'step' is no option"),
    ],
)
def test_a_bad_request_gets_a_line(server, method, path, body, headers, status, told):
    got, text = server.ask(method, path, body, headers)
    assert got == status, text
    assert text.startswith(told)
    assert len(text.splitlines()) == 1


def test_nonsense_and_a_crowd(server):
    assert load.refusals(server, 150, seed=20) == []
    for ink in load.drawings(30, seed=3):
        server.inside(ink)
    before = server.memory()
    answers, wrong, _ = load.crowd(server, clients=8, seconds=2)
    assert wrong == []
    assert answers >= 8
    assert server.memory() - before < load.GROWTH
    assert server.process.poll() is None


def test_the_same_drawing_gives_the_same_bytes_and_no_label_means_the_predicted(server):
    ink = load.drawings(1, seed=4)[0]
    row = server.inside(ink)
    np.testing.assert_array_equal(row, server.inside(ink))
    label = int(row[-1])
    np.testing.assert_array_equal(row, server.inside(ink, f"label={label}&rate=0"))
    assert not np.array_equal(row, server.inside(ink, f"label={(label + 1) % 10}"))


def test_a_second_start_finds_another_port_and_ctrl_c_ends_it():
    first, second = (processes.start("play", "--no-browser") for _ in range(2))
    with processes.group(first, second):
        urls = {first_line(p).split()[0] for p in (first, second)}
        assert len(urls) == 2
        assert all(url.startswith("http://127.0.0.1:") for url in urls)
        for process in (first, second):
            process.send_signal(signal.SIGINT)
            status, _, err = processes.finish(process)
            assert status == 130, err
            assert err.splitlines()[-1] == "jaxcnn: interrupted"
            assert "Traceback" not in err


def test_a_taken_port_and_a_missing_run_are_told_in_a_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, out, err = processes.run("play", "--no-browser", "--port", port)
    assert (status, out) == (2, "")
    assert err.startswith(f"jaxcnn: error: --port {port} on 127.0.0.1: Address already in use.")
    status, _, err = processes.run("play", tmp_path / "none", "--no-browser", "--port", 0)
    assert status == 2
    assert err.splitlines()[-1].startswith("jaxcnn: error: ")
    status, _, err = processes.run("play", "--port", 70_000)
    assert (status, err) == (2, "jaxcnn: error: --port 70000 must be from 0 to 65535.\n")
