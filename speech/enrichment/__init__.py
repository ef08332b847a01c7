"""What is added to a finished transcript: pauses and speech rates.

Here belong annotators; each is a function of the transcript and, at most, the audio. Here does not belong recognition
(``speech.asr``) or a file format (``speech.export``).
"""
