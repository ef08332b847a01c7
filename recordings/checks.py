"""The checks that run on a batch after each step. They read the store and the ledger and give a sentence for the operator.

A check with ``stops=True`` blocks the next steps because their results would be wrong. The other checks only warn about recordings
that a person should listen to. Every name of every recording in the batch is checked, also finished recordings, so later damage is
noticed. If the files of a finished recording were deleted on purpose, that is not a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from pydantic import ValidationError

from recordings.ledger import Member, Recording
from recordings.names import Folder
from recordings.references import BadReference, read_reference
from recordings.states import ENDED, State, reached
from recordings.steps.enriched import STEP as LAST_STEP
from recordings.steps.normalized import wav_key
from recordings.steps.report import StepReport
from recordings.steps.transcript import json_key
from recordings.workspace import Workspace
from speech import quality
from speech.transcript import Transcript
from speech.wav import Wav
from speech.wer import WordErrors, total, word_errors

MOST_NAMED = 20
"""Maximum number of recordings that a result lists. Dagster stores every result as an event, so it must stay small."""


@dataclass(frozen=True, slots=True)
class Check:
    """A rule that every batch must satisfy.

    Attributes:
        name: As Dagster shows it.
        rule: What should hold, as a sentence.
        remedy: What to do where it does not.
        stops: Whether a failure blocks the following steps.
    """

    name: str
    rule: str
    remedy: str
    stops: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one check.

    Attributes:
        check: Which.
        passed: Whether the rule holds.
        sentence: What an operator needs to know.
        figures: Counts and rates by name.
        named: The first recordings that break the rule, each with a sentence about the violation.
    """

    check: Check
    passed: bool
    sentence: str
    figures: Mapping[str, int | float]
    named: tuple[tuple[str, str], ...] = ()


LEDGER = Check(
    "ledger_reconciled",
    "Every delivery of the batch stands in the ledger, in one state, and none was left behind by this step.",
    "Run the batch again; if that does not help, the ledger was changed by hand or is damaged: deliver what is missing again.",
    stops=True,
)
AUDIO_LENGTH = Check(
    "duration_kept",
    "Every normalized file is as long as what was decoded from the recording, within 20 ms.",
    f"Remove the named files under {Folder.NORMALIZED}/ and run the batch again: they are made anew.",
    stops=True,
)
_ANEW = f"Remove the named files under {Folder.TRANSCRIPTS}/ and run the batch again: they are made anew."
SCHEMA = Check(
    "schema_valid",
    "Every transcript is there, can be read by this version and is that of the recording whose name it bears.",
    _ANEW,
    stops=True,
)
TEXT_LENGTH = Check(
    "duration_kept", "Every transcript speaks of as many seconds as were normalized, within 20 ms.", _ANEW, stops=True
)
TIMES = Check(
    "times_in_order",
    "Segments and words follow each other in time and lie inside their recording.",
    f"{_ANEW} If they come out the same, report it with one of them.",
    stops=True,
)
COVERED = Check(
    "speech_covered",
    f"No stretch of {quality.HOLE_S:.0f} s or more in which speech was detected is without words.",
    "Listen there: it may be music, laughter or another language, or words that were missed.",
)
INSIDE = Check(
    "words_inside_speech",
    "No word stands where no speech was detected.",
    "Listen there: the word may be invented, or its time wrong.",
)
RATE = Check(
    "speech_rate_plausible",
    f"Nobody speaks more than {quality.FASTEST_WPS} words a second ({quality.FASTEST_SEGMENT_WPS:.0f} in a segment) or under "
    f"{quality.SLOWEST_WPS}.",
    "Listen there: words may be repeated, invented or missing.",
)
LANGUAGE = Check(
    "language_certain",
    "The language of every recording was recognised with confidence.",
    "If you know the language, force it with STT_LANGUAGE and run the batch again.",
)
SUSPECTS = Check(
    "few_suspects",
    f"The engine believed its first result for at least {1 - quality.MAX_SUSPECTS:.0%} of a recording's and of the batch's chunks.",
    "Read the flags in these transcripts before you rely on them; a larger model (STT_MODEL) may hear better.",
)
WORD_ERRORS = Check(
    "word_error_rate",
    "Texts agree with the references beside recordings (NAME.ref.txt); where STT_MAX_WER is set, up to that rate over the batch.",
    "Compare the named transcripts with their references; a larger model (STT_MODEL) may hear better.",
    stops=True,  # with STT_MAX_WER set, a batch above the limit is blocked; without it the check only reports
)

AFTER_RAW = (LEDGER,)
AFTER_NORMALIZED = (LEDGER, AUDIO_LENGTH)
AFTER_TRANSCRIPT = (LEDGER, SCHEMA, TEXT_LENGTH, TIMES, COVERED, INSIDE, RATE, LANGUAGE, SUSPECTS, WORD_ERRORS)
AFTER_ENRICHED = (LEDGER,)


