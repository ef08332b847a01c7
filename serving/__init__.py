"""Model services: the speech service, its queues, autoscaling, rollouts, cost and monitoring.

Here belongs what answers requests or works a queue off, and the objects that deploy it. Here does not belong Dagster (what reads
runs or ticks lives in the shell and hands plain values down), and no other code speaks to Kubernetes than
``k8s_run_launcher.cluster``.
"""
