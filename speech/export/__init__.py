"""A transcript as files for people: plain text, subtitles and the listening page.

Here belong pure functions from a transcript to text. Here does not belong where files are stored (``recordings.layout``) or what is
computed about the transcript (``speech.enrichment``, ``speech.evaluation``).
"""
