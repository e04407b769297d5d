"""Folders compared: every byte, but for what two undisturbed runs differ in (dates, seconds)."""

import json
from pathlib import Path
from typing import Any

# What a run keeps for itself and no reader opens.
_OWN = {".lock"}
# How long the lines of metrics.jsonl are depends on the digits of their seconds, which two runs may share by chance.
_BY_CHANCE = {"metrics_bytes"}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its relative name, locks left out."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() or file.is_symlink())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if not _is_lock(file.name)}


def _is_lock(name: str) -> bool:
    return name in _OWN or (name.startswith(".") and name.endswith(".lock"))


class Reference:
    """Two undisturbed results of one command; `difference` says what sets a third apart from them."""

    def __init__(self, first: dict[str, bytes], second: dict[str, bytes]) -> None:
        assert set(first) == set(second), set(first) ^ set(second)
        self.first = first
        self.noise = {name: _differing(first[name], second[name]) for name in first if first[name] != second[name]}

    def difference(self, found: dict[str, bytes]) -> str | None:
        """The first file that is missing, left over or of other content; None if all is alike."""
        if left := sorted(set(found) - set(self.first)):
            return f"left over: {left[0]}"
        if missing := sorted(set(self.first) - set(found)):
            return f"missing: {missing[0]}"
        for name, content in self.first.items():
            if content == found[name]:
                continue
            noise = self.noise.get(name, set())
            if noise is None:
                continue
            differing = _differing(content, found[name])
            if differing is None or not differing <= noise | _BY_CHANCE:
                return f"differs: {name}" + (
                    f" ({', '.join(sorted(differing - noise - _BY_CHANCE)[:3])})" if differing else ""
                )
        return None


def _differing(one: bytes, other: bytes) -> set[str] | None:
    """The keys of JSON or JSON lines at which two files differ; None if they are not JSON."""
    try:
        first, second = _parsed(one), _parsed(other)
    except (ValueError, RecursionError):
        return None
    return {_key(place) for place in {*first, *second} if first.get(place) != second.get(place)}


def _key(place: tuple[Any, ...]) -> str:
    """The place without numbers of lines and items."""
    return ".".join(str(part) for part in place if not isinstance(part, int))


def _parsed(content: bytes) -> dict[tuple[Any, ...], Any]:
    text = content.decode("utf-8")
    try:
        return dict(_flat(json.loads(text), ()))
    except ValueError:
        return dict(_flat([json.loads(line) for line in text.splitlines()], ()))


def _flat(value: Any, place: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        return [pair for key, part in value.items() for pair in _flat(part, (*place, key))]
    if isinstance(value, list):
        return [pair for index, part in enumerate(value) for pair in _flat(part, (*place, index))]
    return [(place, value)]
