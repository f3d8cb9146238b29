"""Build the site: the reference of `jaxcnn` and the notebooks, as pages that need no network.

    python -m notebooks.pages OUT      then open OUT/index.html

OUT must not exist, or be an earlier site. The notebooks are shown with the outputs they store.
"""

import argparse
import shutil
import sys
from pathlib import Path

from . import front, lessons, links, reference

_MARK = ".jaxcnn-site"
NOTEBOOKS = Path(__file__).parent.parent


def main(words: list[str] | None = None) -> int:
    """Build what the words say; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.pages", description="Build the site."
    )
    parser.add_argument("out", type=Path, help="the site's folder: a new one, or an earlier site")
    out: Path = parser.parse_args(words).out
    if out.exists() and not (out / _MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
        print(f"{out} exists and is no earlier site: name a new folder", file=sys.stderr)
        return 2
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / _MARK).touch()
    notebooks = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    lessons.build(notebooks, out / "notebooks")
    reference.build(out / "reference")
    front.build(notebooks, out)
    found = links.problems(out)
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"{len(list(out.rglob('*.html')))} pages: {out / 'index.html'}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
