"""The file of a result: its fields, and files that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.files import RefusedError
from benchmarks.platform.result import read_result, write_result
from tests.benchmarks.results import make_result


def test_a_written_result_is_read_again_and_has_the_documented_fields(tmp_path: Path) -> None:
    path = tmp_path / "new" / "m4_base.json"
    write_result(make_result(), path)
    assert read_result(path) == make_result()
    assert list(json.loads(path.read_text())) == [
        "timestamp",
        "architecture",
        "cpu_model",
        "model_size",
        "iterations",
        "avg_latency_ms",
        "total_time_s",
        "rps",
        "cpu_limit",
        "memory_mb",
        "details",
    ]
    assert [entry.name for entry in path.parent.iterdir()] == ["m4_base.json"]


def _remove(field: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.pop(field)


CHANGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a field is missing": (_remove("rps"), "'rps' is a required property"),
    "a text for a number": (lambda content: content.update(avg_latency_ms="500"), "the field avg_latency_ms: '500'"),
    "a field of another": (lambda content: content.update(p42=1), "p42"),
    "a negative latency": (lambda content: content["details"]["latencies_ms"].__setitem__(1, -5), "latencies_ms"),
    "no iterations": (lambda content: content.update(iterations=0), "the field iterations: 0"),
    "another time": (lambda content: content.update(timestamp="yesterday"), "the field timestamp"),
    "a missing detail": (lambda content: content["details"].pop("audio"), "the field details: 'audio'"),
    "a mean of other latencies": (
        lambda content: content.update(avg_latency_ms=50.0),
        "the field avg_latency_ms is 50, but",
    ),
    "a count of other latencies": (lambda content: content.update(iterations=50), "the field iterations is 50, but"),
    "a rate of other latencies": (lambda content: content.update(rps=2.0), "the field rps is 2, but"),
    "a total of other latencies": (
        lambda content: content.update(total_time_s=25.0),
        "the field total_time_s is 25, but",
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_changed_result_is_refused_with_its_field(case: str, tmp_path: Path) -> None:
    change, expected = CHANGED[case]
    content = json.loads(make_result().model_dump_json())
    change(content)
    path = tmp_path / "xeon.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RefusedError) as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cut off"),
        (make_result().model_dump_json().encode()[:700], "no whole JSON"),
        (b"[1, 2]", "the whole: "),
        (b'{"rps": NaN}', "has NaN where a number belongs"),
        (b"\xff\xfe\x00", "is no JSON text"),
        (b"RIFF....WAVE", "no whole JSON: line 1"),
        (b"[" * 100_000, "is no JSON text"),
    ],
)
def test_a_file_that_is_not_a_result_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.json"
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=r"foreign\.json") as caught:
        read_result(path)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="there is no such file"):
        read_result(tmp_path / "none.json")
    with pytest.raises(RefusedError, match="is a folder"):
        read_result(tmp_path)


def test_few_iterations_have_no_interval() -> None:
    assert make_result([100.0]).details.stdev_ms is None
    assert make_result([100.0, 101.0]).details.mean_interval_ms is None
    low, high = make_result([100.0, 110.0, 90.0, 105.0, 95.0]).details.mean_interval_ms or (0, 0)
    assert 90 < low < 100 < high < 110
