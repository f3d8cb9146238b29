"""`jaxcnn play`: draw a digit in the browser and watch it, forward and backward."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._errors import CommandError


@dataclass(frozen=True)
class Play:
    """Draw a digit in the browser, and watch every activation and every gradient of the network.

    The page is served on this machine alone until Ctrl-C ends it.
    """

    run_folder: Annotated[
        Path | None,
        tyro.conf.Positional,
        tyro.conf.arg(
            name="run", metavar="[RUN]", help_behavior_hint="(default: a small trained network)"
        ),
    ] = None
    """The run's folder, as `jaxcnn train` printed it."""
    host: str = "127.0.0.1"
    """The address to listen on. Any other than the loopback's shows the page to the network."""
    port: Annotated[int | None, tyro.conf.arg(help_behavior_hint="(default: a free one)")] = None
    """The port to listen on."""
    browser: bool = True
    """Open the page in the browser."""

    def run(self) -> int:
        """Serve; ends by KeyboardInterrupt alone."""
        if self.port is not None and not 0 <= self.port <= 65535:
            raise CommandError(f"--port {self.port} must be from 0 to 65535.")
        try:
            from ..play import server
        except ModuleNotFoundError as error:
            raise CommandError(
                f"play needs {error.name}: python3 -m pip install 'jaxcnn[play]'"
            ) from None
        # Before the seconds of compiling, not after.
        with server.listen(self.host, self.port) as listening:
            inside = self._inside()
            url = server.address(listening)
            print(f"{url} shows {inside.name}; Ctrl-C ends it", flush=True)
            if self.browser:
                _open(url)
            server.serve(inside, listening)
        return 0

    def _inside(self):
        from ..mnist.machine.compilation_cache import CompilationCache
        from ..play.inside import Inside

        CompilationCache()
        print("compiling", file=sys.stderr, flush=True)
        if self.run_folder is None:
            from ..play import shipped

            return Inside(shipped.load(), name="the network that comes with jaxcnn")
        from .. import mnist
        from ..mnist.recipe import RECIPES
        from ..mnist.run import programs

        run = mnist.load(self.run_folder)
        c = run.configuration
        return Inside(
            run.params,
            name=f"{c.model} of {self.run_folder.name or self.run_folder}, step {run.step}",
            network=c.model,
            class_names=run.class_names,
            layers=programs.LAYERS[c.layers],
            ties=RECIPES[c.recipe].ties,
        )


def _open(url: str) -> None:
    """Show the page, except in a browser of text: it would take the terminal and show nothing."""
    import threading
    import webbrowser

    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:
        threading.Thread(target=browser.open, args=[url], daemon=True).start()
