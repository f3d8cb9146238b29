"""The benchmark in several processes, one after the other, their samples put together.

Where Linux puts a process's threads and its memory, how far the cores are from each other in those
minutes, and what else the machine does, decide the time of a small program by a factor of up to
two; in a single process all samples of a row have the same luck.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import report, rows
from .options import Options
from .rows import Row


def compare(options: Options) -> int:
    """Every row in so many processes; returns the exit status, 1 where outputs disagree."""
    found: list[dict[str, Any]] = []
    status = 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(1, options.processes + 1):
                print(f"process {number} of {options.processes}\n", flush=True)
                file = Path(folder) / "rows.json"
                one = dataclasses.replace(options, processes=1, json=file, plot=None)
                ended = subprocess.run([*_command(), *_flags(one)], check=False)
                if ended.returncode not in (0, 1):
                    return ended.returncode
                status = max(status, ended.returncode)
                found.append(json.loads(file.read_text()))
                print(flush=True)
    finally:
        # An interrupted run keeps what it has.
        if found:
            _report(options, found)
    return status


def _command() -> list[str]:
    return [sys.executable, "-m", "jaxcnn", "bench"]


def _flags(options: Options) -> Iterator[str]:
    """The options as the command line has them."""
    for field in dataclasses.fields(Options):
        value = getattr(options, field.name)
        name = field.name.replace("_", "-")
        if value == field.default:
            continue
        if isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
        else:
            yield f"--{name}"
            yield from map(str, value if isinstance(value, tuple) else [value])


def _report(options: Options, found: list[dict[str, Any]]) -> None:
    measured = _together([[rows.from_json(row) for row in each["rows"]] for each in found])
    machine = found[0]["machine"] | {"processes": len(found)}
    if options.json is not None:
        written = {"machine": machine, "rows": [rows.as_json(row) for row in measured]}
        options.json.write_text(json.dumps(written, indent=1) + "\n")
    if not measured:
        return
    width = report.width(row.case for row in measured)
    print(f"the samples of {len(found)} processes together\n")
    print(report.heading(machine) + "\n")
    print(report.header(width))
    for row in measured:
        print(report.line(row, width, machine["matrix_product_flops"]))
    print("\n" + report.summary(measured))
    if options.plot is not None:
        report.plot(measured, options.plot)


def _together(processes: list[list[Row]]) -> list[Row]:
    """Each row that all of them have."""
    keyed = [{(row.case, row.what): row for row in each} for each in processes]
    return [
        rows.together([each[key] for each in keyed])
        for key in keyed[0]
        if all(key in each for each in keyed)
    ]
