"""The server of the page: its three files, the network, and what is inside it for a drawing.

    GET  /             the page; /style.css and /script.js belong to it
    GET  /network      JSON: the places, their shapes, the examples
    GET  /weights      float32, every parameter
    POST /inside       a drawing, 112 x 112 bytes of ink; float32, see `inside.py`
         ?label=0..9   whose loss the gradient is of; the predicted one's by default
         ?rate=0..1    of the step whose effect is shown; 0 by default

It keeps nothing of a request, so none can spoil another's answer. What is wrong with one is told
in a line, with a status from 400 to 499.
"""

import asyncio
import contextlib
import ipaddress
import math
import socket
import sys
from importlib import resources

import anyio
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._errors import CommandError
from .canvas import CANVAS, place
from .inside import MAX_RATE, PREDICTED, Inside

# The port tried first; where it is taken the system picks a free one.
PORT = 2828
_FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/script.js": ("script.js", "text/javascript"),
}
_BINARY = "application/octet-stream"
# Seconds in which a drawing of 12 kB has to arrive.
_PATIENCE = 10.0
_MAX_CONNECTIONS = 64
# Bytes of a request's headers.
_MAX_HEAD = 16_384
_HEADERS = {
    # The page needs nothing from elsewhere, and nothing else may run in it or frame it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def application(inside: Inside, *, hosts: list[str]) -> Starlette:
    """The ASGI application.

    Args:
        inside: the network.
        hosts: names that a request may call this machine by; "*" for any. A page from elsewhere
            whose name is made to lead here is thereby refused.
    """
    # One drawing at a time: the program itself uses every core.
    limiter: list[anyio.CapacityLimiter] = []

    def file(name: str, kind: str):
        content = (resources.files("jaxcnn.play") / "page" / name).read_bytes()

        async def answer(request: Request) -> Response:
            return Response(content, media_type=kind)

        return answer

    description, weights = inside.description(), inside.weights().astype("<f4").tobytes()

    async def network(request: Request) -> Response:
        return JSONResponse(description)

    async def all_weights(request: Request) -> Response:
        return Response(weights, media_type=_BINARY)

    async def look(request: Request) -> Response:
        label, rate = _options(request)
        ink = await _drawing(request)
        if not limiter:
            limiter.append(anyio.CapacityLimiter(1))
        row = await anyio.to_thread.run_sync(
            lambda: inside.look(place(ink), label, rate), limiter=limiter[0]
        )
        return Response(row.astype("<f4", copy=False).tobytes(), media_type=_BINARY)

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)

    app = Starlette(
        routes=[
            *(Route(path, file(*named)) for path, named in _FILES.items()),
            Route("/network", network),
            Route("/weights", all_weights),
            Route("/inside", look, methods=["POST"]),
        ],
        middleware=[
            Middleware(_Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
        exception_handlers={HTTPException: refuse},
    )
    # Another path is another page, and there is none.
    app.router.redirect_slashes = False
    return app


class _Headers:
    """Limits a request's headers, and adds those that keep the page to itself to every answer."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *ours]
            await send(message)

        # What arrives at once, the parser takes in full, however long.
        head = sum(len(name) + len(value) for name, value in scope.get("headers", []))
        if head > _MAX_HEAD:
            told = PlainTextResponse(f"the head has {head} bytes: {_MAX_HEAD} are allowed.\n", 431)
            await told(scope, receive, with_headers)
        else:
            await self.app(scope, receive, with_headers)


def _options(request: Request) -> tuple[int, float]:
    given = request.query_params.multi_items()
    names = [name for name, _ in given]
    for name in names:
        if name not in ("label", "rate"):
            raise HTTPException(400, f"{name[:40]!r} is no option: there are label and rate.")
        if names.count(name) > 1:
            raise HTTPException(400, f"{name} is given more than once.")
    options = dict(given)
    label, rate = options.get("label"), options.get("rate", "0")
    if label is not None and label not in tuple("0123456789"):
        raise HTTPException(400, f"label is {label[:40]!r}: it must be a digit from 0 to 9.")
    number = math.nan
    # No number needs more; float() of a very long text takes its time.
    if len(rate) <= 40:
        with contextlib.suppress(ValueError):
            number = float(rate)
    if not 0 <= number <= MAX_RATE:
        raise HTTPException(
            400, f"rate is {rate[:40]!r}: it must be a number from 0 to {MAX_RATE:g}."
        )
    return PREDICTED if label is None else int(label), number


async def _drawing(request: Request) -> np.ndarray:
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != _BINARY:
        raise HTTPException(415, f"the content type is {kind[:40]!r}: it must be {_BINARY}.")
    size = CANVAS * CANVAS
    must = f"a drawing is {CANVAS} x {CANVAS} = {size} bytes"
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for piece in request.stream():
                body += piece
                if len(body) > size:
                    raise HTTPException(413, f"the body is too large: {must}.")
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {_PATIENCE:g} s.") from None
    except ClientDisconnect:
        raise HTTPException(400, "the connection was closed within the body.") from None
    if len(body) != size:
        raise HTTPException(400, f"the body has {len(body)} bytes: {must}.")
    return np.frombuffer(bytes(body), np.uint8).reshape(CANVAS, CANVAS)


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens on the port, or, where None is given, on `PORT` or any free one.

    Raises:
        CommandError: the port is taken or not allowed, or the host is none of this machine's.
    """
    reason: str | None = None
    for candidate in (PORT, 0) if port is None else (port,):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, candidate, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, kind, protocol)
        except OSError as error:
            raise CommandError(f"--host {host}: {error.strerror}.") from None
        try:
            if sys.platform != "win32":  # There it would let two listen on one port.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_MAX_CONNECTIONS)
            return listening
        except OSError as error:
            listening.close()
            reason = error.strerror
    if port is None:
        raise CommandError(f"--host {host}: {reason}.")
    raise CommandError(f"--port {port} on {host}: {reason}. Leave --port out for a free one.")


def address(listening: socket.socket) -> str:
    """Where a browser finds the page."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(inside: Inside, listening: socket.socket) -> None:
    """Answer requests until the process is interrupted.

    Raises:
        KeyboardInterrupt: by Ctrl-C, after the connections are closed.
    """
    loopback = ipaddress.ip_address(listening.getsockname()[0]).is_loopback
    hosts = ["127.0.0.1", "localhost", "[::1]", "::1"] if loopback else ["*"]
    config = uvicorn.Config(
        application(inside, hosts=hosts),
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_MAX_HEAD,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listening])
