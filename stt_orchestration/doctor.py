"""``stt doctor``: is everything here that a run needs? Each finding says what was looked at, what was found, and the remedy."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.host import Host
from benchmarks.machine import machine
from k8s_run_launcher.janitor import NoCluster, connect
from k8s_run_launcher.preflight import Look
from k8s_run_launcher.preflight import examine as look_at_cluster
from k8s_run_launcher.profiles import StepProfile, read_profiles
from recordings.ledger import Ledger, LedgerError
from recordings.store import UnknownStore, open_store
from recordings.trouble import ServerTrouble
from speech.weights import UnavailableWeights, WeightsError, resolve
from stt_orchestration.instance import InstanceUnusable, dagster_home
from stt_orchestration.settings import Settings, SettingsError, misspelled

_LOW_DISK = 2 * 1024**3
_PACKAGES = ("dagster", "dagster-k8s", "dagster-webserver", "sqlalchemy")
_DECODING = ("faster-whisper", "ctranslate2", "onnxruntime", "numpy", "av", "soundfile")
"""What decodes sound and computes: with the processor, all that a transcript's bytes depend on beside weights and options."""


class Verdict(StrEnum):
    """How a finding reads."""

    GOOD = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it (empty when nothing)."""

    subject: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which a run would need it."""
    try:
        settings = Settings.read()
    except SettingsError as error:
        yield Finding("settings", Verdict.BROKEN, str(error), "Set an allowed value, or unset the variable.")
        return
    yield Finding("settings", Verdict.GOOD, f"model {settings.model} on {settings.device} in {settings.computes_in}")
    for sentence in misspelled():
        yield Finding("settings", Verdict.NOTE, sentence, "Correct its name, or unset it.")
    if settings.emotion:
        detail = "Emotions were asked for, and this release has no model for them."
        yield Finding(
            "settings",
            Verdict.NOTE,
            detail,
            "Unset STT_EMOTION and ENABLE_EMOTION; annotations say unavailable until then.",
        )
    for check in (_store, _ledger, _dagster_home, _weights, _device):
        yield check(settings)
    yield _processor()
    yield from _versions()


def examine_cluster(image: str | None) -> Iterator[Finding]:
    """Look at the cluster that this process is in, or at that of the kubeconfig.

    Args:
        image: To pull; None: the one that the launcher of this Dagster instance starts runs with.
    """
    try:
        settings = Settings.read()
        namespace = connect()
        profiles, launched = _launcher()
    except (SettingsError, InstanceUnusable) as error:
        yield Finding("settings", Verdict.BROKEN, str(error), "Do what the message says, then look again.")
        return
    except NoCluster as error:
        yield Finding("cluster", Verdict.BROKEN, str(error), "Run it in a pod of the code location, or set KUBECONFIG.")
        return
    image = image or os.environ.get("DAGSTER_CURRENT_IMAGE") or launched
    if image is None:
        yield Finding("image", Verdict.NOTE, "No image is named, so none was pulled.", "Name it: --image NAME.")
    probes = {"database": lambda: _said(_ledger(settings)), "store": lambda: _said(_store(settings))}
    verdicts = {True: Verdict.GOOD, None: Verdict.NOTE, False: Verdict.BROKEN}
    for look in look_at_cluster(namespace, profiles, image, probes):
        yield _finding(look, verdicts[look.good])


def _finding(look: Look, verdict: Verdict) -> Finding:
    return Finding(look.subject, verdict, look.detail, look.remedy)


def _launcher() -> tuple[dict[str, StepProfile], str | None]:
    """Profiles and image as the launcher of this instance has them; the defaults where another launcher is configured."""
    from stt_orchestration.instance import instance

    with instance() as opened:
        launcher = opened.run_launcher
        stated = getattr(launcher, "step_config", {}).get("step_profiles")
        return read_profiles(stated), getattr(launcher, "job_image", None)


def _said(finding: Finding) -> str:
    if finding.verdict is Verdict.BROKEN:
        raise RuntimeError(finding.detail)
    return finding.detail


def _store(settings: Settings) -> Finding:
    try:
        store = open_store(settings.store)
        found = store.probe()
    except ServerTrouble as error:
        return Finding("store", Verdict.BROKEN, str(error), f"{error.remedy}.")
    except (OSError, UnknownStore) as error:
        return Finding(
            "store", Verdict.BROKEN, f"{settings.store}: {error}", "Make it writable, or set STT_DATA_DIR elsewhere."
        )
    if store.folder is not None and shutil.disk_usage(store.folder).free < _LOW_DISK:
        return Finding("store", Verdict.NOTE, found, "Make room: an hour of audio needs about 120 MB.")
    return Finding("store", Verdict.GOOD, found)


