"""Everything that knows Kubernetes: run launcher, step executor, step profiles, diagnosis of failed pods, janitor, preflight.

Here belongs code that extends dagster-k8s. Nothing about recordings or audio belongs here: this package knows a step only as a name
and a resource profile. ``death``, ``waiting``, ``adapt`` and the planning half of ``janitor`` are pure: they take Kubernetes
objects as the plain dictionaries of the API.

Only the pod of a run talks to Kubernetes. A step's pod loads the definitions, and with them ``executor``, so that module imports
neither dagster-k8s nor the Kubernetes client: importing them takes as long as importing Dagster.
"""
