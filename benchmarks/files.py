"""JSON that travels between machines: read with suspicion, written whole or not at all."""

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


class Refused(Exception):  # noqa: N818 - reads as what it says
    """The measurement or comparison that was asked for makes no sense as asked. The message says why and what to do."""


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        Refused: There is no such file, it is no JSON, or only the beginning of one.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise Refused(f"{path} has {path.stat().st_size} bytes; no file of ours is that large.")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise Refused(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise Refused(f"{path} is a folder; give a file.") from None
    except (UnicodeDecodeError, RecursionError):
        raise Refused(f"{path} is no JSON text.") from None
    except _NotFinite as error:
        raise Refused(f"{path} has {error} where a number belongs.") from None
    except json.JSONDecodeError as error:
        end = "it ends too early, as if cut off" if error.pos >= len(error.doc.rstrip()) - 1 else error.msg
        raise Refused(f"{path} is no whole JSON: line {error.lineno}, column {error.colno}: {end}.") from None


def checked(path: Path, found: Any, schema: Path, model: type[_Model]) -> _Model:
    """What was read, as a record, once it holds to a schema.

    Raises:
        Refused: It does not; names the file, the field and what is wrong with it.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    wrong = best_match(Draft202012Validator(json.loads(schema.read_text(encoding="utf-8"))).iter_errors(found))
    if wrong is not None:
        field = wrong.json_path.removeprefix("$").lstrip(".")
        where = f"the field {field}" if field else "the whole"
        message = wrong.message if len(wrong.message) <= 2 * _SHOWN else f"... {wrong.message[-2 * _SHOWN :]}"
        raise Refused(f"{path} is not what {schema.stem} files hold: {where}: {message}.")
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(f"{path} is not what {schema.stem} files hold: the field {field}: {first['msg']}.") from None


def claim(path: Path, *, overwrite: bool) -> None:
    """Make sure, before the work, that its result can be written there; the folder is made, the file is not.

    Raises:
        Refused: Something is there that must not be overwritten.
        OSError: The folder cannot be made or written.
    """
    if path.is_dir():
        raise Refused(f"{path} is a folder; give a file to write.")
    if path.exists() and not overwrite:
        raise Refused(f"{path} is there already. Give --overwrite to replace it, or another --output.")
    path.parent.mkdir(parents=True, exist_ok=True)
    probe = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    probe.touch()
    probe.unlink()


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


class _NotFinite(Exception):  # noqa: N818 - seen in this module only
    pass


def _no_number(name: str) -> Any:
    raise _NotFinite(name)
