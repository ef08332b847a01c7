"""A library: audio in, transcript and annotations out.

It holds audio reading, voice-activity detection, the model and its weights, transcription, the transcript's schema, subtitles,
pauses and the HTML page. It knows nothing of Dagster, stores, ledgers, queues or Kubernetes: its functions take paths, arrays and
plain options and return plain results.
"""

import os

# Must be set before numpy is imported. With several threads, numpy's small matrix products keep other cores busy (5 % of a
# transcription). Their rounding also depends on the number of threads, and so, rarely, does a word of the transcript.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
