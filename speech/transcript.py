"""The transcript: its schema, and how it is read and written.

Field names follow slower-whisper's schema version 2, so that tools written for it read ours; what it drops (the scores by which a
segment can be judged later) is kept beside them. A transcript contains no times of day or durations of work: the same audio,
weights and options give the same bytes. Processing time is in the ledger and in the run's metadata.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

SCHEMA_VERSION: Literal[2] = 2

MAX_PROMPT_CHARACTERS = 2000
"""Of a prompt and of hotwords; far more than the 223 tokens of a prompt that Whisper reads."""

StrategyName = Literal["fast", "ample", "careful"]
"""The strategy by which chunks are decoded first; see ``speech/asr/strategy.py``."""


Seconds = Annotated[float, Field(json_schema_extra={"unit": "seconds"})]
"""A time or a length in seconds. Times count from the start of the recording."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


DecodingMethod = Literal["batched", "sequential", "rescued"]
"""How a segment was decoded.

``batched``: fast, on a shortened window. ``sequential``: the careful strategy, chosen by rule. ``rescued``: decoded again
sequentially because the fast result was suspicious."""


class Word(_Record):
    """One word with its times in seconds from the start of the recording."""

    word: str = Field(description="The word as the model wrote it, with punctuation and the space before it.")
    start: Seconds = Field(ge=0, description="When the word begins.")
    end: Seconds = Field(ge=0, description="When the word ends.")
    probability: float = Field(ge=0, le=1, description="How sure the model is of the word: the mean over its tokens.")


class Speaker(_Record):
    """Who spoke, and how sure we are. A recording with a speaker per channel gives confidence 1."""

    id: str = Field(description="Name of the speaker.")
    confidence: float = Field(
        ge=0, le=1, description="How sure it is that this voice spoke; 1 where each speaker has a channel."
    )


class Segment(_Record):
    """A span of speech with its text and the scores of the text. Times in seconds from the start of the recording."""

    id: int = Field(ge=0, description="Number of the segment, from 0, in the order of the list.")
    start: Seconds = Field(ge=0, description="When the segment begins.")
    end: Seconds = Field(ge=0, description="When the segment ends.")
    text: str = Field(description="What was said, without spaces at its ends.")
    speaker: Speaker | None = Field(default=None, description="Who spoke; null where nothing says so.")
    channel: int | None = Field(
        default=None, description="Zero-based channel of the normalized audio; null when it has one channel."
    )
    words: tuple[Word, ...] = Field(
        default=(), description="Its words with their times; empty without word timestamps."
    )
    avg_logprob: float = Field(description="Mean log-probability of the tokens, natural logarithm.")
    compression_ratio: float = Field(
        description="Text bytes over zlib-compressed bytes, a letter being as many bytes in every script; repetition drives it up."
    )
    no_speech_prob: float = Field(ge=0, le=1, description="Probability the model gave to its no-speech token.")
    temperature: float = Field(ge=0, description="Sampling temperature that produced the text; above 0 is a fallback.")
    decoded: DecodingMethod = Field(description="Which path of the engine wrote the text.")
    flags: tuple[str, ...] = Field(
        default=(), description="Why a reader should look twice; empty for an ordinary segment."
    )


class LanguageGuess(_Record):
    """A language the model considered, with its mean probability over all places of the recording that were used."""

    language: str = Field(description="Its code as Whisper names it, such as en.")
    probability: float = Field(ge=0, le=1, description="Mean probability over all places that were used.")


class LanguageWindow(_Record):
    """The language detected at one place of the recording."""

    start: Seconds = Field(ge=0, description="Where it begins, in seconds from the start of the recording.")
    channel: int = Field(ge=0, description="Zero-based channel of the normalized audio.")
    language: str = Field(description="The most probable language there, by its code.")
    probability: float = Field(ge=0, le=1, description="Probability of that language there.")


class Dropped(_Record):
    """Text that was removed as a hallucination, or speech that got no text. It is in no segment; a reader can check it here."""

    start: Seconds = Field(ge=0, description="When it would begin.")
    end: Seconds = Field(ge=0, description="When it would end.")
    channel: int = Field(ge=0, description="Zero-based channel of the normalized audio.")
    text: str = Field(
        description="The text that was removed; empty where speech was heard and the model wrote nothing."
    )
    reasons: tuple[str, ...] = Field(min_length=1, description="Why it stands in no segment, by short names.")


class DecodingStats(_Record):
    """How the recording was decoded, in counts of chunks."""

    path: StrategyName = Field(description="Which way chunks were decoded first.")
    why: str = Field(description="The rule that chose the path.")
    chunks: int = Field(ge=0, description="Chunks that the model heard.")
    suspects: int = Field(ge=0, description="Chunks whose first result the guard did not believe.")
    rescued: int = Field(
        ge=0, description="Suspects whose careful result the guard believed, or kept as the better one."
    )
    dropped: int = Field(ge=0, description="Segments taken out as untrustworthy; see meta.dropped.")
    flagged: int = Field(ge=0, description="Segments kept with a flag.")


class SpeechSpan(_Record):
    """A span of detected speech on one channel, in seconds from the start of the recording."""

    start: Seconds = Field(ge=0, description="When the speech begins.")
    end: Seconds = Field(ge=0, description="When the speech ends.")
    channel: int = Field(ge=0, description="Zero-based channel of the normalized audio.")


Task = Literal["transcribe", "translate"]
"""``transcribe``: in the language that is spoken. ``translate``: to English."""


