"""What a cluster adds to a step and to a run: ours against a trivial project with dagster-k8s's own launcher and executor.

Both live on the cluster that kubectl speaks to, ours as it is deployed, theirs in a namespace made for it, and run in turn.
``steps`` is pure and turns event logs into seconds; ``kubectl`` talks to the cluster, ``ours`` and ``theirs`` start one run each,
``imports`` times imports in a pod. ``stock/`` is the other project as a user would write it; it is sent to the cluster, never
imported here.
"""
