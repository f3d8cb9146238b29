"""The command line: the words after `jaxcnn`, and what becomes of them."""

import contextlib
import io
import itertools
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from .._errors import CommandError
from .._extras import missing

_DESCRIPTION = "Convolutional networks in JAX with hand-written gradients. --version shows which."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; those of this process by default.

    Returns:
        The exit status: what the command returns, 0 or, where gradients or outputs disagree, 1;
        2 for a mistake of the user's, told in one line; 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _run(argv)
        sys.stdout.flush()
        return status
    except CommandError as error:
        print(f"jaxcnn: error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (message := missing(error, "this command")) is None:
            raise
        print(f"jaxcnn: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jaxcnn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # The reader, `head` say, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(argv: Sequence[str]) -> int:
    if argv == ["--version"]:
        from importlib import metadata

        print(f"jaxcnn {metadata.version('jaxcnn')}")
        return 0
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            command = _parse(argv or ["--help"])
    except SystemExit as stop:  # tyro has printed its help, or what is wrong.
        if stop.code == 0:
            return 0
        raise CommandError(_one_line(said.getvalue())) from None
    return command.run()


def _one_line(panel: str) -> str:
    """What is wrong, out of the panel that tyro draws around it and much else."""
    # It colours the panel where the standard output is a terminal.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", panel)
    lines = [line.strip("\u2502 ") for line in plain.splitlines()]
    lines = [line for line in lines if line and not line.startswith("\u256d")]
    what = itertools.takewhile(lambda line: line[0] not in "\u2500\u2570", lines)
    text = " ".join(itertools.takewhile(lambda line: line != "Got errors:", what))
    text = text.replace("(required)", "").replace("'None', ", "").rstrip(". ")
    return f"{text[:1].lower()}{text[1:]}. For help: jaxcnn COMMAND --help."


def _parse(argv: Sequence[str]) -> Any:
    import tyro

    # Light modules all: what is heavy they import when they run.
    from .bench import Bench
    from .compare import Compare
    from .evaluate import Evaluate
    from .export import Export
    from .options import told
    from .play import Play
    from .predict import Predict
    from .train import Train
    from .visualize import Visualize

    commands = {
        "train": Train,
        "evaluate": Evaluate,
        "predict": Predict,
        "visualize": Visualize,
        "export": Export,
        "play": Play,
        "compare": Compare,
        "bench": Bench,
    }
    return tyro.extras.subcommand_cli_from_dict(
        {name: told(command) for name, command in commands.items()},
        prog="jaxcnn",
        description=_DESCRIPTION,
        args=argv,
        config=(tyro.conf.DisallowNone,),
    )
