"""The ``stt`` command, composed in ``app``.

The commands are defined in ``run``, ``status``, ``operate``, ``serve``, ``benchmark`` and ``size``, one module per group. They
share ``console``, ``exit_codes`` and ``interrupts``. Work that is long or imports much stands in modules of its own:
``batch_runner``, ``doctor``, ``prepare``, ``dagster_ui`` and ``measurement``.

Here belongs what speaks with a person at a terminal. Here does not belong what Dagster loads.
"""
