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

from benchmarks.platform.host import Host
from benchmarks.platform.machine import describe_machine
from k8s_run_launcher.cluster import NoClusterError, connect_to_cluster
from k8s_run_launcher.deprecated_profiles import DEPRECATED_PROFILES, list_unstated_steps
from k8s_run_launcher.preflight import PreflightResult
from k8s_run_launcher.preflight import run_preflight as look_at_cluster
from k8s_run_launcher.profiles import StepProfile, read_profiles
from recordings.ledger.ledger import Ledger, LedgerError
from recordings.storage.base import UnknownStoreError
from recordings.storage.errors import StorageUnavailableError
from recordings.storage.open import open_store
from speech.models.registry import UnavailableWeightsError, WeightsError, resolve
from stt_orchestration.instance import InstanceUnusableError, dagster_home
from stt_orchestration.settings import Settings, SettingsError, find_misspelled

_LOW_DISK = 2 * 1024**3
_PACKAGES = ("dagster", "dagster-k8s", "dagster-webserver", "sqlalchemy")
_DECODING = ("faster-whisper", "ctranslate2", "onnxruntime", "numpy", "av", "soundfile")
"""What decodes sound and computes: with the processor, all that a transcript's bytes depend on beside weights and options."""


class CheckStatus(StrEnum):
    """How a finding reads."""

    GOOD = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """What was looked at, what was found, and what to do about it (empty when nothing)."""

    subject: str
    status: CheckStatus
    detail: str
    remedy: str = ""


def check_installation() -> Iterator[DoctorResult]:
    """Look at everything, in the order in which a run would need it."""
    try:
        settings = Settings.read()
    except SettingsError as error:
        yield DoctorResult("settings", CheckStatus.BROKEN, str(error), "Set an allowed value, or unset the variable.")
        return
    yield DoctorResult(
        "settings",
        CheckStatus.GOOD,
        f"model {settings.model} on {settings.device} in {settings.effective_compute_type}",
    )
    for sentence in find_misspelled():
        yield DoctorResult("settings", CheckStatus.NOTE, sentence, "Correct its name, or unset it.")
    if settings.emotion:
        detail = "Emotions were asked for, and this release has no model for them."
        yield DoctorResult(
            "settings",
            CheckStatus.NOTE,
            detail,
            "Unset STT_EMOTION and ENABLE_EMOTION; annotations say unavailable until then.",
        )
    for check in (_check_store, _check_ledger, _check_dagster_home, _check_weights, _check_device):
        yield check(settings)
    yield _processor()
    yield from _check_versions()


def check_cluster(image: str | None) -> Iterator[DoctorResult]:
    """Look at the cluster that this process is in, or at that of the kubeconfig.

    Args:
        image: To pull; None: the one that the launcher of this Dagster instance starts runs with.
    """
    try:
        settings = Settings.read()
        namespace = connect_to_cluster()
        profiles, launched, unstated = _read_launcher()
    except (SettingsError, InstanceUnusableError) as error:
        yield DoctorResult("settings", CheckStatus.BROKEN, str(error), "Do what the message says, then look again.")
        return
    except NoClusterError as error:
        yield DoctorResult(
            "cluster", CheckStatus.BROKEN, str(error), "Run it in a pod of the code location, or set KUBECONFIG."
        )
        return
    if unstated:
        yield DoctorResult(
            "step profiles",
            CheckStatus.NOTE,
            f"dagster.yaml states no whole profile of {', '.join(unstated)}: what is missing is as in 0.1.0, until 0.3.0.",
            "Copy step_profiles from deploy/base/dagster.yaml, and change what is different on your cluster.",
        )
    image = image or os.environ.get("DAGSTER_CURRENT_IMAGE") or launched
    if image is None:
        yield DoctorResult(
            "image", CheckStatus.NOTE, "No image is named, so none was pulled.", "Name it: --image NAME."
        )
    probes = {
        "database": lambda: _get_detail_or_raise(_check_ledger(settings)),
        "store": lambda: _get_detail_or_raise(_check_store(settings)),
    }
    verdicts = {True: CheckStatus.GOOD, None: CheckStatus.NOTE, False: CheckStatus.BROKEN}
    for look in look_at_cluster(namespace, profiles, image, probes):
        yield _from_preflight(look, verdicts[look.passed])


def _from_preflight(result: PreflightResult, verdict: CheckStatus) -> DoctorResult:
    return DoctorResult(result.subject, verdict, result.detail, result.remedy)


def _read_launcher() -> tuple[dict[str, StepProfile], str | None, list[str]]:
    """What the launcher of this instance has.

    Returns:
        The profiles (of a launcher that has none: those of 0.1.0), the image, and the steps whose profile ``dagster.yaml`` leaves
        to us in part or as a whole.
    """
    from stt_orchestration.instance import open_instance

    with open_instance() as opened:
        launcher = opened.run_launcher
        config = getattr(launcher, "step_config", None)  # None: on a laptop another launcher is configured
        stated = (config or {}).get("step_profiles")
        unstated = [] if config is None else list_unstated_steps(stated)
        return read_profiles(DEPRECATED_PROFILES, stated), getattr(launcher, "job_image", None), unstated


