"""The first page: what there is to read."""

import re
from html import escape
from pathlib import Path

import jaxcnn

from . import lessons, reference

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>jaxcnn</title>
<style>
body {{ font: 1.05rem/1.6 system-ui, sans-serif; color: #212529; background: #fff; }}
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.25; }}
h2 {{ margin-top: 2rem; font-size: 1.25rem; }}
a {{ color: #1a5fb4; }}
li {{ margin: .35rem 0; }}
code {{ overflow-wrap: anywhere; }}
.lessons, .names {{ padding: 0; list-style: none; }}
.names {{ display: flex; flex-wrap: wrap; gap: 0 1rem; }}
</style>
</head>
<body>
<h1>jaxcnn</h1>
<p>{summary}</p>
<h2>The lessons</h2>
<p>Each is a notebook, shown here with its outputs; the README says how to run it.</p>
<ul class="lessons">
{lessons}
</ul>
<h2>The reference</h2>
<ul class="names">
{names}
</ul>
<h2>By module: the formulas, and the functions that follow them</h2>
<ul>
{modules}
</ul>
</body>
</html>
"""


def build(notebooks: list[Path], out: Path) -> None:
    """Write index.html into the folder."""
    steps = [_item(f"notebooks/{path.stem}.html", lessons.title(path)) for path in notebooks]
    functions = [
        _item(f"reference/jaxcnn.html#{name}", name, code=True)
        for name in reference.NAMES["jaxcnn"]
    ]
    modules = [
        _item(f"reference/jaxcnn/{name}.html", f"jaxcnn.{name}", _about(name), code=True)
        for name in reference.PAGES["jaxcnn"]
    ]
    page = _PAGE.format(
        summary=escape((jaxcnn.__doc__ or "").strip()),
        lessons="\n".join(steps),
        names="\n".join(functions),
        modules="\n".join(modules),
    )
    (out / "index.html").write_text(page, encoding="utf-8")


def _about(module: str) -> str:
    return (getattr(jaxcnn, module).__doc__ or "").strip().splitlines()[0]


def _item(url: str, text: str, about: str = "", *, code: bool = False) -> str:
    shown = f"<code>{escape(text)}</code>" if code else escape(text)
    rest = f": {_marked(about)}" if about else ""
    return f'<li><a href="{url}">{shown}</a>{rest}</li>'


def _marked(words: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(words))
