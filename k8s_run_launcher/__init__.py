"""Everything that knows Kubernetes: run launcher, step executor, step profiles, why a pod failed, janitor, preflight.

Here belongs code that extends dagster-k8s, and ``cluster``, the one way to the API, which knows nothing of Dagster. Here does not
belong anything about recordings or audio: a step is a name and a resource profile to this package, and ``dagster.yaml`` states the
profiles. ``pod_failure``, ``pending``, ``retry`` and the planning half of ``janitor`` are pure: they take Kubernetes objects as the
plain dictionaries of the API.

Only the pod of a run talks to Kubernetes. A step's pod loads the definitions, and with them ``executor``, so that module imports
neither dagster-k8s nor the Kubernetes client: they cost as much time again as Dagster itself.
"""
