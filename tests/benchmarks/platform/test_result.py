"""A result's file: what others read in it, and which files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from benchmarks.files import RefusedError, check_output_file
from benchmarks.platform.result import read_result, write_result
from benchmarks.platform.schemas import SCHEMAS, text_of
from tests.benchmarks.results import make_result


@pytest.mark.parametrize(("path", "model"), SCHEMAS.items(), ids=lambda item: getattr(item, "stem", ""))
def test_the_shipped_schema_is_the_record_s(path: Path, model: type[BaseModel]) -> None:
    assert path.read_text(encoding="utf-8") == text_of(model), "run python -m benchmarks.platform.schemas"


def test_what_was_written_is_read_again_and_has_the_fields_that_others_read(tmp_path: Path) -> None:
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


def _without(field: str) -> Callable[[dict[str, Any]], object]:
    return lambda found: found.pop(field)


CHANGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a field is missing": (_without("rps"), "'rps' is a required property"),
    "a text for a number": (lambda found: found.update(avg_latency_ms="500"), "the field avg_latency_ms: '500'"),
    "a field of another": (lambda found: found.update(p42=1), "p42"),
    "a negative latency": (lambda found: found["details"]["latencies_ms"].__setitem__(1, -5), "latencies_ms"),
    "no iterations": (lambda found: found.update(iterations=0), "the field iterations: 0"),
    "another time": (lambda found: found.update(timestamp="yesterday"), "the field timestamp"),
    "a missing detail": (lambda found: found["details"].pop("audio"), "the field details: 'audio'"),
    "a mean of other latencies": (
        lambda found: found.update(avg_latency_ms=50.0),
        "the field avg_latency_ms is 50, but",
    ),
    "a count of other latencies": (lambda found: found.update(iterations=50), "the field iterations is 50, but"),
    "a rate of other latencies": (lambda found: found.update(rps=2.0), "the field rps is 2, but"),
    "a total of other latencies": (lambda found: found.update(total_time_s=25.0), "the field total_time_s is 25, but"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_changed_file_is_refused_with_its_field(case: str, tmp_path: Path) -> None:
    change, expected = CHANGED[case]
    found = json.loads(make_result().model_dump_json())
    change(found)
    path = tmp_path / "xeon.json"
    path.write_text(json.dumps(found))
    with pytest.raises(RefusedError) as refused:
        read_result(path)
    assert str(path) in str(refused.value)
    assert expected in str(refused.value)


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
def test_what_is_no_result_is_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.json"
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=r"foreign\.json") as refused:
        read_result(path)
    assert expected in str(refused.value)
    assert len(str(refused.value)) < 600 + len(str(path))


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="there is no such file"):
        read_result(tmp_path / "none.json")
    with pytest.raises(RefusedError, match="is a folder"):
        read_result(tmp_path)


def test_a_place_is_claimed_without_leaving_anything(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x.json"
    check_output_file(target, overwrite=False)
    assert list(tmp_path.iterdir()) == []
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(RefusedError, match="is there already"):
        check_output_file(target, overwrite=False)
    check_output_file(target, overwrite=True)
    assert target.read_text() == "mine"


def test_few_iterations_have_no_interval() -> None:
    assert make_result([100.0]).details.stdev_ms is None
    assert make_result([100.0, 101.0]).details.mean_interval_ms is None
    low, high = make_result([100.0, 110.0, 90.0, 105.0, 95.0]).details.mean_interval_ms or (0, 0)
    assert 90 < low < 100 < high < 110
