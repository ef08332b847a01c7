"""The ratio of two platforms: its direction, and results that cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.files import RefusedError
from benchmarks.platform.ratio import compare_platforms, compute_ratio, read_ratio, write_ratio
from benchmarks.platform.result import Audio, BenchmarkResult, WeightsUsed, write_result
from speech.transcript import Options
from tests.benchmarks.results import make_result

XEON = {"ids": ("two",), "cpu_model": "Intel Xeon"}
SLOW = [200.0, 220.0, 180.0, 210.0, 190.0]


def _write(path: Path, result: BenchmarkResult) -> Path:
    write_result(result, path)
    return path


def test_a_platform_half_as_fast_has_the_ratio_two(tmp_path: Path) -> None:
    a = _write(tmp_path / "m4_base_2024-12-02.json", make_result())
    b = _write(tmp_path / "xeon_base_2024-12-02.json", make_result(SLOW, **XEON))
    (ratio,) = compare_platforms(a, b).ratios
    assert ratio.ratio == 2.0
    assert (ratio.a.platform, ratio.b.platform) == ("m4_base_2024-12-02", "xeon_base_2024-12-02")
    assert ratio.interval[0] < 2.0 < ratio.interval[1]
    (inverse,) = compare_platforms(b, a).ratios
    assert inverse.ratio == 0.5
    path = tmp_path / "ratio_config.json"
    config = compare_platforms(a, b)
    write_ratio(config, path)
    assert read_ratio(path) == config


DIFFERENCES: dict[str, dict[str, Any]] = {
    "details.weights.sha256": {"weights": WeightsUsed(name="base", sha256="b" * 64, revision=None)},
    "details.audio.sha256": {"audio": Audio(name="a.wav", sha256="b" * 64, seconds=30.0)},
    "details.options.beam_size": {"options": Options(beam_size=1)},
    "details.options.compute_type": {"options": Options(compute_type="float32")},
    "details.engine_version": {"engine_version": "3"},
    "details.workers": {"workers": 2},
    "cpu_limit": {"cpu_limit": 2},
}


@pytest.mark.parametrize("field", DIFFERENCES)
def test_runs_that_differ_are_refused_with_the_field(field: str) -> None:
    with pytest.raises(RefusedError, match=f"cannot be compared: {field} is .* in m4 and .* in xeon"):
        compute_ratio(("m4", make_result()), ("xeon", make_result(SLOW, **XEON, **DIFFERENCES[field])))


def test_different_models_are_refused_and_different_names_of_the_same_model_are_accepted() -> None:
    with pytest.raises(RefusedError, match="compared: model_size is base in m4 and small in xeon; details"):
        compute_ratio(("m4", make_result()), ("xeon", make_result(SLOW, model="small", **XEON)))
    named = make_result(SLOW, **XEON).model_copy(update={"model_size": "my-folder"})
    assert compute_ratio(("m4", make_result()), ("xeon", named)).ratio == 2.0


def test_two_results_of_one_machine_are_refused() -> None:
    with pytest.raises(RefusedError, match="x and y were measured on one machine"):
        compute_ratio(("x", make_result()), ("y", make_result(SLOW)))
    with pytest.raises(RefusedError, match="cannot be told to be two machines"):
        compute_ratio(("x", make_result(ids=())), ("y", make_result(SLOW, ids=("other",))))
    assert compute_ratio(("x", make_result()), ("y", make_result(ids=("another of the type",)))).ratio == 1.0


def test_too_few_iterations_are_refused() -> None:
    with pytest.raises(RefusedError, match="xeon: iterations is 4, and a ratio needs at least 5"):
        compute_ratio(("m4", make_result()), ("xeon", make_result(SLOW[:4], **XEON)))


def test_harmless_differences_are_noted() -> None:
    slow_result = make_result(SLOW, **XEON, versions={"ctranslate2": "4.7.0"}, partial=True, iterations_asked=50)
    notes = compute_ratio(("m4", make_result()), ("xeon", slow_result)).notes
    assert notes == ("xeon: interrupted after 5 of 50 iterations.", "ctranslate2 is 4.6.0 in m4 and 4.7.0 in xeon.")


def test_folders_are_paired_by_model_and_recording_and_the_newest_counts(tmp_path: Path) -> None:
    m4, xeon = tmp_path / "m4", tmp_path / "xeon"
    _write(m4 / "m4_base_old.json", make_result([1.0] * 5))
    _write(m4 / "m4_base_new.json", make_result(timestamp="2025-01-01T00:00:00Z"))
    _write(m4 / "m4_small.json", make_result(SLOW, model="small"))
    (m4 / "ratio_config.json").write_text("{}")
    _write(xeon / "xeon_small.json", make_result([s * 3 for s in SLOW], model="small", **XEON))
    _write(xeon / "xeon_base.json", make_result(SLOW, **XEON))
    _write(xeon / "xeon_medium.json", make_result(SLOW, model="medium", **XEON))
    ratios = compare_platforms(m4, xeon).ratios
    assert [(ratio.model_size, ratio.a.platform, ratio.ratio) for ratio in ratios] == [
        ("base", "m4_base_new", 2.0),
        ("small", "m4_small", 3.0),
    ]
    with pytest.raises(RefusedError, match="one is a folder"):
        compare_platforms(m4, xeon / "xeon_base.json")
    (xeon / "xeon_base.json").unlink()
    (xeon / "xeon_small.json").unlink()
    with pytest.raises(RefusedError, match="there are base, small and medium"):
        compare_platforms(m4, xeon)
    _write(m4 / "stray.json", make_result(SLOW, **XEON))
    with pytest.raises(RefusedError, match="results of several platforms: Apple M4, Intel Xeon"):
        compare_platforms(m4, xeon)


def test_a_wrong_ratio_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ratio_config.json"
    write_ratio(
        compare_platforms(
            _write(tmp_path / "a.json", make_result()), _write(tmp_path / "b.json", make_result(SLOW, **XEON))
        ),
        path,
    )
    content = json.loads(path.read_text())
    content["ratios"][0]["ratio"] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(RefusedError, match=r"ratio_config.json.*the field ratios\[0\].ratio: 0"):
        read_ratio(path)
