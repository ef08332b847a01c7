"""The listening page: one HTML file with the transcript, its audio and its pauses.

Here belong the page's template and what fills it. Here does not belong serving it: that is ``stt_orchestration.pages``.
"""