def _get_detail_or_raise(finding: DoctorResult) -> str:
    if finding.status is CheckStatus.BROKEN:
        raise RuntimeError(finding.detail)
    return finding.detail


def _check_store(settings: Settings) -> DoctorResult:
    try:
        store = open_store(settings.store)
        found = store.probe()
    except StorageUnavailableError as error:
        return DoctorResult("store", CheckStatus.BROKEN, str(error), f"{error.remedy}.")
    except (OSError, UnknownStoreError) as error:
        return DoctorResult(
            "store",
            CheckStatus.BROKEN,
            f"{settings.store}: {error}",
            "Make it writable, or set STT_DATA_DIR elsewhere.",
        )
    if store.folder is not None and shutil.disk_usage(store.folder).free < _LOW_DISK:
        return DoctorResult("store", CheckStatus.NOTE, found, "Make room: an hour of audio needs about 120 MB.")
    return DoctorResult("store", CheckStatus.GOOD, found)


def _check_ledger(settings: Settings) -> DoctorResult:
    try:
        ledger = Ledger.open(settings.ledger)
    except (LedgerError, OSError) as error:
        return DoctorResult(
            "ledger", CheckStatus.BROKEN, str(error), "Check STT_LEDGER_URL and that its place can be written."
        )
    try:
        totals = ledger.count_totals()
    finally:
        ledger.close()
    if not totals.is_consistent:
        detail = f"{totals.inputs} deliveries, but {sum(totals.states.values())} over all states"
        return DoctorResult("ledger", CheckStatus.BROKEN, detail, "Restore a backup.")
    return DoctorResult(
        "ledger", CheckStatus.GOOD, f"{ledger.address}, {totals.inputs} deliveries, every one in one state"
    )


def _check_dagster_home(_: Settings) -> DoctorResult:
    try:
        home = dagster_home()
        if _has_postgres_storage(home):
            return DoctorResult(
                "dagster home", CheckStatus.GOOD, f"{home}; its dagster.yaml keeps storage in PostgreSQL"
            )
        with tempfile.TemporaryFile(dir=home):
            pass
    except (OSError, SettingsError) as error:
        return DoctorResult(
            "dagster home", CheckStatus.BROKEN, str(error), "Set DAGSTER_HOME to a folder that can be written."
        )
    return DoctorResult("dagster home", CheckStatus.GOOD, str(home))


def _has_postgres_storage(home: Path) -> bool:
    """Then nothing is written to the home, which on a cluster is part of a read-only root file system."""
    import yaml

    file = home / "dagster.yaml"
    stated = yaml.safe_load(file.read_text()) if file.exists() else None
    storage = (stated or {}).get("storage") or {}
    return "postgres" in storage or (storage.get("custom") or {}).get("class") in {
        "RetryingPostgresStorage",
        "PatientPostgresStorage",
    }


def _check_weights(settings: Settings) -> DoctorResult:
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
    except UnavailableWeightsError:
        detail = f"{settings.model} is not on this machine yet"
        return DoctorResult(
            "weights", CheckStatus.NOTE, detail, f"The first run fetches it; or now: stt fetch-model {settings.model}"
        )
    except WeightsError as error:
        return DoctorResult("weights", CheckStatus.BROKEN, str(error), "Do what the message says, then look again.")
    return DoctorResult(
        "weights", CheckStatus.GOOD, f"{weights.name} in {weights.path} ({weights.source}), checksums right"
    )


def _check_device(settings: Settings) -> DoctorResult:
    import ctranslate2

    if settings.device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        remedy = "Check nvidia-smi and the driver, and in a pod that it asks for nvidia.com/gpu; or set STT_DEVICE=cpu on purpose."
        return DoctorResult("device", CheckStatus.BROKEN, "cuda was asked for and no GPU is visible", remedy)
    supported = ctranslate2.get_supported_compute_types(settings.device)
    if settings.effective_compute_type not in supported:
        remedy = f"Set STT_COMPUTE_TYPE to one of {', '.join(sorted(supported))}."
        return DoctorResult(
            "device",
            CheckStatus.BROKEN,
            f"{settings.device} cannot compute in {settings.effective_compute_type}",
            remedy,
        )
    return DoctorResult(
        "device",
        CheckStatus.GOOD,
        f"{settings.device}, {os.cpu_count()} cores, {settings.effective_compute_type} supported",
    )


def _processor() -> DoctorResult:
    here = describe_machine(Host.here())
    sets = ", ".join(here.instruction_sets) or "no instruction set that we know of"
    forced = os.environ.get("CT2_FORCE_CPU_ISA")
    detail = f"{here.cpu_model} ({here.architecture}): {sets}" + (f"; CT2_FORCE_CPU_ISA={forced}" if forced else "")
    return DoctorResult("processor", CheckStatus.GOOD, detail)


def _check_versions() -> Iterator[DoctorResult]:
    found = [f"python {platform.python_version()}"]
    for package in (*_DECODING, *_PACKAGES):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            yield DoctorResult(
                "versions", CheckStatus.BROKEN, f"{package} is not installed", "Install requirements.lock (make setup)."
            )
    yield DoctorResult("versions", CheckStatus.GOOD, ", ".join(found))
