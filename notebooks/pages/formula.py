r"""The plain formulas of docstrings as LaTeX and as MathML.

A docstring writes a formula as a terminal shows it, and the reference shows it as mathematics:

    dw[a, c, o] = sum over n, i of x[n, i + a, c] * g[n, i, o]

becomes `dw_{a,c,o} = \sum_{n,i} x_{n,i + a,c} \, g_{n,i,o}`. From the weakest to the strongest:

    statement    side = side, with an optional `label:` before it
    side         a sum, or `sum where condition, and sum elsewhere`
    sum          products with + and -; a product has factors with `*` between
    factor       a quotient a / b of neighbours `S p`, `log p`, `g w^T`
    neighbour    a name, a number, `f(x)`, `x[i, j]`, `(sum)`, or `sum over a, c of product`, also
                 with `max` or `mean`, and with a condition: `sum over i, a with i + a = j of ...`
"""

import re

from latex2mathml.converter import convert

_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z]\w*)|(?P<number>\d+(?:\.\d+)?)|(?P<sign>[^\s\w]))")
_SIDE = r"(?:d [A-Za-z]\w* / d )?[A-Za-z]\w*(?:\[[^\]]*\]|\([^)]*\))?"
_STATEMENT = re.compile(rf"\s*(?:(?P<label>[A-Za-z]\w*):\s+)?(?P<rest>{_SIDE}\s*=(?!=).*)")
_OVER = {"sum": r"\sum", "max": r"\max", "mean": r"\operatorname{mean}"}
_FUNCTIONS = {"exp": r"\exp", "log": r"\log", "max": r"\max"}
_WORDS = {"the", "over", "of", "with", "where", "elsewhere", "and"}
_RELATIONS = {"=": "=", ">": ">", "<": "<"}


class NoFormulaError(ValueError):
    """The text is not in the notation of this module."""


def mathml(latex: str, *, display: bool) -> str:
    """The MathML of a LaTeX formula, which a browser shows without a script."""
    return convert(latex, display="block" if display else "inline")


def statements(text: str) -> list[tuple[str, str]]:
    """The formulas of a block of lines, each with its label or "", as LaTeX.

    Four spaces part two formulas on a line; a line that holds no equation of its own continues the
    one above.

    Raises:
        NoFormulaError: the block holds anything but formulas.
    """
    parts: list[list[str]] = []
    for line in text.splitlines():
        for piece in re.split(r"(?<=[^\s:]) {4,}(?=[^\s=])", line.strip()):
            if match := _STATEMENT.fullmatch(piece):
                parts.append([match["label"] or "", match["rest"]])
            elif parts and piece:
                parts[-1][1] += " " + piece
            elif piece:
                raise NoFormulaError(f"{piece!r} is no equation")
    if not parts:
        raise NoFormulaError("there is no equation")
    return [(label, latex(rest)) for label, rest in parts]


def latex(text: str) -> str:
    """One plain equation as LaTeX.

    Raises:
        NoFormulaError: the text is not in this notation.
    """
    return _Reader(text).statement()


def _name(word: str) -> str:
    """A name: letters as they are, x_j with its index, y_hat with its hat, a word upright."""
    if word.endswith("_hat"):
        return rf"\hat{{{_name(word[:-4])}}}"
    stem, _, index = word.rpartition("_")
    if stem and len(index) == 1 and "_" not in stem:
        return f"{_name(stem)}_{{{index}}}"
    if len(word) == 1:
        return word
    if len(word) == 2 and word[0] == "d":  # dx
        return f"d{word[1]}"
    return rf"\text{{{word}}}"


