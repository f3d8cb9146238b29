"""What the pages of a folder refer to, and whether it is there."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {
    *("script", "img", "iframe", "source", "video", "audio", "embed", "object", "track", "link"),
}
_CSS = re.compile(r"""@import\s+["']?([^"';)]+)|url\(\s*["']?([^"')]+)""")


class _Page(HTMLParser):
    """A page's anchors, what it links to, and what it loads."""

    def __init__(self):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.style = False

    def handle_starttag(self, tag, attrs):
        self.style = tag == "style"
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value)
            elif name in ("href", "xlink:href") and tag != "link" and tag not in _LOADS:
                self.links.append(value)
            elif name in ("src", "href", "data", "poster") and tag in _LOADS:
                self.loads.append(value)
            elif name == "srcset":
                self.loads += [part.split()[0] for part in value.split(",")]
            elif name == "style":
                self.loads += _in_css(value)

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        if self.style:
            self.loads += _in_css(data)


def problems(site: Path) -> list[str]:
    """What is wrong with the links of the pages under `site`, in words; empty where all is well.

    A link inside the site has to lead to a file, and to an anchor that is in it; a link to another
    host may stand, but nothing may be loaded from there.
    """
    pages = {path.resolve(): _read(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for target in page.loads:
            if urlsplit(target).scheme == "data":
                continue
            if _outward(target):
                found.append(f"{name} loads {target}")
            elif not _file(path, target).is_file():
                found.append(f"{name} loads {target}, which is not there")
        for target in page.links:
            if _outward(target) or urlsplit(target).scheme in ("mailto", "data"):
                continue
            file, anchor = _file(path, target), unquote(urlsplit(target).fragment)
            if site.resolve() not in file.parents or not file.is_file():
                found.append(f"{name} links to {target}, which is not there")
            elif anchor and file in pages and anchor not in pages[file].anchors:
                found.append(f"{name} links to {target}, which has no such place")
    return found


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


def _in_css(text: str) -> list[str]:
    return [first or second for first, second in _CSS.findall(text)]


def _outward(target: str) -> bool:
    parts = urlsplit(target)
    return bool(parts.netloc) or parts.scheme in ("http", "https")


def _file(page: Path, target: str) -> Path:
    path = unquote(urlsplit(target).path)
    return (page.parent / path).resolve() if path else page
