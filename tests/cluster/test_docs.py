"""Every block of a page that is marked for a cluster runs as it stands, against the deployment that the other tests use.

The deployment is there already, made by the same commands: ``deploy/secrets`` and ``kubectl apply`` find nothing to change. Images
are built already too, so ``docker`` is a stand-in (``tests/docs/bin/docker``). One sample takes the place of all, for speed.

    python -m pytest -n 0 tests/cluster/test_docs.py      with the environment that conftest.py names
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from speech.models.registry import Weights
from tests.cluster.conftest import Deployment, wait_until
from tests.docs.checkout import Checkout, make_checkout
from tests.docs.shell_blocks import ShellBlock, list_pages, read_page

pytestmark = pytest.mark.timeout(600)

SAMPLE = "lj-printing.mp3"  # no other test of this folder has its sound, so none finds its work done
IMAGES = {"STT_TEST_IMAGE": "localhost/stt:dev", "STT_TEST_POSTGRES_IMAGE": "localhost/stt-postgres:dev"}
"""The images that pages build and that the overlay ``local`` names."""
OVER = ("SUCCESS", "FAILURE", "CANCELED")


def uploads(block: ShellBlock) -> bool:
    return "/data/raw_audio" in block.text


def find_cluster_blocks() -> dict[str, list[ShellBlock]]:
    """Page -> its blocks for a cluster. Pages that upload come first: a backup, say, is of something."""
    found = {name: [block for block in read_page(name).blocks if block.on_cluster] for name in list_pages()}
    pages = [name for name, blocks in found.items() if blocks]
    return {name: found[name] for name in sorted(pages, key=lambda name: not any(map(uploads, found[name])))}


BLOCKS = find_cluster_blocks()


@pytest.fixture
def checkout(stt: Deployment, tmp_path: Path, base_weights: Weights) -> Checkout:
    """A copy of the project with one sample."""
    if other := {name: os.environ[name] for name in IMAGES if os.environ[name] != IMAGES[name]}:
        pytest.skip(f"pages deploy {', '.join(IMAGES.values())}, and other images are under test: {other}")
    copy = make_checkout(tmp_path / "reader", base_weights, IMAGES)
    for entry in (copy.root / "samples").iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif not entry.name.startswith(SAMPLE):
            entry.unlink()
    return copy


@pytest.mark.parametrize("page", BLOCKS)
def test_the_blocks_of_a_page_run_on_a_cluster_one_after_the_other(
    page: str, stt: Deployment, checkout: Checkout
) -> None:
    for block in BLOCKS[page]:
        assert "delete namespace" not in block.text, (
            f"{page}:{block.line} would take the deployment from the other tests"
        )
        checkout.run(block, timeout_s=400)
        if uploads(block):
            # The page tells its reader to watch until the transcripts are there.
            wait_for_transcript(stt)
    stt.wait_ready()


def wait_for_transcript(stt: Deployment) -> None:
    """Wait until the uploaded sample is transcribed and no run is at work, so that no later test takes its run for its own."""
    text = f"/data/transcripts/samples/{SAMPLE}.txt"
    wait_until(300, f"{text} on the volume", lambda: stt.run_in_code_pod("sh", "-c", f"ls {text} || true").strip())
    wait_until(120, "the end of all runs", lambda: all(run["status"] in OVER for run in stt.runs()))
    assert "printing" in stt.run_in_code_pod("cat", text).lower()
