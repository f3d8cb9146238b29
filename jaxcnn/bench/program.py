"""A compiled program with its operands: what a benchmark calls, checks and reports."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Program:
    """Something to call and time.

    Attributes:
        call: runs it once and returns its outputs.
        outputs: the outputs as NumPy arrays in the order and layout that are compared.
        compile_seconds: how long tracing, lowering and compiling took.
        peak_bytes: arguments, outputs and temporaries of the compiled program, where XLA tells.
        text: the compiled program.
    """

    call: Callable[[], Any]
    outputs: Callable[[], Sequence[np.ndarray]]
    compile_seconds: float | None = None
    peak_bytes: int | None = None
    text: str = ""


def compiled(
    f: Callable[..., Any],
    *operands: Any,
    checked: Sequence[Any] | None = None,
    select: Callable[[Any], Any] = lambda outputs: outputs,
) -> Program:
    """`f` compiled for these operands.

    Args:
        f: what to compile.
        operands: what it is called with.
        checked: operands of the same shapes, for which its outputs are compared, where others.
        select: what of its outputs is compared, as a tree of arrays.
    """
    start = time.perf_counter()
    executable = jax.jit(f).lower(*operands).compile()
    seconds = time.perf_counter() - start

    def call():
        return executable(*operands)

    return Program(
        call,
        lambda: [
            np.asarray(leaf) for leaf in jax.tree.leaves(select(executable(*(checked or operands))))
        ],
        seconds,
        _peak(executable.memory_analysis()),
        executable.as_text() or "",
    )


def _peak(memory: Any) -> int | None:
    if memory is None:
        return None
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )


def same(a: Program, b: Program) -> bool:
    """Whether XLA made the same program of both: the same operations, whatever their names."""
    texts = _operations(a.text), _operations(b.text)
    # XLA does not print a large constant.
    return texts[0] == texts[1] != "" and "{...}" not in texts[0]


# The first line of a computation repeats what its parameters say.
_COMPUTATION = re.compile(r"^((?:ENTRY )?%\S+) \(.* \{$", re.MULTILINE)
_SOURCE = re.compile(r', metadata=\{(?:[^"}]|"[^"]*")*\}')
_NAME = re.compile(r"%[\w.-]+")


def _operations(text: str) -> str:
    """A compiled program without what tells where it comes from, its names numbered."""
    first = _COMPUTATION.search(text)
    if first is None:
        return ""
    bare = _SOURCE.sub("", _COMPUTATION.sub(r"\1 {", text[first.start() :]))
    numbers: dict[str, str] = {}
    return _NAME.sub(lambda name: numbers.setdefault(name[0], f"%{len(numbers)}"), bare)


def difference(outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest difference of an element, as a share of the largest element of its array.

    Infinite where shapes differ or a number is not finite.
    """
    if [a.shape for a in outputs] != [b.shape for b in expected]:
        return float("inf")
    worst = 0.0
    for a, b in zip(outputs, expected, strict=True):
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        if not a.size:
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        scale = np.abs(b).max()
        distance = np.abs(a - b).max()
        worst = max(worst, float(distance / scale) if scale else float(distance > 0) * np.inf)
    return worst
