"""Blocks run in a copy of the project, stop where they fail, and leave nothing running."""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from speech.models.registry import Weights
from tests.docs.checkout import Checkout, ShellBlockError, make_checkout
from tests.docs.shell_blocks import PROJECT, ShellBlock


def make_block(text: str) -> ShellBlock:
    return ShellBlock("docs/page.md", 7, text)


def test_a_block_that_fails_is_named_with_its_text_and_what_it_printed(checkout: Checkout) -> None:
    block = make_block("echo before\nfalse\necho after\n")
    with pytest.raises(ShellBlockError) as error:
        checkout.run(block)
    message = str(error.value)
    assert message.startswith("docs/page.md:7: this block exits with 1.")
    assert block.text in message
    assert message.endswith("What it printed:\n\nbefore\n")


@pytest.mark.parametrize("text", ["echo $NO_SUCH_VARIABLE", "false | cat", "no-such-command\ntrue"])
def test_a_block_fails_of_what_a_shell_would_pass_over(text: str, checkout: Checkout) -> None:
    with pytest.raises(ShellBlockError):
        checkout.run(make_block(text))


def test_a_block_that_does_not_end_is_ended(checkout: Checkout) -> None:
    with pytest.raises(ShellBlockError, match=r"page\.md:7: this block has not ended after 1 s"):
        checkout.run(make_block("sleep 300"), timeout_s=1)


def test_what_a_block_leaves_running_is_ended(checkout: Checkout) -> None:
    process = Path("/proc") / checkout.run(make_block("sleep 300 & echo $!")).strip()
    end = time.monotonic() + 10
    while is_running(process) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(process)


def is_running(process: Path) -> bool:
    """Whether a process of /proc runs. A killed one may stay as a zombie, where a container's first process reaps none."""
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except FileNotFoundError:
        return False


def test_a_block_sees_a_copy_of_the_project_and_a_home_of_its_own(checkout: Checkout) -> None:
    # From another folder, since Python looks in the current one before all others.
    where = "import stt_orchestration.settings as s; print(s.PROJECT_ROOT, s.Settings.read().data_dir)"
    printed = checkout.run(make_block(f'pwd\ncd\n"$OLDPWD/.venv/bin/python" -c "{where}"\npwd\nls recordings'))
    root, home = checkout.root, checkout.root.parent / "home"
    assert printed.split() == [str(root), str(root), str(root / "data"), str(home), "speech.opus"]
    assert not (root / ".git").exists()
    assert (root / "README.md").read_bytes() == (PROJECT / "README.md").read_bytes()


def test_settings_of_the_developer_do_not_reach_a_block(
    tmp_path: Path, base_weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "STT_DATA_DIR",
        "STT_STORE_URL",
        "DAGSTER_HOME",
        "XDG_CONFIG_HOME",
        "WHISPER_MODEL",
        "VENV",
        "MAKEFLAGS",
    ):
        monkeypatch.setenv(name, "/developer")
    assert "/developer" not in make_checkout(tmp_path / "reader", base_weights).run(make_block("env"))


def test_make_takes_the_environment_of_the_tests_for_complete(checkout: Checkout) -> None:
    assert checkout.run(make_block("make setup .venv/ready-dev")).count("Nothing to be done") == 1


def test_a_block_installs_nothing_into_the_environment_of_the_tests(checkout: Checkout) -> None:
    package = checkout.root / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[project]\nname = "nothing-of-ours"\nversion = "1"\n[build-system]\nrequires = ["hatchling"]\n'
        'build-backend = "hatchling.build"\n[tool.hatch.build.targets.wheel]\nbypass-selection = true\n'
    )
    printed = checkout.run(make_block(".venv/bin/python -m pip install --no-build-isolation --no-deps ./package"))
    assert "Would install nothing-of-ours-1" in printed
    with pytest.raises(ShellBlockError):
        checkout.run(make_block(".venv/bin/python -m pip show nothing-of-ours"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("build -t localhost/stt:1 -f deploy/Dockerfile .", ""),
        ("build -t localhost/postgres:1 -f deploy/Dockerfile --target postgres .", ""),
        ("build -t localhost/stt:1 -f deploy/Dockerfile --target postgres .", "IMAGE is localhost/postgres:1"),
        ("build -t localhost/stt:2 -f deploy/Dockerfile .", "this builds localhost/stt:2"),
        ("build -t localhost/stt:1 -f Dockerfile .", "there is no file Dockerfile"),
        ("build -t localhost/stt:1 -f deploy/Dockerfile --target gpu .", "has no stage gpu; it has environment,"),
        ("run localhost/stt:1", "invalid choice: 'run'"),
    ],
)
def test_docker_builds_nothing_and_checks_file_stage_and_image(
    arguments: str, problem: str, checkout: Checkout
) -> None:
    images = {"STT_TEST_IMAGE": "localhost/stt:1", "STT_TEST_POSTGRES_IMAGE": "localhost/postgres:1"}
    on_cluster = dataclasses.replace(checkout, environment=checkout.environment | images)
    block = make_block(f"docker {arguments}")
    with pytest.raises(ShellBlockError, match=problem) if problem else nullcontext():
        on_cluster.run(block)


def test_docker_does_nothing_away_from_a_cluster(checkout: Checkout) -> None:
    with pytest.raises(ShellBlockError, match="a block that builds images is marked for a cluster"):
        checkout.run(make_block("docker build -t localhost/stt:dev -f deploy/Dockerfile ."))
