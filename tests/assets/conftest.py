"""Assets are tested as the code location loads them, with the fixtures of its tests."""

from __future__ import annotations

from tests.stt_orchestration.conftest import capacity_folder, installation, made_home

__all__ = ["capacity_folder", "installation", "made_home"]
