"""The notebooks as pages: nbconvert's, with mathematics that no script has to set."""

import re
from collections.abc import Generator
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from traitlets.config import Config

from .formula import mathml

# nbconvert's page loads MathJax, require.js and Mermaid from the network: none of them is needed.
_TEMPLATE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}<style>{{ resources.lesson_css }}</style>{%- endblock -%}
{%- block input_group -%}
{%- if 'hide_input' in cell.metadata.get('tags', []) -%}
<details class="code"><summary>Code</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock input_group -%}
{%- block body_header -%}{{ super() }}{{ resources.lesson_nav }}{%- endblock -%}
{%- block body_footer -%}{{ resources.lesson_nav }}{{ super() }}{%- endblock -%}
"""
# Code that only draws is left out; code that a reader may skip, tagged `hide_input`, is folded.
_TAGS = Config({"TagRemovePreprocessor": {"remove_input_tags": {"remove_input"}}})
_HEADING = re.compile(r"^# (.+)$", re.MULTILINE)


def title(path: Path) -> str:
    """The heading that a notebook starts with."""
    first = nbformat.read(path, as_version=4).cells[0].source
    match = _HEADING.search(first)
    return match[1].strip() if match else path.stem


def build(paths: list[Path], out: Path) -> None:
    """Write a page for each notebook, with the outputs that it stores."""
    out.mkdir(parents=True)
    exporter = _Exporter(config=_TAGS, raw_template=_TEMPLATE)
    css = (Path(__file__).parent / "lesson.css").read_text()
    names = [(f"{path.stem}.html", title(path)) for path in paths]
    for number, path in enumerate(paths):
        links = [("../index.html", "all pages")]
        links += [(name, f"\u2190 {text}") for name, text in names[:number][-1:]]
        links += [(name, f"{text} \u2192") for name, text in names[number + 1 :][:1]]
        nav = "".join(f'<a href="{name}">{escape(text)}</a>' for name, text in links)
        resources: dict[str, Any] = {
            "lesson_css": css,
            "lesson_nav": f'<nav class="lessons">{nav}</nav>',
        }
        resources["metadata"] = {"name": names[number][1], "path": str(path.parent)}
        page, _ = exporter.from_notebook_node(nbformat.read(path, as_version=4), resources)
        (out / names[number][0]).write_text(page, encoding="utf-8")


class _Exporter(HTMLExporter):
    """nbconvert's exporter, with the renderer below."""

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        renderer = _Renderer(
            escape=False,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=True,
            path=context["resources"]["metadata"]["path"],
            anchor_link_text=self.anchor_link_text,
        )
        return MarkdownWithMath(renderer=renderer).render(source)

    def default_filters(self) -> Generator[tuple[str, Any], None, None]:
        yield from super().default_filters()
        yield ("markdown2html", self.markdown2html)


class _Renderer(IPythonRenderer):
    """Markdown with MathML for LaTeX, and links from page to page."""

    def block_math(self, body: str) -> str:
        return f'<div class="formula">{mathml(body, display=True)}</div>'

    def inline_math(self, body: str) -> str:
        return mathml(body, display=False)

    def block_html(self, html: str) -> str:
        # As it is: nbconvert parses it for images, and so closes a <details> before what it folds.
        return html

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if "://" not in url:
            url = re.sub(r"\.ipynb(?=#|$)", ".html", url)
        return super().link(text, url, title)
