"""Latency under load: a queueing model, and a simulation that checks it. Both are pure.

Here does not belong a load on the real engine: that is ``benchmarks.lab.queueing_check``.
"""
