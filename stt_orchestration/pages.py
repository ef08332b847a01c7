"""The server of the pages: what people read, and the sound that pages link to, read-only, from any store.

It shows outputs and nothing else: the files that the ``enriched`` step writes, by their suffixes, and the normalized audio that
pages of long recordings play. Players seek by asking for ranges of bytes, so ranges are answered.
"""

from __future__ import annotations

import posixpath
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING

from recordings.layout import ARTIFACTS, EXPORTS, NORMALIZED_AUDIO, Folder
from recordings.storage.base import InvalidRangeError, Store
from recordings.storage.errors import explain

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LOOPBACK = ("127.0.0.1", "localhost")

_MEDIA_TYPES = {artifact.suffix: artifact.media_type for artifact in ARTIFACTS}
_EXPORT_SUFFIXES = frozenset(export.suffix for export in EXPORTS)

_HEADERS = {
    "cache-control": "no-cache",  # an output may be made anew at any time
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

_NOT_HERE = (
    "There is no such output. The page of a recording a/x.mp3 is /a/x.mp3.html; the Dagster UI links to all pages, under Assets, "
    "enriched, a batch, pages.\n"
)

# One range; a server may pass over what asks for several. Twelve digits are a terabyte.
_SINGLE_RANGE = re.compile(r"bytes=(\d{1,12}-\d{0,12}|-\d{1,12})")

_STOP_S = 3  # for answers under way when the server is told to end; a player asks again

Responder = Callable[["Request", str], "Response"]


def find_output_key(url_path: str, prefix: str = "") -> str | None:
    """The key of what an address shows; None when it shows nothing.

    A page lies at its name below the prefix. The sound it plays lies where the page's relative link leads a browser: beside the
    prefix's last folder, or below the top where there is no prefix.

    Args:
        url_path: Path of the address, decoded.
        prefix: What the paths of pages begin with, such as ``/pages``; usually nothing.
    """
    parts = url_path.split("/")[1:]
    # Outputs never have hidden names, so ``..`` and temporary files are rejected here.
    if any(not part or part.startswith(".") or "\0" in part for part in parts):
        return None
    suffix = posixpath.splitext(url_path)[1]
    sounds, pages = f"{prefix.rpartition('/')[0]}/{Folder.NORMALIZED}/", f"{prefix}/"
    if suffix == NORMALIZED_AUDIO.suffix and url_path.startswith(sounds):
        return f"{Folder.NORMALIZED}/{url_path.removeprefix(sounds)}"
    if suffix in _EXPORT_SUFFIXES and url_path.startswith(pages):
        return f"{Folder.ENRICHED}/{url_path.removeprefix(pages)}"
    return None


def build_app(store: Store, prefix: str = "", hosts: tuple[str, ...] = ("*",)) -> Starlette:
    """The server as an ASGI application.

    Args:
        store: Where the outputs are.
        prefix: See ``find_output_key``.
        hosts: Names it may be asked by. On the loopback interface only local names are allowed, against DNS rebinding: a web site's
            host name could point to 127.0.0.1 and its scripts would read private pages.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    answer = _make_responder(store)

    def shown(request: Request) -> Response:
        key = find_output_key(request.scope["path"], prefix)
        try:
            if key is not None:
                return answer(request, key)
        except FileNotFoundError:
            pass
        except OSError as error:
            return PlainTextResponse(f"{explain(error)}\n", 503, _HEADERS)
        return PlainTextResponse(_NOT_HERE, 404, _HEADERS)

    only_asked = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return Starlette(routes=[Route("/{way:path}", shown)], middleware=[only_asked])


def _make_responder(store: Store) -> Responder:
    from starlette.datastructures import Headers
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.staticfiles import NotModifiedResponse

    def answer(request: Request, key: str) -> Response:
        found = store.stat(key)
        if found is None:
            raise FileNotFoundError(key)
        version = {"etag": f'"{found.etag}"', "last-modified": formatdate(found.modified, usegmt=True)}
        headers = {**_headers(key), "accept-ranges": "bytes", **version}
        if _has_current_version(request, version["etag"]):
            return NotModifiedResponse(Headers(headers))
        if request.method == "HEAD":
            return Response(headers={**headers, "content-length": str(found.size)})
        asked = request.headers.get("range", "")
        current = request.headers.get("if-range", version["etag"]) in version.values()
        try:
            reading = store.open_range(key, asked if current and _SINGLE_RANGE.fullmatch(asked) else None)
        except InvalidRangeError as error:
            return PlainTextResponse("", 416, {**_HEADERS, "content-range": f"bytes */{error.size}"})
        headers |= {"etag": f'"{reading.etag}"', "content-length": str(reading.length)}
        if reading.is_partial:
            headers["content-range"] = f"bytes {reading.start}-{reading.start + reading.length - 1}/{reading.size}"
        return StreamingResponse(reading.blocks, 206 if reading.is_partial else 200, headers)

    return answer


def _headers(key: str) -> dict[str, str]:
    return {**_HEADERS, "content-type": _MEDIA_TYPES[posixpath.splitext(key)[1]]}


def _has_current_version(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` already has this ETag."""
    return etag in [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]


def serve(application: Starlette, listening: socket.socket) -> None:
    """Serve on a socket until the process is told to end."""
    import uvicorn

    # Log errors only: Dagster's lines are what an operator reads beside these.
    quiet = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=_STOP_S,
    )
    with suppress(KeyboardInterrupt):  # it has ended in good order by then
        uvicorn.Server(quiet).run([listening])


def serve_beside(application: Starlette, listening: socket.socket) -> None:
    """Serve on a socket in a thread, as long as the process lives."""
    threading.Thread(target=serve, args=(application, listening), name="pages", daemon=True).start()
