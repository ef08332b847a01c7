"""One module per step: ``raw``, ``normalized``, ``transcript``, ``enriched``.

An asset calls one function of ``recordings.steps`` and turns the report it returns into metadata. Nothing else belongs here.
"""
