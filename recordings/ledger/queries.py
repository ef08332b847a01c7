"""Questions about the whole ledger that change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from recordings.ledger.engine import LedgerEngine, split_variables
from recordings.ledger.name_search import find_ids
from recordings.ledger.rows import (
    Member,
    Recipes,
    is_superseded,
    join_recordings,
    member_from_row,
    select_members,
)
from recordings.ledger.schema import INPUTS, IS_BROKEN, IS_DONE, RECIPES, counts, deliveries, recordings
from recordings.states import State


@dataclass(frozen=True, slots=True)
class Totals:
    """The total number of deliveries, and the number in each state. The sum over the states must equal the total."""

    inputs: int
    states: Mapping[State, int]

    @property
    def is_consistent(self) -> bool:
        """Whether every delivery is in exactly one state."""
        return sum(self.states.values()) == self.inputs


class QueryLedger(LedgerEngine):
    """Reads the ledger for reports, commands and later steps."""

    def list_current(self, sha256: str) -> list[Member]:
        """The deliveries of a recording whose names no newer delivery has taken over."""
        query = select_members().where(deliveries.c.sha256 == sha256, ~is_superseded())
        with self._read() as connection:
            return [member_from_row(row) for row in connection.execute(query)]

    def iter_finished(self) -> Iterator[Member]:
        """Every delivery that is done and whose name no newer one has taken over, in the order of their recordings."""
        return self._iter_done(sa.true())

    def iter_finished_by_others(self, recipes: Recipes) -> Iterator[Member]:
        """Those of ``iter_finished`` that were last found up to date under other recipes than these."""
        # Ranges of an index, column by column: "other than" would walk it all, and so would a comparison of all columns at once.
        is_same: list[sa.ColumnElement[bool]] = []
        ranges = []
        for column, recipe in zip(RECIPES, recipes, strict=True):
            for is_other in (column < recipe, column > recipe):
                ranges += [sa.select(recordings.c.sha256).where(IS_DONE, *is_same, is_other)]
            is_same.append(column == recipe)
        return self._iter_done(recordings.c.sha256.in_(sa.union_all(*ranges)))

    def _iter_done(self, is_meant: sa.ColumnElement[bool]) -> Iterator[Member]:
        query = (
            select_members().where(IS_DONE, ~is_superseded(), is_meant).order_by(recordings.c.sha256, deliveries.c.name)
        )
        with self._read() as connection:
            for row in connection.execute(query.execution_options(yield_per=1000)):
                yield member_from_row(row)

    def list_finished_named(self, names: Sequence[str], folders: Sequence[str]) -> list[str]:
        """The sha256 of every recording that is done under one of these names, or under a name below one of these folders.

        Args:
            names: Whole names.
            folders: Beginnings of names that end in a slash; an empty one fits every name.
        """
        of_names = [deliveries.c.name.in_(part) for part in split_variables(names)]
        # "0" follows "/" in the order of bytes, which SQLite has anyway: its index of names serves a range, and no sign is escaped.
        name = deliveries.c.name.collate("C") if self._engine.dialect.name == "postgresql" else deliveries.c.name
        of_folders = [(name >= folder) & (name < f"{folder[:-1]}0") if folder else sa.true() for folder in folders]
        found: dict[str, None] = {}
        with self._read() as connection:
            for is_meant in (*of_names, *of_folders):
                query = (
                    sa.select(recordings.c.sha256)
                    .select_from(join_recordings())
                    .where(recordings.c.state == State.DONE, is_meant)
                    .distinct()
                    .order_by(recordings.c.sha256)
                )
                found.update(dict.fromkeys(connection.scalars(query)))
        return list(found)

    def list_recordings_after(self, sha256: str, limit: int) -> list[tuple[str, State]]:
        """The next recordings in the order of their sha256, in whatever state: sha256 and state of each."""
        query = sa.select(recordings.c.sha256, recordings.c.state).where(recordings.c.sha256 > sha256)
        with self._read() as connection:
            rows = connection.execute(query.order_by(recordings.c.sha256).limit(limit))
            return [(row.sha256, State(row.state)) for row in rows]

    def list_names_after(self, name: str, limit: int) -> list[str]:
        """The names of the next deliveries in the database's order of names; as often as it was delivered."""
        query = sa.select(deliveries.c.name).where(deliveries.c.name > name).order_by(deliveries.c.name).limit(limit)
        with self._read() as connection:
            return list(connection.scalars(query))

    def count_totals(self) -> Totals:
        """The number of deliveries, in total and by state, as they were counted when they changed."""
        with self._read() as connection:
            found = {row.name: row.deliveries for row in connection.execute(sa.select(counts))}
        return Totals(found[INPUTS], {state: found[state] for state in State})

    def find(self, text: str, limit: int = 20) -> list[Member]:
        """Deliveries by name, part of a name, id or beginning of a sha256; the name itself first, then the newest."""
        exact_first = sa.case((deliveries.c.name == text, 0), else_=1)
        with self._read() as connection:
            ids = find_ids(connection, text, limit)
            query = select_members().where(deliveries.c.id.in_(ids))
            query = query.order_by(exact_first, deliveries.c.received_at.desc()).limit(limit)
            return [member_from_row(row) for row in connection.execute(query)]

    def list_newest(self, limit: int) -> list[Member]:
        """The newest deliveries, the newest first; those with the same time are sorted by name."""
        query = select_members().order_by(deliveries.c.received_at.desc(), deliveries.c.name).limit(limit)
        with self._read() as connection:
            return [member_from_row(row) for row in connection.execute(query)]

    def list_broken(self, limit: int | None = None) -> list[Member]:
        """The deliveries that show quarantined or failed, the newest first; all of them without a limit."""
        query = select_members().where(IS_BROKEN).order_by(deliveries.c.received_at.desc()).limit(limit)
        with self._read() as connection:
            return [member_from_row(row) for row in connection.execute(query)]
