"""One module per step, thin: ``raw``, ``normalized``, ``transcript``, ``enriched``, and what they share with Dagster.

An asset names its inputs, calls one function of ``recordings.steps`` and turns the report it returns into metadata. Logic that a
test could want without Dagster belongs one layer down. The asset modules alone do without postponed annotations: Dagster reads the
type of ``context`` when the asset is made.
"""
