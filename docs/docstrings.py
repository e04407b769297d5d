"""Docstrings for the site: `<name>` in a sentence is a placeholder, and would be read as HTML."""

import re
from typing import Any

from griffe import Extension, Object

__all__ = ["Placeholders"]


class Placeholders(Extension):
    """Shows every `<` of a docstring outside code."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of `obj`, if it has one."""
        if obj.docstring is not None:
            lines = obj.docstring.value.split("\n")
            obj.docstring.value = "\n".join(line if line.startswith("    ") else _escaped(line) for line in lines)


def _escaped(line: str) -> str:
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", line)
