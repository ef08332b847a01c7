"""From a measured service time and a target load to what to order: pods, cores, memory, GPUs, money, manifests and a report.

Everything is a pure function of a benchmark's result, a ratio where the target was never measured, and a price file; every result
carries the measurements and assumptions it is based on.
"""
