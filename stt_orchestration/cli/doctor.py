"""``stt doctor``: is everything here that a run needs? Each finding says what was looked at, what was found, and the remedy."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.platform.machine import describe_machine
from k8s_run_launcher.cluster import NoClusterError, connect_to_cluster
from k8s_run_launcher.deprecated_profiles import DEPRECATED_PROFILES, list_unstated_steps
from k8s_run_launcher.preflight import IMAGE, run_preflight
from k8s_run_launcher.profiles import StepProfile, read_profiles
from recordings.intake.audit import audit_all_outputs
from recordings.ledger.engine import LedgerError
from recordings.ledger.ledger import Ledger
from recordings.states import State
from recordings.steps.enriched import EnrichOptions
from recordings.storage.base import UnknownStoreError
from recordings.storage.errors import StorageUnavailableError, explain
from recordings.storage.open import open_store
from recordings.workspace import Workspace
from speech.asr.vad import VAD_MODEL
from speech.checks import Check, CheckResult
from speech.machine.host import Host
from speech.machine.resources import detect_resources, measure_free_memory
from speech.models.catalogue import ModelKind
from speech.models.errors import UnavailableWeightsError, WeightsError
from speech.models.registry import get_temporary_home, resolve
from stt_orchestration.instance import InstanceUnusableError, dagster_home
from stt_orchestration.settings import Settings, SettingsError, find_misspelled

_LOW_DISK = 2 * 1024**3
_PACKAGES = ("dagster", "dagster-k8s", "dagster-webserver", "sqlalchemy")
_DECODING = ("faster-whisper", "ctranslate2", "onnxruntime", "numpy", "av", "soundfile")
"""What decodes sound and computes: with the processor, all that a transcript's bytes depend on beside weights and options."""

SETTINGS = Check("settings", "Every setting has an allowed value, and none is misspelled.")
STORE = Check("store", "The store can be written, and has room.")
LEDGER = Check("ledger", "The ledger opens, and holds every delivery in one state.")
DATABASE = Check("database", "The ledger can be reached from here, and holds every delivery in one state.")
DAGSTER_HOME = Check("dagster home", "Dagster can keep its storage: in DAGSTER_HOME, or in PostgreSQL.")
CACHE = Check("cache", "Downloaded models are kept in a folder that stays.")
WEIGHTS = Check("weights", "The model's files are on this machine, with the right checksums.")
DETECTOR = Check("detector", "The voice-activity detector's file is on this machine, with the right checksum.")
DEVICE = Check("device", "The device is there, and computes in the compute type that is set.")
RESOURCES = Check("resources", "It is named what this process may use, because the number of threads follows it.")
PROCESSOR = Check("processor", "It is named, because the bytes of a transcript depend on it.")
VERSIONS = Check("versions", "Every package that a run needs is installed.")
COUNTS = Check("counts", "The ledger's stored states and counts are those that its rows have.")
OUTPUTS = Check("outputs", "Every output of every finished recording is there, and the audio has its size.")
STEP_PROFILES = Check("step profiles", "The configuration of the launcher states a whole profile for every step.")
CLUSTER = Check("cluster", "This process is in a pod, or has a kubeconfig.")


def check_installation() -> Iterator[CheckResult]:
    """Look at everything, in the order in which a run would need it."""
    try:
        settings = Settings.read()
    except SettingsError as error:
        yield CheckResult(SETTINGS, False, str(error), "Set an allowed value, or unset the variable.")
        return
    yield CheckResult(
        SETTINGS,
        True,
        f"model {settings.model} on {settings.device} in {settings.effective_compute_type}",
    )
    for sentence in find_misspelled():
        yield CheckResult(SETTINGS, None, sentence, "Correct its name, or unset it.")
    if settings.emotion:
        detail = "Emotions were asked for, and this release has no model for them."
        yield CheckResult(
            SETTINGS,
            None,
            detail,
            "Unset STT_EMOTION and ENABLE_EMOTION; annotations say unavailable until then.",
        )
    if settings.cache_dir.is_relative_to(get_temporary_home()):
        detail = (
            f"This user has no home folder that can be written, so downloaded models are kept in {settings.cache_dir}."
        )
        yield CheckResult(
            CACHE, None, detail, "Set STT_CACHE_DIR to a folder that stays, or HOME to one that can be written."
        )
    for check in (_check_store, _check_ledger, _check_dagster_home, _check_weights, _check_detector, _check_device):
        yield check(settings)
    yield CheckResult(RESOURCES, True, f"{detect_resources().sentence} {measure_free_memory().sentence}")
    yield _describe_processor()
    yield from _check_versions()


