"""YAML in and out: plain values only, the line of every key, and YAML 1.2's idea of a number.

PyYAML reads YAML 1.1, where 5e-5 is a text, `no` is false and 1:30 is ninety. Here scalars are resolved as YAML 1.2's
core schema does: null, true/false, decimal integers and floats (5e-5 among them); everything else is text.

Recipes and suites come in here, and may come from anybody: size, depth, and what aliases stand for are bounded.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Document", "Loc", "dotted", "dump_yaml", "parse_yaml", "read_yaml"]

Loc = tuple[int | str, ...]

_CORE = {
    "null": re.compile(r"^(?:~|null|Null|NULL|)$"),
    "bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    "int": re.compile(r"^[-+]?[0-9]{1,300}$"),
    "float": re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
}
_TAG = "tag:yaml.org,2002:"
# A few hundred bytes of aliases to aliases stand for billions of values.
_MOST_VALUES = 100_000
_MOST_BYTES = 1_000_000
# What no file and no path can hold: NUL, and half a surrogate pair.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_FOUND_NO_TEXT = "found a NUL or half a surrogate pair"
# How many faults are told.
_MOST_TOLD = 100


@dataclass
class Document:
    """A YAML text as plain values, the line (from 1) of every key and item, and what was wrong with it.

    A fault in line 0 is one of the whole file.
    """

    value: Any = None
    lines: dict[Loc, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    values: int = 0

    def line_of(self, loc: Loc) -> int:
        """The line of `loc`, or of the nearest section around it."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, 1)

    def told(self, path: Path, faults: Iterable[tuple[Loc, str]] = ()) -> tuple[str, ...]:
        """The document's own faults and others as lines `path:12: data[0].file: what is wrong`, in order of lines."""
        numbered = [(line, f"{path}:{line}: {text}" if line else f"{path}: {text}") for line, text in self.faults]
        for loc, text in faults:
            line = self.line_of(loc)
            numbered.append((line, f"{path}:{line}: {dotted(loc)}".removesuffix(": ") + f": {text}"))
        lines = [text for _, text in sorted(numbered, key=lambda one: one[0])]
        more = (f"{path}: there are more faults; mend these first",) if len(lines) > _MOST_TOLD else ()
        return (*lines[:_MOST_TOLD], *more)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 - PyYAML's own attribute


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern in _CORE.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, None)


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # SafeDumper quotes what YAML 1.1 would misread; 5e-5 as a text is misread by YAML 1.2 only.
    quoted = any(pattern.match(value) for pattern in _CORE.values())
    return dumper.represent_scalar(_TAG + "str", value, style="'" if quoted else None)


_Dumper.add_representer(str, _text)


def dotted(loc: Loc) -> str:
    """`loc` as a user writes it: data[0].columns.anchor."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def dump_yaml(values: dict[str, Any]) -> str:
    """`values` as YAML in their own order, innermost lists and mappings on one line."""
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
    return str(text)


def read_yaml(path: Path) -> Document:
    """The file as a Document; one that cannot be read is a fault in it, none is raised."""
    try:
        if path.exists() and not path.is_file():
            return Document(faults=[(0, "found no plain file; allowed: a YAML file; name one")])
        if (size := path.stat().st_size) > _MOST_BYTES:
            return Document(faults=[(0, f"found {size:,} bytes; allowed: {_MOST_BYTES:,}; write less")])
        return parse_yaml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        what = f"found bytes that are not UTF-8 (at byte {error.start}); allowed: UTF-8 text; save it as UTF-8"
    except OSError as error:
        what = f"cannot be read ({error.strerror}); allowed: a readable file; check its permissions"
    return Document(faults=[(0, what)])


def parse_yaml(text: str) -> Document:
    """`text` as a Document; faults are recorded in it, none is raised."""
    found = Document()
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            found.value = _plain(node, (), found, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context
        found.faults.append((mark.line + 1 if mark else 1, f"found broken YAML ({what}); allowed: one YAML document"))
        return found
    except yaml.YAMLError as error:
        found.faults.append((1, f"found broken YAML ({str(error).splitlines()[0]}); allowed: one YAML document"))
        return found
    except RecursionError:
        found.faults.append((1, "found YAML nested too deeply; allowed: a few levels"))
    except _TooManyError as error:
        what = f"found more than {_MOST_VALUES:,} values, those of aliases counted; allowed: fewer; write less"
        found.value, found.faults = None, [(error.line, what)]
    return found


class _TooManyError(Exception):
    def __init__(self, line: int) -> None:
        self.line = line


def _plain(node: yaml.Node, loc: Loc, found: Document, around: tuple[int, ...]) -> Any:
    found.lines.setdefault(loc, node.start_mark.line + 1)
    found.values += 1
    if found.values > _MOST_VALUES:
        raise _TooManyError(node.start_mark.line + 1)
    if id(node) in around:
        found.faults.append((node.start_mark.line + 1, "found an alias to its own section; write the values out"))
        return None
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        return _mapping(node, loc, found, (*around, id(node)))
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        inner = (*around, id(node))
        return [_plain(item, (*loc, index), found, inner) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode) and _NO_TEXT.search(str(node.value)):
        found.faults.append((node.start_mark.line + 1, f"{_FOUND_NO_TEXT}; allowed: text; remove it"))
        return None
    if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(_TAG) in {*_CORE, "str"}:
        return _scalar(node)
    found.faults.append((node.start_mark.line + 1, f"found the tag {node.tag!r}; allowed: plain values; remove it"))
    return None


def _mapping(node: yaml.MappingNode, loc: Loc, found: Document, around: tuple[int, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            found.faults.append((line, "found a key that is no name; allowed: names; write `key: value`"))
            continue
        key = str(key_node.value)
        if _NO_TEXT.search(key):
            found.faults.append((line, f"{_FOUND_NO_TEXT} in a key; allowed: names; remove it"))
            continue
        if key in values:
            first = found.lines[(*loc, key)]
            found.faults.append((line, f"found the key {key!r} again (first in line {first}); remove one of the two"))
            continue
        found.lines[(*loc, key)] = line
        values[key] = _plain(value_node, (*loc, key), found, around)
    return values


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    kind = node.tag.removeprefix(_TAG)
    if kind == "null" or not _CORE.get(kind, re.compile("")).match(text):
        return None if kind == "null" else text
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
