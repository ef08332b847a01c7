"""``stt pages`` on a directory and on a bucket, with HTTP requests over a socket."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from recordings.storage.open import open_store
from tests.faulty import Fault, Network, faulty_network
from tests.servers import BUCKET, S3Server

SOUND = bytes(range(256)) * 12_000  # 3 MB: several blocks, and not a multiple of one
NAME = "call #1? 100%, a=b & ü.mp3"
OUTPUTS = {
    f"transcripts/a/{NAME}.html": b"<!doctype html>page",
    f"transcripts/a/{NAME}.vtt": b"WEBVTT\n",
    f"input_audio/a/{NAME}.wav": SOUND,
    # A folder of deliveries may have the name of the folder of sounds.
    "transcripts/input_audio/x.wav.html": b"its page",
    "input_audio/input_audio/x.wav.wav": b"its sound",
}
PRIVATE = {
    "raw_audio/secret.wav": b"secret",
    "whisper_json/secret.json": b"secret",
    "transcripts/.tmp/secret.html": b"secret",
    "input_audio/.tmp/secret.wav": b"secret",
}
SOUND_AT = "/input_audio/a/" + quote(f"{NAME}.wav")


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A running ``stt pages``."""

    port: int

    def request(self, path: str, method: str = "GET", **headers: str) -> Response:
        """Send a request with exactly this path, not normalized."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            response_headers = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, response_headers, response.read())
        finally:
            connection.close()


@contextmanager
def serve(**environment: str) -> Iterator[Server]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("STT_", "AWS_"))}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "stt_orchestration.cli", "pages", "--port", str(port)]
    with subprocess.Popen(command, env=inherited | environment) as process:
        limit = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < limit
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        try:
            yield Server(port)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) in (0, -signal.SIGTERM, 143)


def fill(url: str) -> None:
    store = open_store(url)
    for key, content in (OUTPUTS | PRIVATE).items():
        with store.create(key) as path:
            path.write_bytes(content)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    data = tmp_path_factory.mktemp("served") / "data"
    fill(data.as_uri())
    (data / "ledger.db").write_bytes(b"secret")
    (data / "transcripts/link.html").symlink_to(data / "ledger.db")
    (data / "transcripts/away").symlink_to(data / "whisper_json")
    (data / "transcripts/circle.html").symlink_to(data / "transcripts/circle.html")
    with serve(STT_DATA_DIR=str(data)) as server:
        yield server, data


@pytest.fixture(scope="module")
def network(s3: S3Server) -> Iterator[Network]:
    with faulty_network(s3.url, silence_s=2.0) as network:
        yield network


@pytest.fixture(scope="module")
def bucket(s3: S3Server, network: Network) -> Iterator[tuple[Server, str]]:
    url = f"s3://{BUCKET}/{secrets.token_hex(4)}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        fill(url)
    with serve(STT_STORE_URL=url, **{**s3.environment, "AWS_ENDPOINT_URL": network.url}) as server:
        yield server, url


@pytest.fixture(params=["directory", "bucket"])
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)[0]
    return server


def test_a_page_and_its_sound_are_served(server: Server) -> None:
    page = server.request("/a/" + quote(f"{NAME}.html"))
    assert (page.status, page.body) == (200, OUTPUTS[f"transcripts/a/{NAME}.html"])
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert server.request("/a/" + quote(f"{NAME}.vtt")).headers["content-type"] == "text/vtt; charset=utf-8"
    sound = server.request(SOUND_AT)
    assert (sound.status, sound.headers["content-type"]) == (200, "audio/wav")
    assert sound.headers["accept-ranges"] == "bytes"
    assert sound.body == SOUND
    assert server.request("/input_audio/x.wav.html").body == b"its page"
    assert server.request("/input_audio/input_audio/x.wav.wav").body == b"its sound"


@pytest.mark.parametrize(
    ("range_header", "first", "last"),
    [
        ("bytes=0-", 0, len(SOUND) - 1),
        ("bytes=2500001-", 2_500_001, len(SOUND) - 1),
        ("bytes=1000000-2100000", 1_000_000, 2_100_000),
        ("bytes=7-7", 7, 7),
        ("bytes=-500", len(SOUND) - 500, len(SOUND) - 1),
    ],
)
def test_a_range_request_gets_its_bytes(server: Server, range_header: str, first: int, last: int) -> None:
    part = server.request(SOUND_AT, Range=range_header)
    assert part.status == 206
    assert part.headers["content-range"] == f"bytes {first}-{last}/{len(SOUND)}"
    assert part.headers["content-length"] == str(last - first + 1)
    assert part.body == SOUND[first : last + 1]


def test_a_range_behind_the_end_is_refused_and_one_of_another_version_gets_the_whole_file(server: Server) -> None:
    beyond = server.request(SOUND_AT, Range=f"bytes={len(SOUND)}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(SOUND)}")
    etag = server.request(SOUND_AT, "HEAD").headers["etag"]
    assert server.request(SOUND_AT, Range="bytes=5-9", If_Range=etag).status == 206
    whole_file = server.request(SOUND_AT, Range="bytes=5-9", If_Range='"another"')
    assert (whole_file.status, len(whole_file.body)) == (200, len(SOUND))


def test_an_unchanged_file_is_not_sent_again_and_head_has_no_body(server: Server) -> None:
    head = server.request(SOUND_AT, "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(SOUND)))
    again = server.request(SOUND_AT, If_None_Match=head.headers["etag"])
    assert (again.status, again.body) == (304, b"")


HOSTILE = [
    "/../ledger.db",
    "/%2e%2e/whisper_json/secret.json",
    "/..%2fwhisper_json%2fsecret.json",
    "/input_audio/../raw_audio/secret.wav",
    "/input_audio/%2e%2e%2fraw_audio%2fsecret.wav",
    "/input_audio//../raw_audio/secret.wav",
    "//raw_audio/secret.wav",
    "/raw_audio/secret.wav",
    "/whisper_json/secret.json",
    "/secret.json",
    "/.tmp/secret.html",
    "/input_audio/.tmp/secret.wav",
    "/ledger.db",
    "/link.html",
    "/away/secret.json",
    "/circle.html",
    "/a/x%00.html",
    "/a/%ff%fe.html",
    "/" + "x" * 300 + ".html",
    "/" + "d/" * 3000 + "x.html",
    "/",
    "/a",
    "/a/",
    "*",
]


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_but_outputs_is_served(server: Server, path: str) -> None:
    response = server.request(path)
    assert response.status in (400, 404), response
    assert b"secret" not in response.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(server: Server, method: str) -> None:
    assert server.request("/a/" + quote(f"{NAME}.html"), method).status == 405
    assert server.request("/a/" + quote(f"{NAME}.html")).status == 200


def test_a_foreign_host_header_is_refused(server: Server) -> None:
    assert server.request("/a/" + quote(f"{NAME}.html"), Host="evil.example").status == 400
    assert server.request("/a/" + quote(f"{NAME}.html"), Host=f"localhost:{server.port}").status == 200


def test_clients_that_disconnect_midway_do_not_harm_the_server(server: Server) -> None:
    for _ in range(40):  # more than there are threads and connections
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(f"GET {SOUND_AT} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            client.recv(1000)
    assert server.request(SOUND_AT).body == SOUND


def test_a_broken_connection_to_the_bucket_is_replaced(bucket: tuple[Server, str], network: Network) -> None:
    network.inject(Fault.TRUNCATED, "GET", "input_audio", times=10)
    part = bucket[0].request(SOUND_AT, Range="bytes=1000-")
    assert part.body == SOUND[1000:]
    assert network.faults == []


def test_a_rewritten_output_is_served_at_once(directory: tuple[Server, Path]) -> None:
    server, data = directory
    page = data / "transcripts/new.html"
    page.write_bytes(b"old")
    etag = server.request("/new.html").headers["etag"]
    page.with_suffix(".tmp").write_bytes(b"newer")
    page.with_suffix(".tmp").replace(page)
    assert server.request("/new.html", If_None_Match=etag).body == b"newer"


def test_the_top_folder_may_be_a_link_to_another_volume(tmp_path: Path) -> None:
    data, volume = tmp_path / "data", tmp_path / "volume"
    fill(data.as_uri())
    shutil.move(data / "transcripts", volume)
    (data / "transcripts").symlink_to(volume)
    with serve(STT_DATA_DIR=str(data), STT_PAGES_URL="http://127.0.0.1:3001/kept/pages/") as server:
        assert server.request("/kept/pages/a/" + quote(f"{NAME}.html")).status == 200
        assert server.request("/kept" + SOUND_AT).status == 200, "the target of a relative link on the page"
        assert server.request("/a/" + quote(f"{NAME}.html")).status == 404


@pytest.mark.parametrize(
    ("arguments", "pages_port", "who", "remedy"),
    [
        (["pages", "--port", "TAKEN"], "0", "The pages", "stt pages --port PORT"),
        (["ui", "--port", "TAKEN"], "FREE", "The Dagster UI", "stt ui --port PORT"),
        (["ui", "--port", "FREE"], "TAKEN", "The pages", "STT_PAGES_URL"),
    ],
)
def test_a_port_in_use_gives_a_sentence(
    tmp_path: Path, arguments: list[str], pages_port: str, who: str, remedy: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with socket.create_server(("127.0.0.1", 0)) as passing:
            ports = {"TAKEN": str(taken.getsockname()[1]), "FREE": str(passing.getsockname()[1])}
        variables = {"STT_DATA_DIR": str(tmp_path), "DAGSTER_HOME": str(tmp_path)}
        if pages_port in ports:
            variables["STT_PAGES_URL"] = f"http://127.0.0.1:{ports[pages_port]}"
        process = subprocess.run(
            [sys.executable, "-m", "stt_orchestration.cli", *(ports.get(each, each) for each in arguments)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert process.returncode == 1
    assert f"{who} cannot be served at 127.0.0.1:{ports['TAKEN']} (Address already in use" in process.stderr
    assert remedy in process.stderr
    if sys.platform == "linux":
        assert f"process {os.getpid()})" in process.stderr
    assert "Traceback" not in process.stderr
