"""Audio in, truth out: everything that listens to sound or shapes what was heard.

Here belong decoding, voice activity, the model and its weights, transcription, the transcript's schema, subtitles, pauses and
the listening page. Here do not belong Dagster, stores, ledgers, queues or Kubernetes: a function of this package takes paths,
arrays and plain options and gives plain results.
"""

import os

# Before numpy is loaded anywhere: with several threads its small products spin on other cores (5 % of a transcription), and their
# rounding, and with it now and then a word, depends on how many there are.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
