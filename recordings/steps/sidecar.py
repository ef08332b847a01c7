"""Sidecars: options of one recording, in a YAML file ``NAME.options.yaml`` beside it. Never an input."""

from __future__ import annotations

from collections import Counter
from typing import Any

from recordings.layout import Folder
from recordings.options import InvalidOptionsError, RecordingOptions, shorten
from recordings.steps.companions import UnreadableTextError, read_companion
from recordings.storage.base import OPTIONS_SUFFIX, Store

MAX_BYTES = 64 * 1024
"""A prompt and hotwords are 2,000 characters each; what is larger is no file of options."""


def options_key(name: str) -> str:
    """Where the options of a recording lie in the store."""
    return f"{Folder.RAW}/{name}{OPTIONS_SUFFIX}"


def read_options(store: Store, name: str) -> RecordingOptions:
    """The options that came with a recording; empty when none did.

    Raises:
        InvalidOptionsError: The file is too large, no UTF-8, no YAML mapping, or holds what is no option.
        OSError: An infrastructure error (disk, network, database); not caused by a recording.
    """
    try:
        text = read_companion(store, options_key(name), MAX_BYTES)
    except UnreadableTextError as error:
        raise InvalidOptionsError(f"the file {error}") from error
    return RecordingOptions() if text is None else RecordingOptions.parse(_load_mapping(text))


def _load_mapping(text: str) -> dict[str, Any]:
    import yaml

    try:
        # Every scalar stays text: YAML 1.1 would read the language code "no" as false.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.BaseLoader)):
            raise InvalidOptionsError("the file refers to its own parts (YAML aliases); write them out")
        node = yaml.compose(text, yaml.BaseLoader)
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise InvalidOptionsError("the file is no YAML mapping; write lines such as `language: en`")
        names = [str(key.value) for key, _ in node.value]
        for name, count in Counter(names).items():
            if count > 1:
                raise InvalidOptionsError(f"{shorten(name)!r} stands there twice")
        values: dict[str, Any] = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it makes text, lists and mappings alone
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise InvalidOptionsError(f"the file is no YAML{where}") from error
    return values
