"""A comparison as text for a terminal and as HTML for a notebook."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from .leaf import LeafComparison

_HEADS = (
    "leaf",
    "shape",
    "dtype",
    "abs error",
    "rel error",
    "ulp",
    "worst at",
    "cosine",
    "tolerance",
    "in float64",
    "differences",
    "verdict",
)


@dataclass(frozen=True)
class Table:
    """A row a leaf, what is wrong below them, and a line that sums up."""

    title: str
    leaves: Sequence[LeafComparison]
    # Of the function as a whole.
    failures: Sequence[str]
    notes: Sequence[str]

    def text(self) -> str:
        """The table for a terminal."""
        heads, rows = self._columns()
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = [self.title]
        lines += [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in (heads, *rows)
        ]
        lines += [f"{mark} {line}" for mark, line in self._remarks()]
        return "\n".join([*lines, self._summary()])

    def html(self) -> str:
        """The same as HTML, without a style sheet of its own."""
        heads, rows = self._columns()
        cells = "".join(f"<th>{html.escape(h)}</th>" for h in heads)
        body = ""
        for leaf, row in zip(self.leaves, rows, strict=True):
            style = "" if leaf.ok else ' style="background: rgba(214, 39, 40, 0.2)"'
            body += f"<tr{style}>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>"
        remarks = "".join(f"<li>{html.escape(line)}</li>" for _, line in self._remarks())
        return (
            f"<p>{html.escape(self.title)}</p>"
            f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
            + (f"<ul>{remarks}</ul>" if remarks else "")
            + f"<p><b>{html.escape(self._summary())}</b></p>"
        )

    def _columns(self) -> tuple[list[str], list[list[str]]]:
        """The heads and the rows, without the columns that say nothing."""
        rows = [_row(leaf) for leaf in self.leaves]
        keep = [i for i in range(len(_HEADS)) if any(row[i] for row in rows)]
        return [_HEADS[i] for i in keep], [[row[i] for i in keep] for row in rows]

    def _remarks(self) -> list[tuple[str, str]]:
        """What is wrong, what it looks like, and what else there is to know."""
        remarks = [("!", line) for line in self.failures]
        for leaf in self.leaves:
            remarks += [("?", f"{leaf.path}: {line}") for line in leaf.diagnosis]
            remarks += [("!", f"{leaf.path}: {line}") for line in leaf.failures]
            if leaf.failures and leaf.max_abs_error is not None:
                remarks.append(
                    ("-", f"{leaf.path}: tolerance {leaf.tolerance:.2g} = {leaf.reason}")
                )
            remarks += [("-", f"{leaf.path}: {line}") for line in leaf.notes]
        return remarks + [("-", line) for line in self.notes]

    def _summary(self) -> str:
        right, count = sum(leaf.ok for leaf in self.leaves), len(self.leaves)
        verdict = "ok" if right == count and not self.failures else "WRONG"
        return f"{verdict}: {right} of {count} gradients match"


def _row(leaf: LeafComparison) -> list[str]:
    measured = leaf.max_abs_error is not None
    return [
        leaf.path,
        "x".join(map(str, leaf.shape)) or "scalar",
        leaf.dtype,
        _number(leaf.max_abs_error),
        _number(leaf.max_rel_error),
        _number(leaf.max_ulp_error),
        _index(leaf.worst_index) if leaf.max_abs_error else "",
        "" if leaf.cosine is None else f"{leaf.cosine:.6f}",
        _number(leaf.tolerance) if measured else "",
        _number(leaf.float64_error),
        _differences(leaf),
        "ok" if leaf.ok else "WRONG",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _index(index: tuple[int, ...] | None) -> str:
    return "" if index is None else "[" + ",".join(map(str, index)) + "]"


def _differences(leaf: LeafComparison) -> str:
    d = leaf.differences
    if d is None:
        return f"{leaf.kinks} kinks" if leaf.kinks else ""
    count = d.directions + d.elements
    said = [f"{count - d.wrong - d.inconclusive} of {count} agree"]
    said += [f"{d.inconclusive} too noisy"] if d.inconclusive else []
    said += [f"{leaf.kinks} kinks"] if leaf.kinks else []
    return ", ".join(said)
