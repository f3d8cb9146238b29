"""The docstrings of `jaxcnn` as Markdown whose formulas are MathML."""

import re
import textwrap
from html import escape

from .formula import NoFormulaError, mathml, statements

# What reads as a formula and has to be one: a block that is indented like code, with no prompt.
_BLOCK = re.compile(r"(?:(?<=\n\n)|\A) {4}(?! |>>>).*(?:\n {4}.*)*(?=\n\n|\n?\Z)")
_PARAGRAPH = re.compile(r"(?:(?<=\n\n)|\A)(?! )\w[^\n]*=[^\n]*(?:\n +[^\n]*)*(?=\n\n|\n?\Z)")
_SUMMARY = re.compile(r"\A([A-Z][^:=\n]*): ([^.\n]*=[^.\n]*)(?=\.)")


def with_mathematics(docstring: str) -> str:
    """The docstring with a MathML element in place of every formula.

    Formulas are the indented blocks and the paragraphs that `formula.statements` can read; all
    else stays as it is.
    """
    for pattern in (_BLOCK, _PARAGRAPH):
        docstring = pattern.sub(_shown, docstring)
    return _SUMMARY.sub(_summarised, docstring)


def unread(docstring: str) -> list[str]:
    """The indented blocks with an equation in them that are in no notation of `formula`."""
    found = [match[0] for match in _BLOCK.finditer(docstring) if " = " in match[0]]
    return [block for block in found if _shown_or_none(block) is None]


def _shown(match: re.Match[str]) -> str:
    return _shown_or_none(match[0]) or match[0]


def _shown_or_none(block: str) -> str | None:
    try:
        found = statements(textwrap.dedent(block))
    except NoFormulaError:
        return None
    labelled = any(label for label, _ in found)
    rows = []
    for label, latex in found:
        name = f'<span class="name">{escape(label)}</span>' if labelled else ""
        rows.append(f"<div>{name}{mathml(latex, display=True)}</div>")
    return f'<div class="formula">{"".join(rows)}</div>'


def _summarised(match: re.Match[str]) -> str:
    """A summary like that of `relu`: words, a colon, formulas, and words again."""
    shown = []
    for part in re.split(r"(, with )", match[2]):
        try:
            shown.append("".join(mathml(latex, display=False) for _, latex in statements(part)))
        except NoFormulaError:
            shown.append(part)
    return f"{match[1]}: {''.join(shown)}"
