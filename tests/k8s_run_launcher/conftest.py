"""Fixtures for tests that send requests to an API server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from k8s_run_launcher.cluster import connect_to_cluster
from tests.k8s_run_launcher.api_server import ApiServer, Request, Response, api_server, write_kubeconfig


@pytest.fixture
def use_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """A function that makes this process use a kubeconfig, until the test ends."""
    from kubernetes import client
    from kubernetes.config import kube_config

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(client.Configuration, "_default", None)
    return lambda path: monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))


@pytest.fixture
def connect(
    use_kubeconfig: Callable[[Path], None], tmp_path: Path
) -> Iterator[Callable[[Callable[[Request], Response]], ApiServer]]:
    """A function that starts an API server with these responses and connects this process to it."""
    with ExitStack() as servers:

        def start(respond: Callable[[Request], Response]) -> ApiServer:
            server = servers.enter_context(api_server(respond))
            use_kubeconfig(write_kubeconfig(tmp_path, server.url))
            connect_to_cluster()
            return server

        yield start
