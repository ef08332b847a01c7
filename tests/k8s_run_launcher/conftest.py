"""What tests of requests to an API server share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from k8s_run_launcher.cluster import connect_to_cluster
from tests.k8s_run_launcher.api_server import Answer, ApiServer, Request, api_server, write_kubeconfig


@pytest.fixture
def use_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """The process finds this kubeconfig; what it connects to is forgotten after the test."""
    from kubernetes import client
    from kubernetes.config import kube_config

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(client.Configuration, "_default", None)
    return lambda path: monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))


@pytest.fixture
def connect(
    use_kubeconfig: Callable[[Path], None], tmp_path: Path
) -> Iterator[Callable[[Callable[[Request], Answer]], ApiServer]]:
    """Starts an API server that answers so, and connects the process to it."""
    with ExitStack() as servers:

        def start(answer: Callable[[Request], Answer]) -> ApiServer:
            server = servers.enter_context(api_server(answer))
            use_kubeconfig(write_kubeconfig(tmp_path, server.url))
            connect_to_cluster()
            return server

        yield start
