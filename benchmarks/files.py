"""JSON and YAML files that are exchanged between machines and people: validated when read, written atomically."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

_Model = TypeVar("_Model", bound=BaseModel)

_MOST_BYTES = 64 * 2**20
_SHOWN = 120  # characters of a wrong value


class RefusedError(Exception):
    """The request cannot be measured or compared as it was given. The message says why and what to do."""


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RefusedError: There is no such file, it is no JSON, or only the beginning of one.
    """
    try:
        return json.loads(_text(path, "JSON"), parse_constant=_no_number)
    except RecursionError:
        raise RefusedError(f"{path} is no JSON text.") from None
    except _NotFiniteError as error:
        raise RefusedError(f"{path} has {error} where a number belongs.") from None
    except json.JSONDecodeError as error:
        end = "it ends too early, as if cut off" if error.pos >= len(error.doc.rstrip()) - 1 else error.msg
        raise RefusedError(f"{path} is no whole JSON: line {error.lineno}, column {error.colno}: {end}.") from None


def read_yaml(path: Path) -> Any:
    """Read one YAML document.

    Raises:
        RefusedError: There is no such file, it is no YAML, or more than one document.
    """
    import yaml

    try:
        return yaml.safe_load(_text(path, "YAML"))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RefusedError(f"{path} is not one YAML document: {' '.join(str(error).split())}.") from None


def _text(path: Path, kind: str) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise RefusedError(f"{path} has {path.stat().st_size} bytes; no file of ours is that large.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RefusedError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise RefusedError(f"{path} is a folder; give a file.") from None
    except UnicodeDecodeError:
        raise RefusedError(f"{path} is no {kind} text.") from None


def validate(path: Path, data: Any, schema: Path, model: type[_Model]) -> _Model:
    """Validate data against a JSON Schema and return it as a pydantic model.

    Raises:
        RefusedError: The data does not fit the schema; names the file, the field and what is wrong with it.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    violation = best_match(Draft202012Validator(json.loads(schema.read_text(encoding="utf-8"))).iter_errors(data))
    if violation is not None:
        field = violation.json_path.removeprefix("$").lstrip(".")
        place = f"the field {field}" if field else "the whole"
        message = (
            violation.message if len(violation.message) <= 2 * _SHOWN else f"... {violation.message[-2 * _SHOWN :]}"
        )
        raise RefusedError(f"{path} is not what {schema.stem} files hold: {place}: {message}.")
    return parse_record(path, data, model, f"what {schema.stem} files hold")


def parse_record(path: Path, data: Any, model: type[_Model], kind: str) -> _Model:
    """Validate data and return it as a pydantic model.

    Args:
        path: Where it was read, for the error.
        data: What was read.
        model: The pydantic model.
        kind: What the file should be, in words, for the error: ``a price file``.

    Raises:
        RefusedError: The data does not fit the model; names the file, the field and what is wrong with it.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        place = f"the field {field}" if field else "the whole"
        raise RefusedError(f"{path} is not {kind}: {place}: {problem['msg'].removeprefix('Value error, ')}.") from None


def check_output_file(path: Path, *, overwrite: bool) -> None:
    """Check, before the work, that its result can be written there; nothing is created.

    Raises:
        RefusedError: Something is there that must not be overwritten.
        OSError: The folder cannot be made or written.
    """
    if path.is_dir():
        raise RefusedError(f"{path} is a folder; give a file to write.")
    if path.exists() and not overwrite:
        raise RefusedError(f"{path} is there already. Give --overwrite to replace it, or another --output.")
    check_writable(path.parent)


def check_writable(folder: Path) -> None:
    """Check that a folder can be written to, or created if it does not exist; nothing is created.

    Raises:
        RefusedError: It is a file, or lies below one.
        OSError: It cannot be made or written.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise RefusedError(f"{existing} is a file; give a folder.")
    probe = existing / f".{secrets.token_hex(8)}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        # Name the folder: the name of the temporary file is of no use to the reader.
        raise OSError(error.errno, error.strerror, str(existing)) from None


def write_json(value: Any, path: Path) -> None:
    """Write readable JSON under a temporary name, flush it to the disk and rename it; folders are made."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a text under a temporary name, flush it to the disk and rename it; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with incoming.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        incoming.replace(path)
    finally:
        incoming.unlink(missing_ok=True)


class _NotFiniteError(Exception):
    pass


def _no_number(name: str) -> Any:
    raise _NotFiniteError(name)
