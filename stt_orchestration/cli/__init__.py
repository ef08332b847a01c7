"""The ``stt`` command: one module per group of commands, and what they share: console, exit codes, interrupts.

Here belongs what speaks with a person at a terminal. Here does not belong what Dagster loads.
"""
