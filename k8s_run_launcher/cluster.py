"""The connection to the cluster: the one this process is in, or that of the kubeconfig."""

from __future__ import annotations


def connect_to_cluster() -> str:
    """Connect to the cluster that this process is in, or to that of the kubeconfig; returns the namespace to work in.

    Raises:
        NoClusterError: There is neither.
    """
    from dagster_k8s.utils import detect_current_namespace
    from kubernetes import config
    from kubernetes.config.config_exception import ConfigException

    try:
        config.load_incluster_config()
    except ConfigException:
        try:
            config.load_kube_config()
        except (ConfigException, OSError) as error:
            raise NoClusterError(
                f"No cluster to look at: this is no pod, and there is no usable kubeconfig ({error})."
            ) from error
        _, active = config.list_kube_config_contexts()
        return str(active["context"].get("namespace", "default"))
    return detect_current_namespace(None) or "default"


class NoClusterError(Exception):
    """There is no cluster to connect to."""
