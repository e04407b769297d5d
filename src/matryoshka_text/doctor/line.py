"""One line of an examination. A part that cannot be looked at is a line too."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from matryoshka_text.errors import MtextError

__all__ = ["Line", "look", "on_one_screen"]

_WIDTH, _HEIGHT, _NAME = 100, 40, 12


@dataclass(frozen=True)
class Line:
    """What was found of one `part`; a `wrong` one says the way out as well."""

    part: str
    text: str
    wrong: bool = False


def look(part: str, found: Callable[[], Iterable[Line]]) -> Iterator[Line]:
    """The lines of `found`; if it fails, those before the failure and one that tells it. Never raises."""
    try:
        yield from found()
    except MtextError as error:
        yield Line(part, str(error), wrong=True)
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        yield Line(part, f"could not be looked at ({type(error).__name__}: {first}); please report that", wrong=True)


def on_one_screen(lines: Sequence[Line]) -> str:
    """The lines as text of at most 39 lines of 100 columns, wrong ones marked with "!" and cut last."""
    for normal, wrong in ((3, 5), (1, 5), (1, 3), (1, 1)):
        text = [row for line in lines for row in _rows(line, wrong if line.wrong else normal)]
        if len(text) < _HEIGHT:
            return "\n".join(text)
    left_out = len(text) - _HEIGHT + 2
    return "\n".join([*text[: -left_out or None], f"… and {left_out} more lines: --json shows all of them"])


def _rows(line: Line, most: int) -> list[str]:
    head = f"{'! ' if line.wrong else '  '}{line.part:<{_NAME}}"
    return textwrap.wrap(
        head + " ".join(line.text.split()),
        width=_WIDTH,
        subsequent_indent=" " * len(head),
        max_lines=most,
        placeholder=" …",
        break_on_hyphens=False,
        drop_whitespace=True,
    )
