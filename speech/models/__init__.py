"""Weights: which models are known, at which revision, where their files are found, and how they are checked.

Begin at ``speech.models.registry.resolve``.

Here belongs pinning and fetching, of every model. Here does not belong running one: that is ``speech.asr``.
"""