def check_history() -> Iterator[CheckResult]:
    """What takes long where there are many recordings: the ledger's counts, and every output."""
    yield check_counts()
    yield from check_outputs()


_UNUSABLE = (SettingsError, LedgerError, OSError, UnknownStoreError)
"""What ends a look at the ledger and the store."""


def _make_failure(check: Check, error: Exception) -> CheckResult:
    sentence = explain(error) if isinstance(error, OSError) else str(error)
    return CheckResult(check, False, sentence, "Do what the message says, then look again.")


def check_counts() -> CheckResult:
    """Count all deliveries of the ledger anew, and correct what differs."""
    try:
        settings = Settings.read()
        with Workspace.open(settings.store, settings.ledger) as workspace:
            audit = workspace.ledger.audit_counts()
    except _UNUSABLE as error:
        return _make_failure(COUNTS, error)
    return CheckResult(COUNTS, None if audit.wrong else True, audit.sentence)


def check_outputs() -> Iterator[CheckResult]:
    """Look at every output of every finished recording: a result for each one that lacks something, and a summary."""
    try:
        settings = Settings.read()
        with Workspace.open(settings.store, settings.ledger) as workspace:
            lacking = 0
            for each in audit_all_outputs(workspace, settings.pick(EnrichOptions)):
                lacking += 1
                name = each.member.delivery.name
                remedy = f"To have it made anew: stt retry {shlex.quote(name)}, then stt run."
                if not each.can_be_made:
                    remedy = f"What was delivered is gone or changed too. Deliver the same file as {name} again."
                # What only steps read may have been tidied away on purpose.
                passed = None if each.has_results else False
                yield CheckResult(OUTPUTS, passed, f"{name}: {'; '.join(each.found)}", remedy)
            done = workspace.ledger.count_totals().states[State.DONE]
    except _UNUSABLE as error:
        yield _make_failure(OUTPUTS, error)
        return
    if not lacking:
        yield CheckResult(OUTPUTS, True, f"all outputs of {done:,} finished recordings are there")


def check_cluster(image: str | None) -> Iterator[CheckResult]:
    """Look at the cluster that this process is in, or at that of the kubeconfig.

    Args:
        image: To pull; None: the one that the launcher of this Dagster instance starts runs with.
    """
    try:
        settings = Settings.read()
        namespace = connect_to_cluster()
        profiles, launched, unstated = _read_launcher()
    except (SettingsError, InstanceUnusableError) as error:
        yield CheckResult(SETTINGS, False, str(error), "Do what the message says, then look again.")
        return
    except NoClusterError as error:
        yield CheckResult(CLUSTER, False, str(error), "Run it in a pod of the code location, or set KUBECONFIG.")
        return
    if unstated:
        yield CheckResult(
            STEP_PROFILES,
            None,
            f"dagster.yaml states no whole profile of {', '.join(unstated)}: what is missing is as in 0.1.0, until 0.3.0.",
            "Copy step_profiles from deploy/base/dagster.yaml, and change what is different on your cluster.",
        )
    image = image or os.environ.get("DAGSTER_CURRENT_IMAGE") or launched
    if image is None:
        yield CheckResult(IMAGE, None, "No image is named, so none was pulled.", "Name it: --image NAME.")
    probes = {
        DATABASE: lambda: _get_sentence_or_raise(_check_ledger(settings)),
        STORE: lambda: _get_sentence_or_raise(_check_store(settings)),
    }
    yield from run_preflight(namespace, profiles, image, probes)


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


def _get_sentence_or_raise(result: CheckResult) -> str:
    if result.passed is False:
        raise RuntimeError(result.sentence)
    return result.sentence


