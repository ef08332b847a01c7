"""A real load on the real engine, held against the queueing model and its simulation.

``python -m benchmarks.lab.queueing_check`` measures and writes the comparison.
"""
