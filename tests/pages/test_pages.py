"""The site is built by its command, holds what is public, loads nothing, and opens in a browser."""

import inspect
import os
import pathlib
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import jaxcnn
from jaxcnn import _public
from notebooks.pages import lessons, links
from notebooks.pages.__main__ import main
from tests.play import browser

ROOT = pathlib.Path(__file__).parent.parent.parent
PUBLIC = sorted(n for n, f in vars(_public).items() if n[0] != "_" and inspect.isfunction(f))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "notebooks.pages", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return out


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_outside(site):
    assert links.problems(site) == []


def test_every_public_function_is_there_with_its_signature(site):
    page = (site / "reference" / "jaxcnn.html").read_text()
    assert len(PUBLIC) > 10
    for name in PUBLIC:
        assert f'<section id="{name}">' in page
        for parameter in inspect.signature(getattr(jaxcnn, name)).parameters:
            assert f'<span class="n">{parameter}</span>' in page
    assert "_jax.Array" not in page
    twins = tuple(name for name in PUBLIC if hasattr(jaxcnn.reference, name))
    assert len(twins) == 10
    for module, names in {
        "reference": twins,
        "mnist": ("train", "load"),
        "mnist/run/trained": ("Trained.predict",),
    }.items():
        text = (site / "reference" / "jaxcnn" / f"{module}.html").read_text()
        assert all(f'id="{name}"' in text for name in names)


def test_the_first_page_leads_to_every_notebook_and_function(site):
    page = (site / "index.html").read_text()
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert f'href="notebooks/{path.stem}.html"' in page
    assert all(f'href="reference/jaxcnn.html#{name}"' in page for name in PUBLIC)
    assert "which <code>drop_in</code> has too" in page


def test_what_is_not_public_is_not_there(site):
    page = (site / "reference" / "jaxcnn" / "convolution.html").read_text()
    assert 'id="conv_transpose"' in page
    assert 'id="convolved"' not in page


def test_solutions_are_folded(site):
    pages = [path.read_text() for path in (site / "notebooks").glob("*.html")]
    for page in pages:
        folded = [part.split("</details>")[0] for part in page.split("<details>")[1:]]
        assert '<div class="highlight">' in folded[-1]
        for part in folded:  # Markdown that was rendered
            assert "</p>" in part or "</li>" in part
            assert "$" not in part


def test_tags_leave_code_out_or_fold_it(tmp_path):
    cells = [
        new_code_cell(f"{word} = 1", outputs=[new_output("stream", text=f"of {word}")])
        for word in ("plain", "drawing", "skipped")
    ]
    cells[1].metadata["tags"] = ["remove_input"]
    cells[2].metadata["tags"] = ["hide_input"]
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Tags"), *cells]), tmp_path / "1.ipynb")
    lessons.build([tmp_path / "1.ipynb"], tmp_path / "site")
    page = (tmp_path / "site" / "1.html").read_text()
    opened, _, rest = page.partition('<details class="code">')
    folded, _, after = rest.partition("</details>")
    code = '<span class="n">{}</span>'
    assert code.format("plain") in opened
    assert code.format("drawing") not in page
    assert code.format("skipped") in folded
    assert code.format("skipped") not in opened + after
    assert all(f"of {word}" in opened for word in ("plain", "drawing"))
    assert "of skipped" in after


def test_a_folder_that_is_no_site_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("kept")
    for out in (tmp_path, tmp_path / "mine.txt"):
        assert main([str(out)]) == 2
        assert f"{out} exists and is no earlier site" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_the_pages_open_in_a_browser(site):
    if reason := browser.missing():
        pytest.skip(reason)
    with browser.driver() as driver:
        for path in sorted(site.rglob("*.html")):
            name = path.relative_to(site)
            for width in (1280, 400):
                browser.resize(driver, width, 900)
                driver.get(path.as_uri())
                wide = driver.execute_script("return document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} pixels wide in a window of {width}"
            raw = "return [...document.querySelectorAll('.jp-MarkdownCell, .docstring')]"
            raw += ".map(e => e.innerText).filter(t => t.includes('$$') || t.includes('\\\\sum'))"
            assert driver.execute_script(raw) == [], name
        driver.get((site / "reference" / "jaxcnn" / "convolution.html").as_uri())
        # A sum sign above its indices: the formula is laid out, not only written.
        script = "const b = e => e.getBoundingClientRect(); const m = document.querySelector("
        script += "'math munder'); return [b(m.children[0]).top, b(m.children[1]).top]"
        sign, indices = driver.execute_script(script)
        assert sign < indices
        driver.get((site / "reference" / "jaxcnn.html").as_uri() + "?search=max_pool")
        found = "return document.querySelector('main').innerText"
        browser.WebDriverWait(driver, 20).until(
            lambda d: "search result" in d.execute_script(found)
        )
        assert "max_pool" in driver.execute_script(found)
        severe = [m for m in driver.get_log("browser") if m["level"] == "SEVERE"]
        assert severe == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="b.html">b</a>', "a.html links to b.html, which is not there"),
        ('<a href="#x">x</a>', "a.html links to #x, which has no such place"),
        ('<a href="../outside.html">x</a>', "a.html links to ../outside.html, which is not there"),
        ('<img src="p.png">', "a.html loads p.png, which is not there"),
        ('<script src="https://cdn.org/x.js"></script>', "a.html loads https://cdn.org/x.js"),
        ('<link rel="stylesheet" href="//cdn.org/x.css">', "a.html loads //cdn.org/x.css"),
        ("<style>@import 'https://cdn.org/x.css';</style>", "a.html loads https://cdn.org/x.css"),
        ('<p style="background: url(https://c.org/p.png)">', "a.html loads https://c.org/p.png"),
        ('<a href="https://docs.jax.dev">jax</a>', None),
        ('<a id="x" href="a.html#x">x</a><img src="data:image/png;base64,AA">', None),
    ],
)
def test_a_bad_link_is_told(tmp_path, body, problem):
    (tmp_path / "site").mkdir()
    (tmp_path / "outside.html").touch()
    (tmp_path / "site" / "a.html").write_text(f"<html><body>{body}</body></html>")
    assert links.problems(tmp_path / "site") == ([problem] if problem else [])
