"""Speech recognition: from samples to segments and words. ``engine`` is the way in.

Here belongs voice activity, chunks, the model, decoding strategy, language, hallucinations and how chunks become a transcript. Here
does not belong the transcript's schema (``speech.transcript``) or how it is shown (``speech.export``).
"""