class _Reader:
    """Reads a formula from left to right, one method for each line of the module's table."""

    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.tokens: list[tuple[str, str, bool]] = []  # kind, text, whether a space stands before
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None:
                raise NoFormulaError(f"{text!r}: what is {text[place:]!r}?")
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind], match.start(kind) > place))
            place = match.end()

    def peek(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place][1] if place < len(self.tokens) else ""

    def kind(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place][0] if place < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        word = self.peek()
        if not word or (expected and word not in expected):
            wanted = " or ".join(expected) or "more"
            raise NoFormulaError(f"{self.text!r}: expected {wanted}, not {word or 'its end'!r}")
        self.at += 1
        return word

    def touches(self, sign: str) -> bool:
        """Whether the sign comes next, with no space before it."""
        return self.peek() == sign and not self.tokens[self.at][2]

    def statement(self) -> str:
        left = self.sum()
        right = [self.side() for _ in iter(lambda: self.peek() == "=" and self.take(), False)]
        if self.at < len(self.tokens) or not right:
            raise NoFormulaError(f"{self.text!r}: {self.peek() or 'no equation'!r}")
        return " = ".join([left, *right])

    def side(self) -> str:
        value = self.sum()
        if self.peek() != "where":
            return value
        self.take("where")
        condition = self.condition()
        self.take(",")
        self.take("and")
        other = self.sum()
        self.take("elsewhere")
        return (
            rf"\begin{{cases}} {value} & \text{{where }} {condition} \\ "
            rf"{other} & \text{{elsewhere}} \end{{cases}}"
        )

    def condition(self) -> str:
        left = self.sum()
        return f"{left} {_RELATIONS[self.take(*_RELATIONS)]} {self.sum()}"

    def sum(self) -> str:
        first = self.take() if self.peek() in ("+", "-") else ""
        found = first + self.product()
        while self.peek() in ("+", "-"):
            found += f" {self.take()} {self.product()}"
        return found

    def product(self) -> str:
        found = self.quotient()
        while self.peek() == "*":
            self.take()
            factor = self.quotient()
            # Words beside each other need a sign between them, letters do not.
            sign = r"\cdot" if r"\text" in found + factor else r"\,"
            found = f"{found} {sign} {factor}"
        return found

    def quotient(self) -> str:
        start = self.at
        found = self.neighbours()
        if self.peek() != "/":
            return found
        self.at = start
        above = self.neighbours(bare=True)
        self.take("/")
        return rf"\frac{{{above}}}{{{self.neighbours(bare=True)}}}"

    def neighbours(self, bare: bool = False) -> str:
        """Factors beside each other; `bare` drops the brackets around the only one."""
        start = self.at
        found = [self.factor()]
        while (self.kind() in ("name", "number") and self.peek() not in _WORDS) or (
            self.peek() == "("
        ):
            found.append(self.factor())
        if bare and len(found) == 1 and self.tokens[start][1] == "(":
            return found[0].removeprefix(r"\left( ").removesuffix(r" \right)")
        return r" \, ".join(found)

    def factor(self) -> str:
        word = self.take()
        if word == "(":
            inside = self.sum()
            self.take(")")
            found = rf"\left( {inside} \right)"
        elif word == "d" and self.kind() == "name":  # d f / d x
            return r"\partial " + self.factor()
        elif word in _OVER and self.peek() in ("over", "of"):
            return self.over(_OVER[word])
        elif word in _FUNCTIONS:
            argument = self.arguments() if self.touches("(") else self.factor()
            return f"{_FUNCTIONS[word]} {argument}"
        elif word[0].isdigit():
            found = word
        elif word[0].isalpha() and word not in _WORDS:
            found = _name(word)
            if self.touches("("):
                found += self.arguments()
            if self.touches("["):
                self.take("[")
                inside = ",".join(self.listed())
                self.take("]")
                # Names with a subscript of their own get no second one.
                found = f"{{{found}}}_{{{inside}}}"
            if self.touches("^"):
                self.take("^")
                power = self.take()
                found += r"^{\top}" if power == "T" else f"^{{{power}}}"
        else:
            raise NoFormulaError(f"{self.text!r}: {word!r} is out of place")
        return found

    def over(self, sign: str) -> str:
        below = ""
        if self.peek() == "over":
            self.take()
            below = ",".join(self.listed())
            if self.peek() == "with":
                self.take()
                below += rf" \,:\, {self.condition()}"
            below = f"_{{{below}}}"
        self.take("of")
        return rf"{sign}{below} {self.product()}"

    def arguments(self) -> str:
        self.take("(")
        inside = ", ".join(self.listed())
        self.take(")")
        return rf"\left( {inside} \right)"

    def listed(self) -> list[str]:
        found = [self.sum()]
        while self.peek() == ",":
            self.take()
            found.append(self.sum())
        return found
