"""What a platform gives and what to order: ``benchmark``, ``ratio``, ``sizing``, and whether production is as predicted.

Here belongs the Dagster side; the figures are made in ``benchmarks``.
"""
