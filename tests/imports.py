"""The package's files and what each imports, read from the source: nothing is run."""

import ast
import pathlib
from collections.abc import Iterator


def package_files(root: pathlib.Path) -> Iterator[tuple[str, str, pathlib.Path]]:
    """Every module under `root`: its dotted name, its package's name, and its file."""
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        package = ".".join(parts[:-1])
        yield (package if parts[-1] == "__init__" else ".".join(parts)), package, path


def resolved(node: ast.ImportFrom, package: str) -> str:
    """The module or package that a `from` statement in `package` names, absolute."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def imported(text: str, package: str, known: set[str]) -> set[str]:
    """The modules among `known` that a file of `package` imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = resolved(node, package)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in known else source)
    return found & known
