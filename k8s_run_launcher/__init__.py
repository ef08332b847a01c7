"""Everything that knows Kubernetes: run launcher, step executor, step profiles, why a pod died, janitor, preflight.

Here belongs code that extends dagster-k8s. Here does not belong anything about recordings or audio: a step is a name and a
resource profile to this package.
"""
