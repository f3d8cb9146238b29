"""One file from the first of several mirrors that serves it whole, straight into the cache."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from ..._errors import CommandError

_CONNECT_AND_READ_SECONDS = (5.0, 30.0)


class NoMirrorError(CommandError):
    """No mirror served the file: there is no network, or what came was not the file."""


def fetch(
    name: str, mirrors: Sequence[str], folder: Path, check: Callable[[bytes], object]
) -> Path:
    """Download `name` into `folder` unless no mirror has it, and return its path.

    The download goes to a temporary file beside the target and is moved in place only after
    `check`, which gets the content and raises ValueError when it is not what was asked for. So the
    cache never holds part of a file.

    Raises:
        NoMirrorError: no mirror answered with the right content.
        CommandError: the folder cannot be made or written.
    """
    import pooch
    import requests

    # Pooch tells the digest of a file it has no digest for; `check` is the judge here.
    pooch.get_logger().setLevel(logging.WARNING)
    http = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_CONNECT_AND_READ_SECONDS)

    def download_and_check(url: str, output_file: str, pooch: object) -> None:
        http(url, output_file, pooch)
        check(Path(output_file).read_bytes())

    failures = []
    for mirror in mirrors:
        try:
            pooch.retrieve(
                mirror + name,
                known_hash=None,
                fname=name,
                path=folder,
                downloader=cast(Any, download_and_check),  # pooch annotates its calls wrongly
            )
        except requests.exceptions.RequestException as error:
            failures.append(f"{urlsplit(mirror).netloc}: {_reason(error)}")
        except ValueError as error:
            failures.append(f"{urlsplit(mirror).netloc}: {error}")
        except OSError as error:
            raise CommandError(
                f"cannot write {name} into the cache {folder}: {error.strerror or error}. Free"
                " space or make it writable, or pass a folder that holds the files as --data-dir."
            ) from None
        else:
            return folder / name
    raise NoMirrorError(f"cannot download {name} ({'; '.join(failures)})")


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    return type(error).__name__
