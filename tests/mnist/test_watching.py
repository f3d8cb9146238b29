"""What a run writes for whoever watches it: learning curves and TensorBoard's events."""

import importlib
import struct
from typing import Any

import pytest

import jaxcnn.mnist
from jaxcnn.mnist import plot
from jaxcnn.mnist.run import watching
from tests.cli.test_extras import COMMAND
from tests.cli.test_extras import run as without
from tests.mnist.test_trained import as_a_user_has_it

HOW: dict[str, Any] = {
    "recipe": "fast", "batch_size": 400, "devices": 1, "quiet": True, "tensorboard": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn():
    """How many evaluations each drawing of the run showed."""
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory, drawn):
    """A run of four evaluations that was stopped and extended, and drawn at each of them."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    draw = plot.learning_curves

    def counted(lines, **options):
        drawn.append(sum(not line.get("final") for line in lines))
        return draw(lines, **options)

    with pytest.MonkeyPatch.context() as patch, as_a_user_has_it():
        patch.setattr(watching, "SECONDS_BETWEEN_DRAWINGS", 0.0)
        patch.setattr(plot, "learning_curves", counted)
        jaxcnn.mnist.train("digits", epochs=2, out=folder, **HOW)
        return jaxcnn.mnist.train(epochs=4, out=folder, resume=True, **HOW)


def test_the_curves_are_drawn_anew_at_every_evaluation(run, drawn):
    assert drawn == [1, 2, 2, 3, 4, 4]
    assert (run.folder.path / watching.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_short_run_draws_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "SECONDS_BETWEEN_DRAWINGS", float("inf"))
    with as_a_user_has_it():
        jaxcnn.mnist.train("digits", steps=1, out=tmp_path, **{**HOW, "tensorboard": False})
    assert not (tmp_path / watching.PICTURE).exists()
    assert not (tmp_path / "tensorboard").exists()


def events(folder):
    """The scalars of TensorBoard's files, in the order in which they were written."""
    event_pb2: Any = importlib.import_module("tensorboardX.proto.event_pb2")
    scalars = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            # Length, its checksum, an event, and the checksum of that.
            (length,) = struct.unpack_from("<Q", content)
            event = event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[12 + length + 4 :]
            scalars += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
    return scalars


def test_tensorboard_gets_every_loss_and_accuracy(run):
    found = events(run.folder.path / "tensorboard")
    expected = [
        (f"{what}/{part}", line["step"], line[f"{part}_{what}"])
        for line in run.history
        for part in ("train", "validation", "test")
        for what in ("loss", "accuracy")
    ]
    assert [e[:2] for e in found] == [e[:2] for e in expected]
    assert [e[2] for e in found] == pytest.approx([e[2] for e in expected], rel=1e-6)


def test_tensorboard_without_its_extra_is_one_line_and_status_2(tmp_path):
    words = ("train", "--dataset", "digits", "--tensorboard", "--out", str(tmp_path / "run"))
    done = without(COMMAND, "tensorboardX", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert 'pip install "jaxcnn[tensorboard]"' in line
    assert not (tmp_path / "run").exists()
