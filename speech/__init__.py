"""Audio in, truth out: everything that listens to sound or shapes what was heard.

Here belong decoding, voice activity, the model and its weights, transcription, the transcript's schema, subtitles, pauses and
the listening page. Here do not belong Dagster, stores, ledgers, queues or Kubernetes: a function of this package takes paths,
arrays and plain options and gives plain results.
"""