def _check_store(settings: Settings) -> CheckResult:
    try:
        store = open_store(settings.store)
        found = store.probe()
    except StorageUnavailableError as error:
        return CheckResult(STORE, False, str(error), f"{error.remedy}.")
    except (OSError, UnknownStoreError) as error:
        return CheckResult(
            STORE,
            False,
            f"{settings.store}: {error}",
            "Make it writable, or set STT_DATA_DIR elsewhere.",
        )
    if store.folder is not None and shutil.disk_usage(store.folder).free < _LOW_DISK:
        return CheckResult(STORE, None, found, "Make room: an hour of audio needs about 120 MB.")
    return CheckResult(STORE, True, found)


def _check_ledger(settings: Settings) -> CheckResult:
    try:
        ledger = Ledger.open(settings.ledger)
    except (LedgerError, OSError) as error:
        return CheckResult(LEDGER, False, str(error), "Check STT_LEDGER_URL and that its place can be written.")
    try:
        totals = ledger.count_totals()
    finally:
        ledger.close()
    if not totals.is_consistent:
        detail = f"{totals.inputs} deliveries, but {sum(totals.states.values())} over all states"
        return CheckResult(LEDGER, False, detail, "Restore a backup.")
    return CheckResult(LEDGER, True, f"{ledger.address}, {totals.inputs} deliveries, every one in one state")


def _check_dagster_home(_: Settings) -> CheckResult:
    try:
        home = dagster_home()
        if _has_postgres_storage(home):
            return CheckResult(DAGSTER_HOME, True, f"{home}; its dagster.yaml keeps storage in PostgreSQL")
        with tempfile.TemporaryFile(dir=home):
            pass
    except (OSError, SettingsError) as error:
        return CheckResult(DAGSTER_HOME, False, str(error), "Set DAGSTER_HOME to a folder that can be written.")
    return CheckResult(DAGSTER_HOME, True, str(home))


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


def _check_weights(settings: Settings) -> CheckResult:
    return _check_model(WEIGHTS, settings.model, "whisper", settings)


def _check_detector(settings: Settings) -> CheckResult:
    return _check_model(DETECTOR, VAD_MODEL, "vad", settings)


def _check_model(check: Check, name: str, kind: ModelKind, settings: Settings) -> CheckResult:
    try:
        weights = resolve(
            name,
            kind=kind,
            model_dir=settings.model_dir,
            cache_dir=settings.cache_dir,
            allow_download=False,
            progress=lambda _: None,
        )
    except UnavailableWeightsError:
        detail = f"{name} is not on this machine yet"
        return CheckResult(check, None, detail, f"The first run fetches it; or now: stt fetch-model {name}")
    except WeightsError as error:
        return CheckResult(check, False, str(error), "Do what the message says, then look again.")
    return CheckResult(check, True, f"{weights.name} in {weights.path} ({weights.source}), checksums right")


def _check_device(settings: Settings) -> CheckResult:
    import ctranslate2

    if settings.device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        remedy = "Check nvidia-smi and the driver, and in a pod that it asks for nvidia.com/gpu; or set STT_DEVICE=cpu on purpose."
        return CheckResult(DEVICE, False, "cuda was asked for and no GPU is visible", remedy)
    supported = ctranslate2.get_supported_compute_types(settings.device)
    if settings.effective_compute_type not in supported:
        remedy = f"Set STT_COMPUTE_TYPE to one of {', '.join(sorted(supported))}."
        return CheckResult(
            DEVICE,
            False,
            f"{settings.device} cannot compute in {settings.effective_compute_type}",
            remedy,
        )
    cpus = detect_resources().cpus
    return CheckResult(
        DEVICE,
        True,
        f"{settings.device}, {cpus} CPU{'' if cpus == 1 else 's'}, {settings.effective_compute_type} supported",
    )


def _describe_processor() -> CheckResult:
    here = describe_machine(Host.here())
    sets = ", ".join(here.instruction_sets) or "no instruction set that we know of"
    forced = os.environ.get("CT2_FORCE_CPU_ISA")
    detail = f"{here.cpu_model} ({here.architecture}): {sets}" + (f"; CT2_FORCE_CPU_ISA={forced}" if forced else "")
    return CheckResult(PROCESSOR, True, detail)


def _check_versions() -> Iterator[CheckResult]:
    found = [f"python {platform.python_version()}"]
    for package in (*_DECODING, *_PACKAGES):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            yield CheckResult(VERSIONS, False, f"{package} is not installed", "Install requirements.lock (make setup).")
    yield CheckResult(VERSIONS, True, ", ".join(found))