def _ledger(settings: Settings) -> Finding:
    try:
        ledger = Ledger.open(settings.ledger)
    except (LedgerError, OSError) as error:
        return Finding("ledger", Verdict.BROKEN, str(error), "Check STT_LEDGER_URL and that its place can be written.")
    try:
        totals = ledger.totals()
    finally:
        ledger.close()
    if not totals.reconciled:
        detail = f"{totals.inputs} deliveries, but {sum(totals.states.values())} over all states"
        return Finding("ledger", Verdict.BROKEN, detail, "Restore a backup.")
    return Finding("ledger", Verdict.GOOD, f"{ledger.address}, {totals.inputs} deliveries, every one in one state")


def _dagster_home(_: Settings) -> Finding:
    try:
        home = dagster_home()
        if _keeps_storage_elsewhere(home):
            return Finding("dagster home", Verdict.GOOD, f"{home}; its dagster.yaml keeps storage in PostgreSQL")
        with tempfile.TemporaryFile(dir=home):
            pass
    except (OSError, SettingsError) as error:
        return Finding("dagster home", Verdict.BROKEN, str(error), "Set DAGSTER_HOME to a folder that can be written.")
    return Finding("dagster home", Verdict.GOOD, str(home))


def _keeps_storage_elsewhere(home: Path) -> bool:
    """Then nothing is written to the home, which on a cluster is part of a read-only root file system."""
    import yaml

    file = home / "dagster.yaml"
    stated = yaml.safe_load(file.read_text()) if file.exists() else None
    storage = (stated or {}).get("storage") or {}
    return "postgres" in storage or (storage.get("custom") or {}).get("class") == "PatientPostgresStorage"


def _weights(settings: Settings) -> Finding:
    heard: list[str] = []
    say: Callable[[str], None] = heard.append
    try:
        weights = resolve(
            settings.model,
            model_dir=settings.model_dir,
            cache_dir=settings.cache_dir,
            allow_download=False,
            progress=say,
        )
    except UnavailableWeights:
        detail = f"{settings.model} is not on this machine yet"
        return Finding(
            "weights", Verdict.NOTE, detail, f"The first run fetches it; or now: stt fetch-model {settings.model}"
        )
    except WeightsError as error:
        return Finding("weights", Verdict.BROKEN, str(error), "Do what the message says, then look again.")
    return Finding("weights", Verdict.GOOD, f"{weights.name} in {weights.path} ({weights.source}), checksums right")


def _device(settings: Settings) -> Finding:
    import ctranslate2

    if settings.device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        remedy = "Check nvidia-smi and the driver, and in a pod that it asks for nvidia.com/gpu; or set STT_DEVICE=cpu on purpose."
        return Finding("device", Verdict.BROKEN, "cuda was asked for and no GPU is visible", remedy)
    supported = ctranslate2.get_supported_compute_types(settings.device)
    if settings.computes_in not in supported:
        remedy = f"Set STT_COMPUTE_TYPE to one of {', '.join(sorted(supported))}."
        return Finding("device", Verdict.BROKEN, f"{settings.device} cannot compute in {settings.computes_in}", remedy)
    return Finding(
        "device", Verdict.GOOD, f"{settings.device}, {os.cpu_count()} cores, {settings.computes_in} supported"
    )


def _processor() -> Finding:
    here = machine(Host.here())
    sets = ", ".join(here.instruction_sets) or "no instruction set that we know of"
    forced = os.environ.get("CT2_FORCE_CPU_ISA")
    detail = f"{here.cpu_model} ({here.architecture}): {sets}" + (f"; CT2_FORCE_CPU_ISA={forced}" if forced else "")
    return Finding("processor", Verdict.GOOD, detail)


def _versions() -> Iterator[Finding]:
    found = [f"python {platform.python_version()}"]
    for package in (*_DECODING, *_PACKAGES):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            yield Finding(
                "versions", Verdict.BROKEN, f"{package} is not installed", "Install requirements.lock (make setup)."
            )
    yield Finding("versions", Verdict.GOOD, ", ".join(found))
