"""An HTTP server that plays the API server with responses chosen by a test, and a kubeconfig for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "@SERVER@"}}]
contexts: [{name: test, context: {cluster: test@NAMESPACE@}}]
current-context: test
"""

Response = dict[str, Any] | list[dict[str, Any]]
"""An object, whose ``code``, if there is one, is the HTTP status; or the events of a watch, one per line."""


def make_status(code: int, message: str = "", reason: str = "") -> dict[str, Any]:
    """The ``Status`` object with which the API server refuses a request."""
    return {"kind": "Status", "code": code, "message": message, "reason": reason}


@dataclass(frozen=True)
class Request:
    """A request that the server received."""

    method: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class ApiServer:
    """A running server: its address, and the requests that it received."""

    url: str
    requests: list[Request] = field(default_factory=list)


@contextmanager
def api_server(respond: Callable[[Request], Response]) -> Iterator[ApiServer]:
    """Start a server that responds with what the function returns for a request."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            request_body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.append(Request(self.command, self.path, json.loads(request_body) if request_body else {}))
            response = respond(requests[-1])
            if isinstance(response, list):
                self.stream(response)
                return
            body = json.dumps(response).encode()
            self.send_response(int(response.get("code", 200)))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - names of BaseHTTPRequestHandler

        def stream(self, events: list[dict[str, Any]]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in events:
                line = json.dumps(event).encode() + b"\n"
                for part in (line[:7], line[7:]):  # a client must join the parts of a line
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield ApiServer(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        server.shutdown()
        server.server_close()


def write_kubeconfig(folder: Path, url: str, namespace: str | None = None) -> Path:
    """Write a kubeconfig for the server. Returns its path."""
    entry = f", namespace: {namespace}" if namespace else ""
    path = folder / "kubeconfig"
    path.write_text(KUBECONFIG.replace("@SERVER@", url).replace("@NAMESPACE@", entry), encoding="utf-8")
    return path
