"""An API server that answers what a test wants, over real HTTP, and the kubeconfig that leads to it."""

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

Answer = dict[str, Any] | list[dict[str, Any]]
"""An object, whose ``code`` is the status of the answer if it has one; or objects of a watch, one a line."""


def refusal(code: int, message: str = "", reason: str = "") -> dict[str, Any]:
    """What the API server says when it does not do what it is asked."""
    return {"kind": "Status", "code": code, "message": message, "reason": reason}


@dataclass(frozen=True)
class Request:
    """What the server was asked."""

    method: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class ApiServer:
    """Where it is, and what it was asked."""

    url: str
    requests: list[Request] = field(default_factory=list)


@contextmanager
def api_server(answer: Callable[[Request], Answer]) -> Iterator[ApiServer]:
    """Answers with whatever the function returns."""
    requests: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            requests.append(Request(self.command, self.path, json.loads(sent) if sent else {}))
            found = answer(requests[-1])
            if isinstance(found, list):
                self.stream(found)
                return
            body = json.dumps(found).encode()
            self.send_response(int(found.get("code", 200)))
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
                for part in (line[:7], line[7:]):  # a line need not come in one piece
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
    """A kubeconfig for the server."""
    stated = f", namespace: {namespace}" if namespace else ""
    path = folder / "kubeconfig"
    path.write_text(KUBECONFIG.replace("@SERVER@", url).replace("@NAMESPACE@", stated), encoding="utf-8")
    return path
