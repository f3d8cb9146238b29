"""The page's pictures, and how long it takes: `python -m tests.play.pictures FOLDER`.

Writes a PNG for each of two widths, dark and light, and `screenshot.png`, the README's; prints the
times from a move of the mouse to the picture of it, as the page itself measures them.
"""

import argparse
import io
import statistics
import sys
from pathlib import Path

from PIL import Image

from tests.play import browser
from tests.play.page_server import serving

# Collects what the page says of its time after every answer.
WATCH = """
window.times = [];
new MutationObserver(() => {
  window.times.push(Number(document.getElementById("about").textContent.match(/(\\d+) ms/)[1]));
}).observe(document.getElementById("about"), { childList: true });
"""


def main() -> int:
    """Take them; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with serving("--port", 0) as server:
        for width in (1280, 400):
            for dark in (False, True):
                with browser.page(server.url, width=width, dark=dark) as page:
                    if width == 400:
                        height = page.run("return document.documentElement.scrollHeight")
                        browser.resize(page.driver, width, height)
                    name = f"{width}-{'dark' if dark else 'light'}.png"
                    page.driver.save_screenshot(str(folder / name))
        with browser.page(server.url, dark=True, height=880) as page:
            for _ in range(3):  # The first answers meet code that the browser has not compiled.
                page.press("c")
                page.draw(browser.THREE)
            page.run(WATCH)
            for _ in range(5):
                page.press("c")
                page.draw(browser.THREE)
            times = page.run("return window.times")
            picture = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
            picture.quantize(128).save(folder / "screenshot.png", optimize=True)
    print(f"{len(times)} pictures: median {statistics.median(times):g} ms, most {max(times)} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
