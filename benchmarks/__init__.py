"""Measurements of a platform, of the orchestration and of peers; every output starts with the facts of the machine.

Here belongs code whose result is a figure, and the files that carry figures between machines. Measurements that need Dagster or a
store start them as subprocesses, so that what is measured is what a user runs. Here do not belong pass or fail decisions by the
clock: a test never asserts a speed.
"""
