"""One module per step, thin: ``raw``, ``normalized``, ``transcript``, ``enriched``, and what they share with Dagster.

An asset names its inputs, calls one function of ``recordings.steps`` and turns the report it returns into metadata. Logic that can
be tested without Dagster belongs to ``recordings`` or ``benchmarks``. Modules with assets do not postpone annotations
(``from __future__ import annotations``), because Dagster reads the type of ``context`` when it creates the asset.
"""
