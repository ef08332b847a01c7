"""Looks whether the checks of a batch hold. It reads the store and the ledger and gives a sentence for the operator.

Every name of every recording in the batch is checked, also finished recordings, so later damage is noticed. If the files of a
finished recording were deleted on purpose, that is not a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from pydantic import ValidationError

from recordings.layout import NORMALIZED_AUDIO, TRANSCRIPT_JSON
from recordings.ledger.rows import Member, Recording
from recordings.states import LAST_STEP, TERMINAL_STATES, State, Step, has_reached
from recordings.steps.checks import (
    AUDIO_COMPLETE,
    AUDIO_DURATION_KEPT,
    CPU_NOT_THROTTLED,
    FEW_SUSPECTS,
    LANGUAGE_CERTAIN,
    LEDGER_RECONCILED,
    NOTHING_DROPPED,
    SCHEMA_VALID,
    SPEECH_COVERED,
    SPEECH_RATE_PLAUSIBLE,
    TIMES_IN_ORDER,
    TRANSCRIPT_DURATION_KEPT,
    WORD_ERROR_RATE,
    WORDS_INSIDE_SPEECH,
)
from recordings.steps.references import InvalidReferenceError, read_reference
from recordings.steps.report import StepReport
from recordings.workspace import Workspace
from speech.audio.wav import WavReader
from speech.checks import Check, CheckResult
from speech.evaluation import quality
from speech.evaluation.wer import WordErrors, count_word_errors, sum_word_errors
from speech.machine.cgroups import THROTTLED_SHARE
from speech.transcript import Transcript

MAX_EXAMPLES = 20
"""Maximum number of recordings that a result lists. Dagster stores every result as an event, so it must stay small."""


def check_raw(workspace: Workspace, report: StepReport) -> list[CheckResult]:
    """Verdicts on ``AFTER_RAW``: every delivery was read, or refused."""
    return [_check_ledger(workspace, report, lambda member: member.recording is not None or member.kind is not None)]


def check_normalized(workspace: Workspace, report: StepReport) -> list[CheckResult]:
    """Verdicts on ``AFTER_NORMALIZED``. Reads the headers of the WAV files."""
    lengths, findings = _CheckCounter(), _CheckCounter()
    for member, recording in _iter_with_outputs(report, State.NORMALIZED):
        lengths.add(member, _check_audio_length(workspace, member, recording))
        found = recording.find_flags_before(Step.TRANSCRIPT)
        findings.add(member, (f"{flag}: {reason}" for flag, reason in found.items()))
    return [
        _check_ledger(workspace, report, partial(_has_reached_or_ended, State.NORMALIZED)),
        lengths.make_result(AUDIO_DURATION_KEPT),
        findings.make_result(AUDIO_COMPLETE),
    ]


def check_transcript(workspace: Workspace, report: StepReport, max_wer: float | None) -> list[CheckResult]:
    """Verdicts on ``AFTER_TRANSCRIPT``. Reads every transcript once, one at a time.

    Args:
        workspace: Store and ledger.
        report: Of the step.
        max_wer: Highest word error rate over all references of the batch; None lets any pass.
    """
    rules: dict[Check, quality.Rule] = {
        TIMES_IN_ORDER: quality.check_times_in_order,
        SPEECH_COVERED: quality.check_speech_covered,
        NOTHING_DROPPED: quality.check_nothing_dropped,
        WORDS_INSIDE_SPEECH: quality.check_words_inside_speech,
        SPEECH_RATE_PLAUSIBLE: quality.check_speech_rate_plausible,
        LANGUAGE_CERTAIN: quality.check_language_certain,
        FEW_SUSPECTS: quality.check_few_suspects,
    }
    tallies = {check: _CheckCounter() for check in (SCHEMA_VALID, TRANSCRIPT_DURATION_KEPT, *rules)}
    chunks = suspects = 0
    spoken = _ReferenceComparison(workspace)
    for member, recording in _iter_with_outputs(report, State.TRANSCRIBED):
        try:
            transcript = _read_transcript(workspace, member, recording)
        except _UnreadableTranscriptError as wrong:
            tallies[SCHEMA_VALID].add(member, [str(wrong)])
            continue
        if transcript is None:
            continue
        tallies[SCHEMA_VALID].add(member, [])
        tallies[TRANSCRIPT_DURATION_KEPT].add(member, quality.check_duration_kept(transcript, recording.seconds or 0.0))
        for check, rule in rules.items():
            tallies[check].add(member, rule(transcript))
        if transcript.meta.decoding is not None:
            chunks += transcript.meta.decoding.chunks
            suspects += transcript.meta.decoding.suspects
        spoken.compare(member, transcript)
    tallies[FEW_SUSPECTS].figures.update(chunks=chunks, suspects=suspects)
    if quality.has_too_many_suspects(suspects, chunks) and not tallies[FEW_SUSPECTS].violations:
        tallies[FEW_SUSPECTS].violations.append(("the batch as a whole", f"{suspects} of {chunks} chunks were suspect"))
    return [
        _check_ledger(workspace, report, partial(_has_reached_or_ended, State.TRANSCRIBED)),
        *(tally.make_result(check) for check, tally in tallies.items()),
        spoken.make_result(max_wer),
        _check_throttling(report),
    ]


def check_enriched(workspace: Workspace, report: StepReport) -> list[CheckResult]:
    """Verdicts on ``AFTER_ENRICHED``: every recording has ended, and a finished one has its outputs under each of its names."""

    def ended(member: Member) -> bool:
        recording = member.recording
        if recording is not None and member.state is State.DONE:
            return member.placed.get(LAST_STEP) == recording.enriched_key
        return member.state in TERMINAL_STATES

    return [_check_ledger(workspace, report, ended)]


def _check_throttling(report: StepReport) -> CheckResult:
    """Whether the CPU limit let the step work. A step that worked on no recording has too few periods to judge."""
    counted = report.throttling
    if counted is None or not report.worked:
        sentence = "No CPU limit was in force." if counted is None else "No recording was worked on."
        return CheckResult(CPU_NOT_THROTTLED, True, f"{CPU_NOT_THROTTLED.rule} {sentence}")
    passed = counted.share < THROTTLED_SHARE
    sentence = (
        f"The kernel stopped the container in {counted.throttled} of {counted.periods} periods ({counted.share:.0%}), for "
        f"{counted.throttled_s:.1f} s of CPU time in all."
    )
    figures = {**counted.model_dump(), "share": round(counted.share, 4)}
    return CheckResult(
        CPU_NOT_THROTTLED, passed, sentence if passed else f"{sentence} {CPU_NOT_THROTTLED.remedy}", figures=figures
    )


def _has_reached_or_ended(state: State, member: Member) -> bool:
    return member.state in TERMINAL_STATES or has_reached(member.state, state)


def _check_ledger(workspace: Workspace, report: StepReport, settled: Callable[[Member], bool]) -> CheckResult:
    """Whether the batch is complete, and settled as far as the step goes."""
    size = workspace.ledger.count_members(report.batch_key)
    states = {state.value: count for state, count in report.counts.items() if count}
    tally = _CheckCounter(checked=size, figures={"deliveries": size, **states})
    missing = size - sum(states.values())
    if missing:
        tally.violations.append((report.batch_key, f"{size} deliveries, but {size - missing} over all states"))
    # A superseded delivery (a newer file has the same name) is not checked; the batch of the newer delivery is.
    open_members = [m for m in report.members if not m.superseded and not settled(m)]
    tally.violations += [(m.delivery.name, f"still {m.state} after the {report.step} step") for m in open_members]
    return tally.make_result(LEDGER_RECONCILED)


def _iter_with_outputs(report: StepReport, state: State) -> Iterator[tuple[Member, Recording]]:
    """Deliveries that must have outputs because their recording reached ``state``."""
    for member in report.members:
        if member.recording is not None and not member.superseded and has_reached(member.state, state):
            yield member, member.recording


def _check_audio_length(workspace: Workspace, member: Member, recording: Recording) -> Iterator[str]:
    try:
        with workspace.store.fetch(NORMALIZED_AUDIO.key(member.delivery.name)) as path, WavReader(path) as wav:
            seconds = wav.duration_s
    except FileNotFoundError:
        if recording.state is not State.DONE:
            yield "its normalized audio is gone"
        return
    except ValueError as error:
        yield str(error)
        return
    if recording.seconds is None or not quality.is_same_length(seconds, recording.seconds):
        yield f"holds {seconds:.3f} s, and {recording.seconds or 0.0:.3f} s were decoded"


class _UnreadableTranscriptError(Exception):
    """The transcript file is missing, damaged, or belongs to another recording."""


def _read_transcript(workspace: Workspace, member: Member, recording: Recording) -> Transcript | None:
    """The transcript under a delivery's name; None where it was tidied away.

    Raises:
        _UnreadableTranscriptError: The transcript is missing, not valid, or belongs to another recording.
    """
    name = member.delivery.name
    try:
        with workspace.store.fetch(TRANSCRIPT_JSON.key(name)) as path:
            transcript = Transcript.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        if recording.state is State.DONE:
            return None
        raise _UnreadableTranscriptError("its transcript is gone") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise _UnreadableTranscriptError(f"{place}: {first['msg']} ({error.error_count()} findings)") from error
    if transcript.meta.audio_sha256 != recording.bytes_sha256 or transcript.file != name:
        raise _UnreadableTranscriptError(
            f"is the transcript of {transcript.file} (sha256 {transcript.meta.audio_sha256[:12]})"
        )
    return transcript


@dataclass
class _CheckCounter:
    """Counts the recordings checked against one rule, and keeps the violations."""

    checked: int = 0
    violations: list[tuple[str, str]] = field(default_factory=list)
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
            self.violations.append((member.delivery.name, f"{first}; and {more} more" if more else first))

    def make_result(self, check: Check) -> CheckResult:
        """The rule holds when nothing was found."""
        figures = {"checked": self.checked, "found": len(self.violations), **self.figures}
        return CheckResult(
            check,
            not self.violations,
            _format_sentence(check, self.checked, self.violations),
            figures=figures,
            examples=tuple(self.violations[:MAX_EXAMPLES]),
        )


def _format_sentence(check: Check, checked: int, violations: Sequence[tuple[str, str]]) -> str:
    if not violations:
        return f"{check.rule} True of all {checked}." if checked else f"{check.rule} Nothing to check."
    name, first = violations[0]
    return f"{check.rule} Not so for {len(violations)} of {checked}; the first: {name}: {first}. {check.remedy}"


@dataclass
class _ReferenceComparison:
    """Compares the transcripts of a batch with their reference texts."""

    workspace: Workspace
    counts: list[tuple[str, WordErrors]] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)

    def compare(self, member: Member, transcript: Transcript) -> None:
        """Count a recording's word errors, if there is a reference beside it."""
        name = member.delivery.name
        try:
            reference = read_reference(self.workspace.store, name)
        except InvalidReferenceError as bad:
            self.bad.append((name, str(bad)))
            return
        if reference is not None:
            # Text in parentheses counts too: a reference contains only spoken words.
            errors = count_word_errors(reference, transcript.text, transcript.language, keep_parenthesised=True)
            self.counts.append((name, errors))

    def make_result(self, max_wer: float | None) -> CheckResult:
        """The rate over all references; the worst recordings are named whether it passes or not."""
        if not self.counts:
            sentence = (
                "No recording of the batch has a readable reference (NAME.ref.txt) beside it: nothing to compare with."
            )
            bad = tuple(self.bad[:MAX_EXAMPLES])
            return CheckResult(WORD_ERROR_RATE, True, sentence, figures={"references": 0}, examples=bad)
        whole = sum_word_errors(count for _, count in self.counts)
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
        rows = [(name, _format_word_errors(count)) for name, count in worst if count.errors]
        sentence = f"Against {len(self.counts)} references: {_format_word_errors(whole)}."
        if not passed:
            sentence += (
                f" STT_MAX_WER allows {max_wer:.2%}. The worst: {rows[0][0]}: {rows[0][1]}. {WORD_ERROR_RATE.remedy}"
            )
        examples = (*self.bad, *rows)[:MAX_EXAMPLES]
        return CheckResult(WORD_ERROR_RATE, passed, sentence, figures=figures, examples=examples)


def _format_word_errors(count: WordErrors) -> str:
    rate = "no rate" if count.rate is None else f"{count.rate:.2%} word errors"
    return (
        f"{rate}, {count.errors} over {count.reference_words} words ({count.substitutions} wrong, {count.deletions} missing, "
        f"{count.insertions} too many)"
    )