def after_raw(workspace: Workspace, report: StepReport) -> list[Verdict]:
    """Verdicts on ``AFTER_RAW``: every delivery was read, or refused."""
    return [_reconciled(workspace, report, lambda member: member.recording is not None or member.kind is not None)]


def after_normalized(workspace: Workspace, report: StepReport) -> list[Verdict]:
    """Verdicts on ``AFTER_NORMALIZED``. Reads the headers of the WAV files."""
    tally = _Tally()
    for member, recording in _with_outputs(report, State.NORMALIZED):
        tally.add(member, _audio_length(workspace, member, recording))
    return [
        _reconciled(workspace, report, partial(_reached_or_ended, State.NORMALIZED)),
        tally.verdict(AUDIO_LENGTH),
    ]


def after_transcript(workspace: Workspace, report: StepReport, max_wer: float | None) -> list[Verdict]:
    """Verdicts on ``AFTER_TRANSCRIPT``. Reads every transcript once, one at a time.

    Args:
        workspace: Store and ledger.
        report: Of the step.
        max_wer: Highest word error rate over all references of the batch; None lets any pass.
    """
    rules: dict[Check, quality.Rule] = {
        TIMES: quality.times_in_order,
        COVERED: quality.speech_covered,
        INSIDE: quality.words_inside_speech,
        RATE: quality.speech_rate_plausible,
        LANGUAGE: quality.language_certain,
        SUSPECTS: quality.few_suspects,
    }
    tallies = {check: _Tally() for check in (SCHEMA, TEXT_LENGTH, *rules)}
    chunks = suspects = 0
    spoken = _References(workspace)
    for member, recording in _with_outputs(report, State.TRANSCRIBED):
        try:
            transcript = _transcript(workspace, member, recording)
        except _Unreadable as wrong:
            tallies[SCHEMA].add(member, [str(wrong)])
            continue
        if transcript is None:
            continue
        tallies[SCHEMA].add(member, [])
        tallies[TEXT_LENGTH].add(member, quality.duration_kept(transcript, recording.seconds or 0.0))
        for check, rule in rules.items():
            tallies[check].add(member, rule(transcript))
        if transcript.meta.decoding is not None:
            chunks += transcript.meta.decoding.chunks
            suspects += transcript.meta.decoding.suspects
        spoken.compare(member, transcript)
    tallies[SUSPECTS].figures.update(chunks=chunks, suspects=suspects)
    if quality.too_many(suspects, chunks) and not tallies[SUSPECTS].found:
        tallies[SUSPECTS].found.append(("the batch as a whole", f"{suspects} of {chunks} chunks were suspect"))
    return [
        _reconciled(workspace, report, partial(_reached_or_ended, State.TRANSCRIBED)),
        *(tally.verdict(check) for check, tally in tallies.items()),
        spoken.verdict(max_wer),
    ]


def after_enriched(workspace: Workspace, report: StepReport) -> list[Verdict]:
    """Verdicts on ``AFTER_ENRICHED``: every recording has ended, and a finished one has its outputs under each of its names."""

    def ended(member: Member) -> bool:
        recording = member.recording
        if recording is not None and member.state is State.DONE:
            return member.placed.get(LAST_STEP) == recording.enriched_key
        return member.state in ENDED

    return [_reconciled(workspace, report, ended)]


def _reached_or_ended(state: State, member: Member) -> bool:
    return member.state in ENDED or reached(member.state, state)


def _reconciled(workspace: Workspace, report: StepReport, settled: Callable[[Member], bool]) -> Verdict:
    """Whether the batch is complete, and settled as far as the step goes."""
    size = workspace.ledger.batch_size(report.batch_key)
    states = {state.value: count for state, count in report.counts.items() if count}
    tally = _Tally(checked=size, figures={"deliveries": size, **states})
    missing = size - sum(states.values())
    if missing:
        tally.found.append((report.batch_key, f"{size} deliveries, but {size - missing} over all states"))
    # A superseded delivery (a newer file has the same name) is not checked; the batch of the newer delivery is.
    open_members = [m for m in report.members if not m.superseded and not settled(m)]
    tally.found += [(m.delivery.name, f"still {m.state} after the {report.step} step") for m in open_members]
    return tally.verdict(LEDGER)


def _with_outputs(report: StepReport, state: State) -> Iterator[tuple[Member, Recording]]:
    """Deliveries that must have outputs because their recording reached ``state``."""
    for member in report.members:
        if member.recording is not None and not member.superseded and reached(member.state, state):
            yield member, member.recording


def _audio_length(workspace: Workspace, member: Member, recording: Recording) -> Iterator[str]:
    try:
        with workspace.store.fetch(wav_key(member.delivery.name)) as path, Wav(path) as wav:
            seconds = wav.duration_s
    except FileNotFoundError:
        if recording.state is not State.DONE:
            yield "its normalized audio is gone"
        return
    except ValueError as error:
        yield str(error)
        return
    if recording.seconds is None or not quality.same_length(seconds, recording.seconds):
        yield f"holds {seconds:.3f} s, and {recording.seconds or 0.0:.3f} s were decoded"


