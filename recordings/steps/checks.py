"""The checks of a batch: what must hold after each step. Whether it does is looked at in ``recordings/steps/verify.py``.

A check with ``stops=True`` blocks the next steps because their results would be wrong. The other checks only warn about recordings
that a person should listen to.
"""

from __future__ import annotations

from recordings.layout import Folder
from speech.checks import Check
from speech.evaluation import quality
from speech.machine.cgroups import THROTTLED_SHARE

LEDGER_RECONCILED = Check(
    "ledger_reconciled",
    "Every delivery of the batch stands in the ledger, in one state, and none was left behind by this step.",
    "Run the batch again; if that does not help, the ledger was changed by hand or is damaged: deliver what is missing again.",
    stops=True,
)
AUDIO_DURATION_KEPT = Check(
    "duration_kept",
    "Every normalized file is as long as what was decoded from the recording, within 20 ms.",
    f"Remove the named files under {Folder.NORMALIZED}/ and run the batch again: they are made anew.",
    stops=True,
)
AUDIO_COMPLETE = Check(
    "audio_complete",
    "Nothing of any recording was missing, cut off, left out, too quiet or clipped when it was read.",
    "Compare the recording with its source, and deliver it again if that has more or is of ordinary level.",
)
_ANEW = f"Remove the named files under {Folder.TRANSCRIPTS}/ and run the batch again: they are made anew."
SCHEMA_VALID = Check(
    "schema_valid",
    "Every transcript is there, can be read by this version and is that of the recording whose name it bears.",
    _ANEW,
    stops=True,
)
TRANSCRIPT_DURATION_KEPT = Check(
    "duration_kept", "Every transcript speaks of as many seconds as were normalized, within 20 ms.", _ANEW, stops=True
)
TIMES_IN_ORDER = Check(
    "times_in_order",
    "Segments and words follow each other in time and lie inside their recording.",
    f"{_ANEW} If they come out the same, report it with one of them.",
    stops=True,
)
SPEECH_COVERED = Check(
    "speech_covered",
    f"No stretch of {quality.MIN_UNCOVERED_S:.0f} s or more in which speech was detected is without words.",
    "Listen there: it may be music, laughter or another language, or words that were missed.",
)
NOTHING_DROPPED = Check(
    "nothing_dropped",
    "No text was taken out of a transcript as invented.",
    "Listen there: the transcript's meta.dropped has the text and why it was not believed.",
)
WORDS_INSIDE_SPEECH = Check(
    "words_inside_speech",
    "No word stands where no speech was detected.",
    "Listen there: the word may be invented, or its time wrong.",
)
SPEECH_RATE_PLAUSIBLE = Check(
    "speech_rate_plausible",
    f"Nobody speaks more than {quality.FASTEST_WPS} words a second ({quality.FASTEST_SEGMENT_WPS:.0f} in a segment) or under "
    f"{quality.SLOWEST_WPS}.",
    "Listen there: words may be repeated, invented or missing.",
)
LANGUAGE_CERTAIN = Check(
    "language_certain",
    "The language of every recording was recognised with confidence.",
    "If you know the language, force it with STT_LANGUAGE and run the batch again.",
)
FEW_SUSPECTS = Check(
    "few_suspects",
    f"The engine believed its first result for at least {1 - quality.MAX_SUSPECT_SHARE:.0%} of a "
    "recording's and of the batch's chunks.",
    "Read the flags in these transcripts before you rely on them; a larger model (STT_MODEL) may hear better.",
)
WORD_ERROR_RATE = Check(
    "word_error_rate",
    "Texts agree with the references beside recordings (NAME.ref.txt); where STT_MAX_WER is set, up to that rate over the batch.",
    "Compare the named transcripts with their references; a larger model (STT_MODEL) may hear better.",
    stops=True,  # with STT_MAX_WER set, a batch above the limit is blocked; without it the check only reports
)
CPU_NOT_THROTTLED = Check(
    "cpu_not_throttled",
    f"The CPU limit stopped the step in fewer than {THROTTLED_SHARE:.0%} of the kernel's periods.",
    "Raise the limit (cpu_limit of the step's profile), or set STT_WORKERS to fewer than its CPUs.",
)

AFTER_RAW = (LEDGER_RECONCILED,)
AFTER_NORMALIZED = (LEDGER_RECONCILED, AUDIO_DURATION_KEPT, AUDIO_COMPLETE)
AFTER_TRANSCRIPT = (
    LEDGER_RECONCILED,
    SCHEMA_VALID,
    TRANSCRIPT_DURATION_KEPT,
    TIMES_IN_ORDER,
    SPEECH_COVERED,
    NOTHING_DROPPED,
    WORDS_INSIDE_SPEECH,
    SPEECH_RATE_PLAUSIBLE,
    LANGUAGE_CERTAIN,
    FEW_SUSPECTS,
    WORD_ERROR_RATE,
    CPU_NOT_THROTTLED,
)
AFTER_ENRICHED = (LEDGER_RECONCILED,)
