"""From a file of any kind to 16 kHz mono samples: containers, declared length, the decoded stream, channels, normalizing, WAV.

Here belongs what judges the sound of a recording, and what is wrong with a file. Here does not belong what is said in it: that is
``speech.asr``.
"""
