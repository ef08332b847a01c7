"""A call that is cancelled or too late says so."""

from __future__ import annotations

import pytest

from speech.asr.calls import Call, CallCancelledError, DeadlineExceededError


def test_a_call_without_a_deadline_goes_on_until_it_is_cancelled() -> None:
    call = Call()
    events: list[str] = []
    call.on_cancel(lambda: events.append("first"))
    call.check()
    assert call.remaining_s is None
    call.cancel()
    call.cancel()
    call.on_cancel(lambda: events.append("later"))
    assert events == ["first", "later"], "each callback once, a late one at once"
    with pytest.raises(CallCancelledError, match="cancelled by its caller"):
        call.check()


def test_a_deadline_that_has_passed_is_an_error_that_names_it() -> None:
    call = Call(timeout_s=0.0)
    assert call.remaining_s == 0.0
    with pytest.raises(DeadlineExceededError, match="not finished within 0 s"):
        call.check()
    later = Call(timeout_s=100.0)
    later.check()
    assert later.remaining_s is not None
    assert 90 < later.remaining_s <= 100
