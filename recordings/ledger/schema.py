"""The ledger's tables. A change here needs a migration in ``recordings/ledger/migrations/versions``; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    literal_column,
    true,
)

from recordings.states import State

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_STATES = ", ".join(f"'{state}'" for state in State)

INPUTS = "inputs"
"""Name of the row of ``counts`` that counts all deliveries."""

recordings = Table(
    "recordings",
    metadata,
    Column(
        "sha256",
        String(64),
        primary_key=True,
        comment="Identity: of the bytes; where options came with them, of the bytes and the options.",
    ),
    Column(
        "bytes_sha256", String(64), comment="Of the bytes, where options came with them; null: sha256 is of the bytes."
    ),
    Column("options", JSON(none_as_null=True), comment="Options that came with the bytes; null where none did."),
    Column(
        "name",
        Text,
        nullable=False,
        comment="The first name under which the bytes arrived; its outputs are the originals.",
    ),
    Column("size", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("kind", String(32), comment="Short name of what is wrong; null in a good state."),
    Column("reason", Text, comment="What is wrong, in a sentence; null in a good state."),
    Column("flags", JSON, nullable=False, comment="Flag -> reason, of all steps: no_speech, partial."),
    Column(
        "step_flags",
        JSON(none_as_null=True),
        comment="Step -> its flags -> reason; null in rows of 0.1.0 and before anything was found.",
    ),
    Column("seconds", Float, comment="Length of the normalized audio."),
    Column("channels", Integer),
    Column("tracks", Text, comment="What was taken of which audio tracks; null where the file has one."),
    Column(
        "peak_dbfs", Float, comment="Level of the loudest sample of the normalized audio; null for digital silence."
    ),
    Column("speech_seconds", Float),
    Column("language", String(8)),
    Column("words", Integer),
    Column("preview", Text, comment="The first words, for tables."),
    Column("normalized_key", String(64), comment="Work key of the normalized audio; see recordings.steps.work_key."),
    Column("transcript_key", String(64)),
    Column("enriched_key", String(64)),
    Column(
        "normalized_recipe",
        String(16),
        nullable=False,
        server_default="",
        comment="Version and options under which the output was last found up to date; see recordings.steps.work_key.",
    ),
    Column("transcript_recipe", String(16), nullable=False, server_default=""),
    Column(
        "enriched_recipe",
        String(16),
        nullable=False,
        server_default="",
        comment="Empty too where an annotation is missing, so that it is tried again.",
    ),
    Column("timings", JSON, nullable=False, comment="Step -> seconds of wall time spent on this recording."),
    Column("changed_at", Float, nullable=False),
    CheckConstraint(f"state IN ({_STATES})", name="state"),
    Index(None, "bytes_sha256"),
)
RECIPES = (recordings.c.normalized_recipe, recordings.c.transcript_recipe, recordings.c.enriched_recipe)
IS_DONE = recordings.c.state == literal_column(f"'{State.DONE}'")
"""Written into queries, not bound: an index of some rows serves a query only if it has the same condition."""
Index("ix_recordings_recipes", *RECIPES, sqlite_where=IS_DONE, postgresql_where=IS_DONE)

deliveries = Table(
    "deliveries",
    metadata,
    Column(
        "id", String(32), primary_key=True, comment="Hash of name, size and version: one arrival of bytes under a name."
    ),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("sha256", String(64), ForeignKey("recordings.sha256"), comment="Null until the bytes have been read."),
    Column("batch_key", String(64), comment="The batch that holds it now; null when it waits for one."),
    Column(
        "attempt",
        Integer,
        nullable=False,
        comment="How often it was re-armed; part of the batch key, so a retry is a new batch.",
    ),
    Column("kind", String(32), comment="Short name of why the bytes could not be read at all; counts as quarantined."),
    Column("reason", Text),
    Column("flags", JSON, nullable=False, comment="Flag -> reason: duplicate."),
    Column("placed", JSON, nullable=False, comment="Step -> work key of its outputs that stand under this name."),
    Column("received_at", Float, nullable=False),
    Column(
        "state",
        String(16),
        nullable=False,
        server_default=State.RECEIVED,
        comment="What a person sees: its recording's state, or quarantined where nobody could read it.",
    ),
    Column(
        "open",
        Boolean,
        nullable=False,
        server_default=true(),
        comment="Whether work is left: its state is no last one, or its outputs do not stand under its name yet.",
    ),
    CheckConstraint("kind IS NULL OR sha256 IS NULL", name="read_or_not"),
    Index(None, "sha256"),
    Index(None, "name", "received_at"),
    Index(None, "received_at"),
)
IS_BROKEN = deliveries.c.state.in_([literal_column(f"'{State.QUARANTINED}'"), literal_column(f"'{State.FAILED}'")])
IS_WAITING = deliveries.c.batch_key.is_(None)
Index("ix_deliveries_broken", deliveries.c.received_at, sqlite_where=IS_BROKEN, postgresql_where=IS_BROKEN)
Index("ix_deliveries_open", deliveries.c.batch_key, sqlite_where=deliveries.c.open, postgresql_where=deliveries.c.open)
Index(
    "ix_deliveries_waiting",
    deliveries.c.received_at,
    deliveries.c.name,
    sqlite_where=IS_WAITING,
    postgresql_where=IS_WAITING,
)

batches = Table(
    "batches",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("origin", String(32), nullable=False, comment="Who made it: a sensor's, schedule's or command's name."),
    Column("made_at", Float, nullable=False),
)

batch_members = Table(
    "batch_members",
    metadata,
    Column("batch_key", String(64), ForeignKey("batches.key"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("delivery_id", String(32), ForeignKey("deliveries.id"), nullable=False),
    Index(None, "delivery_id"),
)

counts = Table(
    "counts",
    metadata,
    Column("name", String(16), primary_key=True, comment="A state, or inputs."),
    Column("deliveries", BigInteger, nullable=False),
)
"""How many deliveries show each state, and how many there are; written in the transaction that changes them."""

audits = Table(
    "audits",
    metadata,
    Column("name", String(32), primary_key=True, comment="What was looked at."),
    Column("ended_at", Float, nullable=False),
    Column("looked_at", BigInteger, nullable=False, comment="How many."),
    Column("wrong", BigInteger, nullable=False, comment="How many of them were not as they should be."),
    Column("sentence", Text, nullable=False, comment="The result, for a person."),
    Column("cursor", Text, nullable=False, comment="Where the next audit of a part goes on."),
)
"""The last result of each audit."""

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("step", String(32), nullable=False),
    Column("batch_key", String(64), nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("recordings", Integer, nullable=False, comment="Worked on in this run."),
    Column("audio_seconds", Float, nullable=False, comment="Their audio."),
    Column("wall_seconds", Float, nullable=False, comment="Of the step, with loading the model."),
    Column("cores", Integer, nullable=False, comment="Decoding threads, a core each."),
    Column("model_sha256", String(64), nullable=False),
    Column("options", JSON, nullable=False, comment="Of the engine: all that can change a text."),
    Index(None, "step"),
)
"""What each run of a step cost: appended to, never changed, so that what was predicted can be compared with what came."""
