"""A faulty network: an HTTP proxy that makes chosen requests fail the way networks and servers do."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>on purpose</Message></Error>"
_HOP_BY_HOP_HEADERS = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class Fault(StrEnum):
    """What happens to a request."""

    ERROR = "500"
    BUSY = "503"
    RESET = "connection reset before the request is forwarded"
    SILENT = "no response for longer than the client waits"
    TRUNCATED = "the connection ends after half of the response body"
    SPOILED = "a byte of the response body is changed"
    SPOILED_REQUEST = "a byte of the request body is changed"
    DONE_BUT_ERROR = "forwarded, done, and answered with 500"
    DONE_BUT_RESET = "forwarded, done, and the connection is reset"


@dataclass
class Network:
    """The planned faults and the requests that passed.

    Attributes:
        url: Address of the proxy.
        faults: Method, part of path and query, fault. Each fault hits the first matching request, once.
        requests: Method and path of every request.
    """

    url: str = ""
    faults: list[tuple[str, str, Fault]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def inject(self, fault: Fault, method: str, part: str = "", times: int = 1) -> None:
        """Plan a fault for the next ``times`` requests with this method whose path contains ``part``."""
        self.faults += [(method, part, fault)] * times

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault[0] == method and fault[1] in path:
                    self.faults.remove(fault)
                    return fault[2]
        return None


@contextmanager
def faulty_network(upstream: str, silence_s: float) -> Iterator[Network]:
    """Start a proxy in front of a server. ``Fault.SILENT`` lasts ``silence_s`` seconds."""
    network = Network()
    server = _Server(network, urlsplit(upstream).netloc, silence_s)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    network.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield network
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.network.take_fault(self.command, self.path)
        match fault:
            case Fault.ERROR:
                self._error(500)
            case Fault.BUSY:
                self._error(503)
            case Fault.RESET:
                self._reset()
            case Fault.SILENT:
                time.sleep(self.server.silence_s)
                self._reset()
            case Fault.SPOILED_REQUEST:
                self._forward(_flip_bit(body), fault)
            case _:
                self._forward(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "expect":
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if fault is Fault.DONE_BUT_ERROR:
            self._error(500)
        elif fault is Fault.DONE_BUT_RESET:
            self._reset()
        else:
            self._respond(response, content, fault)

    def _respond(self, response: http.client.HTTPResponse, content: bytes, fault: Fault | None) -> None:
        self.send_response_only(response.status)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if fault is Fault.TRUNCATED:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            self.wfile.write(_flip_bit(content) if fault is Fault.SPOILED else content)

    def _error(self, status: int) -> None:
        content = _ERROR % (b"SlowDown" if status == 503 else b"InternalError")
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, network: Network, upstream: str, silence_s: float) -> None:
        self.network, self.upstream, self.silence_s = network, upstream, silence_s
        super().__init__(("127.0.0.1", 0), _Handler)

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # no orderly shutdown, or a reset would not be one


def _flip_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