class _Unreadable(Exception):  # noqa: N818 - reads as what it says
    """The transcript file is missing, damaged, or belongs to another recording."""


def _transcript(workspace: Workspace, member: Member, recording: Recording) -> Transcript | None:
    """The transcript under a delivery's name; None where it was tidied away.

    Raises:
        _Unreadable: The transcript is missing, not valid, or belongs to another recording.
    """
    name = member.delivery.name
    try:
        with workspace.store.fetch(json_key(name)) as path:
            transcript = Transcript.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        if recording.state is State.DONE:
            return None
        raise _Unreadable("its transcript is gone") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise _Unreadable(f"{place}: {first['msg']} ({error.error_count()} findings)") from error
    if transcript.meta.audio_sha256 != recording.sha256 or transcript.file != name:
        raise _Unreadable(f"is the transcript of {transcript.file} (sha256 {transcript.meta.audio_sha256[:12]})")
    return transcript


@dataclass
class _Tally:
    """Counts the recordings checked against one rule, and keeps the violations."""

    checked: int = 0
    found: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, int | float] = field(default_factory=dict)

    def add(self, member: Member, findings: Iterable[str] | None) -> None:
        """Count one recording. Of its violations the first is kept as text, the others as a number.

        ``None`` means it could not be checked and is not counted.
        """
        if findings is None:
            return
        self.checked += 1
        left = iter(findings)
        for first in islice(left, 1):
            more = sum(1 for _ in left)
            self.found.append((member.delivery.name, f"{first}; and {more} more" if more else first))

    def verdict(self, check: Check) -> Verdict:
        """The rule holds when nothing was found."""
        figures = {"checked": self.checked, "found": len(self.found), **self.figures}
        return Verdict(
            check, not self.found, _sentence(check, self.checked, self.found), figures, tuple(self.found[:MOST_NAMED])
        )


def _sentence(check: Check, checked: int, found: Sequence[tuple[str, str]]) -> str:
    if not found:
        return f"{check.rule} True of all {checked}." if checked else f"{check.rule} Nothing to check."
    name, first = found[0]
    return f"{check.rule} Not so for {len(found)} of {checked}; the first: {name}: {first}. {check.remedy}"


@dataclass
class _References:
    """Compares the transcripts of a batch with their reference texts."""

    workspace: Workspace
    counts: list[tuple[str, WordErrors]] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)

    def compare(self, member: Member, transcript: Transcript) -> None:
        """Count a recording's word errors, if there is a reference beside it."""
        name = member.delivery.name
        try:
            reference = read_reference(self.workspace.store, name)
        except BadReference as bad:
            self.bad.append((name, str(bad)))
            return
        if reference is not None:
            # Text in parentheses counts too: a reference contains only spoken words.
            errors = word_errors(reference, transcript.text, transcript.language, keep_parenthesised=True)
            self.counts.append((name, errors))

    def verdict(self, max_wer: float | None) -> Verdict:
        """The rate over all references; the worst recordings are named whether it passes or not."""
        if not self.counts:
            sentence = (
                "No recording of the batch has a readable reference (NAME.ref.txt) beside it: nothing to compare with."
            )
            return Verdict(WORD_ERRORS, True, sentence, {"references": 0}, tuple(self.bad[:MOST_NAMED]))
        whole = total(count for _, count in self.counts)
        passed = max_wer is None or whole.errors <= max_wer * whole.reference_words
        figures: dict[str, int | float] = {
            "references": len(self.counts),
            "reference_words": whole.reference_words,
            "substitutions": whole.substitutions,
            "deletions": whole.deletions,
            "insertions": whole.insertions,
        }
        if whole.rate is not None:
            figures["word_error_rate"] = round(whole.rate, 4)
        if max_wer is not None:
            figures["max_wer"] = max_wer
        worst = sorted(self.counts, key=lambda item: -item[1].errors / max(item[1].reference_words, 1))
        rows = [(name, _counted(count)) for name, count in worst if count.errors]
        sentence = f"Against {len(self.counts)} references: {_counted(whole)}."
        if not passed:
            sentence += (
                f" STT_MAX_WER allows {max_wer:.2%}. The worst: {rows[0][0]}: {rows[0][1]}. {WORD_ERRORS.remedy}"
            )
        return Verdict(WORD_ERRORS, passed, sentence, figures, (*self.bad, *rows)[:MOST_NAMED])


def _counted(count: WordErrors) -> str:
    rate = "no rate" if count.rate is None else f"{count.rate:.2%} word errors"
    return (
        f"{rate}, {count.errors} over {count.reference_words} words ({count.substitutions} wrong, {count.deletions} missing, "
        f"{count.insertions} too many)"
    )
