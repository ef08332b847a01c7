"""Measurements: what a platform, the orchestration or a peer really costs, printed with the machine's facts in the header.

Here belongs code whose result is a figure, and the files that carry figures between machines. Measurements that need Dagster or a
store start them as subprocesses, so that what is measured is what a user runs. Here do not belong pass or fail decisions by the
clock: a test never asserts a speed.
"""
