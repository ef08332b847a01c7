"""Gives a generated recording to the product: normalizing and the engine, as the steps call them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from speech.asr.engine import Engine, RecordingIdentity
from speech.audio.errors import BadAudioError
from speech.audio.normalize import normalize
from tests.hostile.generated.oracle import Outcome
from tests.hostile.generated.recordings import Recording


def hear(engine: Engine, recording: Recording, folder: Path) -> Outcome:
    """Transcribe a recording with the options that the product has by itself.

    Args:
        engine: Loads its model once for all recordings.
        recording: What to transcribe.
        folder: Where its files are written, and removed afterwards.
    """
    source, target = folder / recording.name, folder / "normalized.wav"
    source.write_bytes(recording.content)
    try:
        normalized = normalize(source, target)
    except BadAudioError as refusal:
        return Outcome(None, str(refusal))
    except OSError as error:  # it would fail the step, and with it all recordings of the batch
        return Outcome(None, str(error), is_refused=False)
    finally:
        source.unlink()
    identity = RecordingIdentity(recording.name, hashlib.sha256(recording.content).hexdigest(), normalized.flags)
    try:
        return Outcome(engine.transcribe(target, identity))
    finally:
        target.unlink()
