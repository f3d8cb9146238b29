"""A finished run, and copies of it."""

import shutil
from pathlib import Path

import pytest

from jaxcnn.cli.dispatch import main
from tests.cli.short_run import FLAGS
from tests.lenient import as_a_user_has_it


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run of two epochs, to be copied and never changed."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    with as_a_user_has_it():
        assert main(["train", *FLAGS, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
