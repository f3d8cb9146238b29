"""A run of two epochs over the bundled digits, and what is asked of it."""

from pathlib import Path

from jaxcnn.cli.dispatch import main

# Three steps an epoch: enough to have a middle.
FLAGS = ("--dataset", "digits", "--recipe", "fast", "--epochs", "2", "--batch-size", "400",
         "--checkpoint-every", "3", "--devices", "1", "--no-compilation-cache")  # fmt: skip


def train(*words: object) -> int:
    return main(["train", *FLAGS, *map(str, words)])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(capsys, *words: object) -> str:
    """The one line that a run which ends with status 2 leaves on the standard error stream."""
    capsys.readouterr()
    assert train(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("jaxcnn: error: ")]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return errors[0]