Speed = Literal["fast", "balanced", "accurate"]
"""How much of the model's window a chunk gets; see ``speech/asr/strategy.py``."""


class TranscribeOptions(_Record):
    """How one recording is transcribed. Calls of one engine may have different ones.

    A field's description says what is allowed. The settings take fields, limits and descriptions from here: an option is declared
    once. Options that came after 0.1.0 are not written where they have their defaults, so they change no work key.
    """

    language: str | None = Field(
        default=None,
        description="A Whisper language code such as en or vi to force it, or auto to detect it.",
    )
    beam_size: int = Field(
        default=5,
        ge=1,
        le=20,
        description="A whole number from 1 to 20: how many hypotheses the search keeps at each step.",
    )
    word_timestamps: bool = Field(
        default=True,
        description="true or false: find the times of every word; without, transcripts cost a twelfth less.",
    )
    careful: bool = Field(
        default=False,
        description="true or false: decode everything sequentially on whole windows, at twice the cost.",
    )
    speed: Speed = Field(
        default="balanced",
        description="fast: the shortest windows in every language; balanced: as long as the sound and the language need; accurate: "
        "whole windows. All three decode in batches.",
        exclude_if=lambda speed: speed == "balanced",
    )
    task: Task = Field(
        default="transcribe",
        description="transcribe: in the language that is spoken; translate: to English, at twice the cost.",
        exclude_if=lambda task: task == "transcribe",
    )
    initial_prompt: str | None = Field(
        default=None,
        max_length=MAX_PROMPT_CHARACTERS,
        description="A text of up to 2000 characters that the model takes for what was said before: names, spelling, style.",
        exclude_if=lambda prompt: prompt is None,
    )
    hotwords: str | None = Field(
        default=None,
        max_length=MAX_PROMPT_CHARACTERS,
        description="Words that are likely to be said, up to 2000 characters.",
        exclude_if=lambda hotwords: hotwords is None,
    )

    @field_validator("initial_prompt", "hotwords", mode="before")
    @classmethod
    def _empty_means_none(cls, value: object) -> object:
        return (value.strip() or None) if isinstance(value, str) else value

    @field_validator("language", mode="before")
    @classmethod
    def _auto_means_none(cls, value: object) -> object:
        code = value.strip().lower() if isinstance(value, str) else value
        return None if code in ("", "auto") else code


class Options(TranscribeOptions):
    """Every option that can change the text. Part of the work key, so a changed option means a new transcript."""

    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where the model ran: cpu or cuda.")
    compute_type: str = Field(
        default="int8", description="Number format of the weights in memory, such as int8 or float16."
    )

    @property
    def transcribe_options(self) -> TranscribeOptions:
        """Those that a call may choose."""
        return TranscribeOptions(**self.model_dump(include=set(TranscribeOptions.model_fields)))


class Meta(_Record):
    """Where the transcript came from: enough to make it again."""

    audio_file: str = Field(description="Name of the recording below the input folder.")
    audio_sha256: str = Field(description="sha256 of the recording's bytes as they were delivered.")
    audio_duration_sec: Seconds = Field(ge=0, description="Length of the normalized audio.")
    channels: int = Field(ge=1, description="Channels of the normalized audio.")
    model_name: str = Field(description="A name of the catalogue, or the path of a folder with a model.")
    model_sha256: str = Field(description="sha256 of the weights' model.bin.")
    engine_version: str = Field(description="Version of the engine; it is raised when texts change.")
    options: Options = Field(description="The options that the transcript was made with.")
    language_probability: float | None = Field(
        default=None, ge=0, le=1, description="Null when forced or when nothing was said."
    )
    language_alternatives: tuple[LanguageGuess, ...] = Field(
        default=(), description="The next most probable languages, most probable first; empty when forced."
    )
    language_windows: tuple[LanguageWindow, ...] = Field(default=(), description="Each place asked; empty when forced.")
    decoding: DecodingStats | None = Field(default=None, description="Null when no speech reached the model.")
    dropped: tuple[Dropped, ...] = Field(
        default=(), description="Text that was taken out, and speech that got none; empty where there is neither."
    )
    speech: tuple[SpeechSpan, ...] = Field(
        description="Where speech was heard; what lies outside never reached the model."
    )
    speech_seconds: Seconds = Field(ge=0, description="Length of the union of the speech spans over all channels.")
    flags: dict[str, str] = Field(default_factory=dict, description="Flag -> reason, for example no_speech.")


class Transcript(_Record):
    """What was said in one recording. An empty list of segments is a result, with its reason in ``meta.flags``."""

    schema_version: Literal[2] = Field(default=SCHEMA_VERSION, description="Version of this schema.")
    file: str = Field(description="Name of the recording below the input folder.")
    language: str | None = Field(description="ISO 639-1 code as Whisper names it; null when nothing was said.")
    meta: Meta = Field(description="Where the transcript came from.")
    segments: tuple[Segment, ...] = Field(description="What was said, in order of time; empty where nothing was.")

    @property
    def text_language(self) -> str | None:
        """The language that the text is in: of a translation English, else the one that was spoken."""
        return "en" if self.language and self.meta.options.task == "translate" else self.language

    @property
    def text(self) -> str:
        """The whole text, one line per segment."""
        return "\n".join(segment.text for segment in self.segments)

    def to_json(self) -> str:
        """The transcript as it is written to disk: stable key order, UTF-8 text unescaped, a final newline."""
        return self.model_dump_json(indent=1) + "\n"
