"""What is examined: the machine always, and what is named."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from matryoshka_text.doctor.job import recipe_lines, run_lines
from matryoshka_text.doctor.line import Line, look, on_one_screen
from matryoshka_text.doctor.machine import machine
from matryoshka_text.doctor.model import model_lines

__all__ = ["Examination", "examine"]


@dataclass(frozen=True)
class Examination:
    """What was found, line by line."""

    lines: tuple[Line, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(line.wrong for line in self.lines)

    def __str__(self) -> str:
        """One screen: at most 40 lines of 100 columns, wrong ones marked with "!"."""
        wrong = sum(line.wrong for line in self.lines)
        end = "All agrees." if not wrong else f'Wrong: {wrong} line{"" if wrong == 1 else "s"}, marked with "!".'
        return f"{on_one_screen(self.lines)}\n{end}"

    def as_json(self) -> str:
        """{"ok": …, "lines": [{"part", "text", "wrong"}, …]}, nothing cut."""
        return json.dumps({"ok": self.ok, "lines": [asdict(line) for line in self.lines]}, indent=2, ensure_ascii=False)


def examine(what: str | None = None, *, trust_remote_code: bool = False) -> Examination:
    """This machine, and `what`: a recipe's file, a run's folder, or a model (a folder or a Hub id). Never raises.

    Writes nothing and fetches nothing. What fails is a line that is wrong. `trust_remote_code`: run the
    Python code that the model brings along.
    """
    named = () if what is None else look("examined", lambda: _named(what, trust_remote_code))
    return Examination((*look("machine", machine), *named))


def _named(what: str, code: bool) -> Iterator[Line]:
    path = Path(what)
    if path.suffix in (".yaml", ".yml") or os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for odd names
        return recipe_lines(path)
    run = Path(os.path.abspath(path)) if path.is_dir() else path  # noqa: PTH100
    if any((run / name).exists() for name in ("recipe.yaml", "environment.json", "checkpoints")):
        return run_lines(path, trust_remote_code=code)
    return model_lines(what, trust_remote_code=code)
