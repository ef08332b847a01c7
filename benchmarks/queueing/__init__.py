"""Latency under load: a queueing model, a simulation that checks it, and a load test of the real engine that checks both.

``python -m benchmarks.queueing`` measures and writes the comparison; sizing uses the model alone.
"""
