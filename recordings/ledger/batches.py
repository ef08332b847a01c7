"""Deliveries and batches in the ledger: what arrived, what waits, who takes it. A batch takes all its deliveries or none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from operator import itemgetter

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from recordings.batches import Delivery
from recordings.ledger.engine import CLOCKS_DIFFER_S, LedgerEngine, retry_deadlocks, split_variables
from recordings.ledger.rows import (
    Member,
    delivery_from_row,
    is_present,
    is_superseded,
    member_from_row,
    select_members,
)
from recordings.ledger.schema import INPUTS, IS_WAITING, batch_members, batches, deliveries
from recordings.ledger.upkeep import change_counts, hold, update_derived
from recordings.states import State


class BatchLedger(LedgerEngine):
    """Registers deliveries and makes batches of them."""

    @retry_deadlocks  # another process may bring a delivery of one of these names after their rows were held
    def register(self, arrivals: Iterable[Delivery]) -> int:
        """Note deliveries; those already known stay as they are. Returns how many are new.

        A known delivery that was superseded or missing and is now present again counts as new: it keeps its row and waits for a
        batch again.
        """
        rows = [
            {
                "id": d.id,
                "name": d.name,
                "size": d.size,
                "version": d.version,
                "attempt": 0,
                "flags": {},
                "placed": {},
                "received_at": time.time(),
                "state": State.RECEIVED,
                "open": True,
            }
            for d in arrivals
        ]
        if not rows:
            return 0
        # ``received_at`` has the given order. The rows are written in the order of their ids, so two processes that register the
        # same deliveries cannot deadlock.
        rows.sort(key=itemgetter("id"))
        with self._write() as connection:
            for some in split_variables(sorted({str(row["name"]) for row in rows})):
                hold(connection, (), deliveries.c.name.in_(some))
            returned: list[str] = []
            for ids in split_variables([str(row["id"]) for row in rows]):
                absent = deliveries.c.id.in_(ids) & ~is_present()
                update = (
                    sa.update(deliveries)
                    .where(absent)
                    .values(
                        sha256=None,
                        batch_key=None,
                        attempt=deliveries.c.attempt + 1,
                        kind=None,
                        reason=None,
                        flags={},
                        placed={},  # the outputs under this name were made from other bytes
                        received_at=_date_after_others(),
                    )
                    .returning(deliveries.c.id)
                )
                returned.extend(connection.execute(update).scalars())
            insert = self._insert_new(deliveries).returning(deliveries.c.id)
            inserted = list(connection.execute(insert, rows).scalars())
            for ids in split_variables(inserted):
                # After a clock was set back, the newest delivery of a name must not seem to be older than those before.
                is_late = deliveries.c.id.in_(ids) & (_find_newest_other(ids) >= deliveries.c.received_at)
                connection.execute(sa.update(deliveries).where(is_late).values(received_at=_date_after_others(ids)))
            change_counts(connection, {INPUTS: len(inserted), State.RECEIVED: len(inserted)})
            for ids in split_variables([*returned, *inserted]):
                # Those that came before under these names are superseded now: nobody waits for their outputs any more.
                names = sa.select(deliveries.c.name).where(deliveries.c.id.in_(ids)).scalar_subquery()
                update_derived(connection, deliveries.c.name.in_(names))
        return len(returned) + len(inserted)

    def find_known(self, ids: Sequence[str]) -> set[str]:
        """The ids of those deliveries that the ledger knows as the current file under their name.

        ``register`` would add the others, or re-activate them.
        """
        known: set[str] = set()
        with self._read() as connection:
            for id_block in split_variables(ids):
                is_current = deliveries.c.id.in_(id_block) & is_present()
                known.update(connection.scalars(sa.select(deliveries.c.id).where(is_current)))
        return known

    def list_waiting(self, limit: int) -> list[Delivery]:
        """The oldest deliveries that are in no batch, including those reset for a retry."""
        query = (
            sa.select(deliveries).where(IS_WAITING).order_by(deliveries.c.received_at, deliveries.c.name).limit(limit)
        )
        with self._read() as connection:
            return [delivery_from_row(row) for row in connection.execute(query)]

    def count_waiting(self) -> int:
        """How many deliveries are in no batch."""
        with self._read() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(deliveries).where(IS_WAITING)) or 0

    def claim(self, key: str, members: Sequence[Delivery], origin: str) -> bool:
        """Make a batch of waiting deliveries: of all of them, or nothing when another process took one first."""
        with self._write() as connection:
            claimed = 0
            for id_block in split_variables(sorted(d.id for d in members)):
                is_free = deliveries.c.id.in_(id_block) & deliveries.c.batch_key.is_(None)
                # PostgreSQL locks the rows in this order, so two claims of the same deliveries cannot deadlock.
                connection.execute(
                    sa.select(deliveries.c.id).where(is_free).order_by(deliveries.c.id).with_for_update()
                )
                claimed += connection.execute(sa.update(deliveries).where(is_free).values(batch_key=key)).rowcount
            if claimed != len(members):
                connection.rollback()
                return False
            _insert_batch(connection, key, members, origin)
        return True

    def reclaim(self, key: str, members: Sequence[Delivery], origin: str) -> bool:
        """Make a batch of deliveries that other batches hold, or nothing when another process took one of them first.

        Args:
            key: The new batch.
            members: The deliveries, each with its next attempt.
            origin: Who creates the batch: the name of a sensor, a schedule or a command.
        """
        with self._write() as connection:
            for member in sorted(members, key=lambda member: member.id):  # ordered, so that two calls cannot deadlock
                is_unchanged = (deliveries.c.id == member.id) & (deliveries.c.attempt == member.attempt - 1)
                values = {"batch_key": key, "attempt": member.attempt}
                if not connection.execute(sa.update(deliveries).where(is_unchanged).values(**values)).rowcount:
                    connection.rollback()
                    return False
            _insert_batch(connection, key, members, origin)
        return True

    def list_members(self, batch_key: str) -> list[Member]:
        """The deliveries of a batch in its order, each with its recording.

        Raises:
            LookupError: There is no such batch.
        """
        query = (
            select_members(is_superseded().label("superseded"))
            .join(batch_members, batch_members.c.delivery_id == deliveries.c.id)
            .where(batch_members.c.batch_key == batch_key)
            .order_by(batch_members.c.position)
        )
        with self._read() as connection:
            members = [member_from_row(row) for row in connection.execute(query)]
        if not members:
            raise LookupError(f"There is no batch {batch_key!r} in the ledger {self.address}.")
        return members

    def find_newest_batch(self, delivery_id: str) -> str | None:
        """The newest batch that a delivery is or was in; None where it waits for its first one."""
        query = (
            sa.select(batches.c.key)
            .join(batch_members, batch_members.c.batch_key == batches.c.key)
            .where(batch_members.c.delivery_id == delivery_id)
            .order_by(batches.c.made_at.desc())
            .limit(1)
        )
        with self._read() as connection:
            return connection.scalar(query)

    def count_members(self, batch_key: str) -> int:
        """How many deliveries a batch was made of, whatever their state is now."""
        query = sa.select(sa.func.count()).select_from(batch_members).where(batch_members.c.batch_key == batch_key)
        with self._read() as connection:
            return connection.scalar(query) or 0

    def count_open_batches(self) -> int:
        """How many batches have a member that has not ended."""
        with self._read() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(_select_open_batches().subquery())) or 0

    def list_open_batches(self, made_before: float, limit: int) -> list[str]:
        """Batches made before a time (seconds since the epoch) with a member that has not ended, oldest first.

        Those that seem to be made in the future are among them: the clock was set back after they were made.
        """
        query = (
            sa.select(batches.c.key)
            .where(
                (batches.c.made_at < made_before) | (batches.c.made_at > time.time() + CLOCKS_DIFFER_S),
                batches.c.key.in_(_select_open_batches()),
            )
            .order_by(batches.c.made_at)
            .limit(limit)
        )
        with self._read() as connection:
            return list(connection.scalars(query))


def _select_open_batches() -> sa.Select[tuple[str | None]]:
    return sa.select(deliveries.c.batch_key).where(deliveries.c.open, ~IS_WAITING).distinct()


_OTHER = deliveries.alias("other")


def _find_newest_other(ids: Sequence[str] = ()) -> sa.ScalarSelect[float]:
    """When the newest other delivery of a delivery's name was received, without those of ``ids``; null where there is none."""
    is_other = (_OTHER.c.name == deliveries.c.name) & (_OTHER.c.id != deliveries.c.id) & _OTHER.c.id.not_in(ids)
    return sa.select(sa.func.max(_OTHER.c.received_at)).where(is_other).correlate(deliveries).scalar_subquery()


def _date_after_others(ids: Sequence[str] = ()) -> sa.ColumnElement[float]:
    """Now, or the moment after the newest other delivery of that name, whichever is later."""
    newest, now = _find_newest_other(ids), time.time()
    return sa.case((newest >= now, newest + 0.001), else_=now)


def _insert_batch(connection: Connection, key: str, members: Sequence[Delivery], origin: str) -> None:
    connection.execute(sa.insert(batches).values(key=key, origin=origin, made_at=time.time()))
    connection.execute(
        sa.insert(batch_members),
        [{"batch_key": key, "position": i, "delivery_id": d.id} for i, d in enumerate(members)],
    )
