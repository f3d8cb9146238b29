"""What is downloaded is whole and verified, and kept."""

import dataclasses
import functools
import gzip
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest

from jaxcnn._errors import CommandError
from jaxcnn.mnist.data import published, sources
from tests.mnist.small_mnist import IMAGES, LABELS, STEMS, flip_last_bit, gzipped, write


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves a dictionary of files; `short` announces more than it sends."""

    def __init__(self, files, short, *args):
        self.files, self.short = files, short
        super().__init__(*args)

    def do_GET(self):
        content = self.files.get(self.path.strip("/"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + 100 * self.short))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def mirror():
    """Start a server on this machine: `mirror(files) -> its address`."""
    servers = []

    def start(files, short=False):
        handler = functools.partial(Mirror, files, short)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def use_mirrors(monkeypatch, *mirrors):
    source = dataclasses.replace(published.SOURCES["mnist"], mirrors=mirrors)
    monkeypatch.setitem(published.SOURCES, "mnist", source)


def served(contents):
    return {f"{stem}.gz": content for stem, content in gzipped(contents).items()}


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_download_fills_the_cache_once(small, arrays, mirror, monkeypatch, cache):
    files = served(small)
    use_mirrors(monkeypatch, mirror(files))
    first = sources.load("mnist")
    np.testing.assert_array_equal(first.test_images, arrays[STEMS[2]])
    assert files_below(cache) == sorted(files)
    files.clear()
    np.testing.assert_array_equal(sources.load("mnist").test_images, first.test_images)


def bad_mirror(kind, contents):
    files = served(contents)
    if kind == "altered":
        return {name: gzip.compress(flip_last_bit(gzip.decompress(f))) for name, f in files.items()}
    if kind == "a page instead":
        return dict.fromkeys(files, b"<html>log in to the network</html>")
    return {} if kind == "missing" else files


@pytest.mark.parametrize("kind", ["missing", "altered", "a page instead", "broken off"])
def test_a_bad_mirror_gives_way_to_the_next(kind, small, arrays, mirror, monkeypatch, cache):
    bad = mirror(bad_mirror(kind, small), kind == "broken off")
    use_mirrors(monkeypatch, bad, mirror(served(small)))
    np.testing.assert_array_equal(sources.load("mnist").test_images, arrays[STEMS[2]])

    use_mirrors(monkeypatch, bad)
    for path in (cache / "mnist").iterdir():
        path.unlink()
    with pytest.raises(CommandError, match=f"cannot download {IMAGES}") as raised:
        sources.load("mnist")
    assert files_below(cache) == []
    assert "--data-dir" in str(raised.value)
    # A folder that was named, and is empty, is not passed over in silence.
    (cache / "empty").mkdir()
    monkeypatch.setenv("JAXCNN_DATA_DIR", str(cache / "empty"))
    with pytest.raises(CommandError, match="empty holds none of its files"):
        sources.load("mnist")
    assert "\n" not in str(raised.value)


def test_a_damaged_file_in_the_cache_is_fetched_again(small, mirror, monkeypatch, cache):
    write(cache / "mnist", gzipped(small), ".gz")
    damaged = cache / "mnist" / f"{LABELS}.gz"
    damaged.write_bytes(damaged.read_bytes()[:-12])
    with pytest.raises(CommandError, match=f"cannot download {LABELS}"):
        sources.load("mnist")
    assert not damaged.exists()
    use_mirrors(monkeypatch, mirror(served(small)))
    assert sources.load("mnist").name == "mnist"


def test_a_cache_that_cannot_be_written_is_named(small, mirror, monkeypatch, cache):
    use_mirrors(monkeypatch, mirror(served(small)))
    cache.parent.write_text("a file where the cache's folder should be")
    with pytest.raises(CommandError, match=f"cannot write {IMAGES}.gz into the cache .*--data-dir"):
        sources.load("mnist")
