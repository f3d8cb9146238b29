"""A headless Chromium with the page in it, driven as a hand would."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

REQUIRED = "JAXCNN_REQUIRE_BROWSER"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# A 3 as a hand draws it, in shares of the canvas.
THREE = [
    *[(0.32, 0.24), (0.40, 0.16), (0.52, 0.13), (0.63, 0.18), (0.68, 0.28), (0.63, 0.39)],
    *[(0.54, 0.45), (0.46, 0.48), (0.56, 0.50), (0.66, 0.56), (0.71, 0.67), (0.66, 0.79)],
    *[(0.55, 0.86), (0.42, 0.87), (0.31, 0.81)],
]


def missing() -> str | None:
    """Why there can be no browser here, or None; an error where one has to be here."""
    browser, driver = found()
    if browser and driver:
        return None
    if os.environ.get(REQUIRED) == "1":
        raise AssertionError(f"{REQUIRED}=1, but there is no Chromium with its driver")
    return "no Chromium with its driver on this machine"


def found() -> tuple[str | None, str | None]:
    """The paths of the browser and of its driver."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    return browser, shutil.which("chromedriver")


@dataclass
class Page:
    """The page in a browser."""

    driver: Any

    def settle(self) -> None:
        """Wait until what is shown is of the newest drawing."""
        idle = "return document.querySelector('.network')?.getAttribute('aria-busy') === 'false'"
        WebDriverWait(self.driver, 60, poll_frequency=0.02).until(lambda d: d.execute_script(idle))

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def press(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()
        self.settle()

    def draw(self, points: list[tuple[float, float]]) -> None:
        """One stroke with the mouse through these points of the canvas."""
        paper = self.find("#paper")
        side = paper.size["width"]
        at = [(round((x - 0.5) * side), round((y - 0.5) * side)) for x, y in points]
        chain = ActionChains(self.driver, duration=20)
        chain.move_to_element_with_offset(paper, *at[0]).click_and_hold()
        for x, y in at[1:]:
            chain.move_to_element_with_offset(paper, x, y)
        chain.release().perform()
        self.settle()

    def figure(self, kind: str, name: str) -> str:
        return f"figure[data-kind='{kind}'][data-place='{name}']"

    def numbers(self, kind: str, name: str) -> list[float]:
        """Every number that a layer's picture shows."""
        script = "return document.querySelector(arguments[0]).numbers()"
        return self.run(script, self.figure(kind, name))

    def point_at(self, kind: str, name: str, x: float, y: float) -> dict[str, str]:
        """What the inspector says of the place under a point, in shares of a layer's picture."""
        self.run("document.activeElement?.blur()")
        body = self.find(self.figure(kind, name) + " .body > *")
        size = body.size
        offset = round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"])
        ActionChains(self.driver, duration=0).move_to_element_with_offset(body, *offset).perform()
        script = "const i = document.getElementById('inspector');"
        script += "return {...i.dataset, shown: i.querySelector('.value').textContent}"
        return self.run(script)

    def complaints(self) -> list[str]:
        """Errors in the browser's console since the last call."""
        return [m["message"] for m in self.driver.get_log("browser") if m["level"] == "SEVERE"]


@contextlib.contextmanager
def driver(*, width: int = 1280, height: int = 900, scale: float = 1) -> Iterator[Any]:
    """A browser of its own, with an empty page."""
    browser, path = found()
    with tempfile.TemporaryDirectory(prefix="jaxcnn-chromium-") as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = browser or ""
        for flag in (*FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        started = webdriver.Chrome(options=options, service=Service(path))
        try:
            resize(started, width, height, scale)
            yield started
        finally:
            started.quit()


@contextlib.contextmanager
def page(
    url: str, *, width: int = 1280, height: int = 900, dark: bool = False, scale: float = 1
) -> Iterator[Page]:
    """The page in a browser of its own."""
    with driver(width=width, height=height, scale=scale) as shown_by:
        media = {"prefers-color-scheme": "dark" if dark else "light"}
        media["prefers-reduced-motion"] = "reduce"
        features = [{"name": name, "value": value} for name, value in media.items()]
        shown_by.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        shown_by.get(url)
        shown = Page(shown_by)
        shown.settle()
        yield shown


def resize(driver: Any, width: int, height: int, scale: float = 1) -> None:
    """Another size of the window, in the page's pixels."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale}
    metrics |= {"mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
