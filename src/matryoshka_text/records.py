"""The record of a job in its folder: what is there already, and whether the job that is asked for is the same one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from matryoshka_text.errors import RunError, shown
from matryoshka_text.files import write_whole
from matryoshka_text.yaml_lines import dotted

__all__ = ["earlier_record", "read_record", "require_same", "write_record"]

_Record = TypeVar("_Record", bound=BaseModel)
_WAY_OUT = "give another folder, or remove this one and run the command again"


def write_record(path: Path, record: BaseModel) -> None:
    """Put the record in place, whole."""
    write_whole(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: Path, kind: type[_Record], command: str, *, way_out: str = _WAY_OUT) -> _Record:
    """The record that `command` wrote to `path`, every value of its type; `RunError` if it cannot be read.

    The file may have been changed by anybody: what is in it is believed only as far as `kind` checks it.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("it is a folder, a pipe or a device")
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        found = f", found {shown(first['input'])}" if first["loc"] else ""
        why = f"{dotted(first['loc'])}: {first['msg']}{found}".removeprefix(": ")
        raise RunError(f"{path}: cannot be read as the record of `{command}` ({why}); {way_out}") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise RunError(f"{path}: cannot be read as the record of `{command}` ({why}); {way_out}") from error


def earlier_record(path: Path, kind: type[_Record], command: str) -> _Record | None:
    """What an earlier run of `command` has begun in the folder of `path`; None if that is new or empty.

    `RunError` for a folder with other things in it. The caller holds the folder, so that the answer stays true.
    """
    folder = path.parent
    if path.exists():
        return read_record(path, kind, command)
    strangers = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if strangers:
        raise RunError(
            f"{folder}: holds {', '.join(strangers[:5])}, but no {path.name}, so `{command}` did not write it; "
            "give another with --out"
        )
    return None


def require_same(place: Path, stored: Mapping[str, object], asked: Mapping[str, object], *, what: str) -> None:
    """`RunError` naming each value that differs: `place` holds `what`, but of other inputs or settings."""
    lines = [
        f"{key}: {stored.get(key)!r} there, {asked.get(key)!r} asked for"
        for key in dict.fromkeys([*asked, *stored])
        if asked.get(key) != stored.get(key)
    ]
    if lines:
        raise RunError(
            f"{place}: holds another {what} ({'; '.join(lines)}); run it with the same arguments to go on, "
            "or write elsewhere with --out"
        )
