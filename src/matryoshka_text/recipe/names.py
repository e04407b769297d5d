"""Texts with a form of their own: short names, and one column name or several."""

from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from matryoshka_text.section import OWN

__all__ = ["SLUG", "Names"]

SLUG = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _name_or_names(value: Any) -> Any:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) and name for name in value):
        if len(set(value)) == len(value):
            return tuple(value)
        raise _fault(f"found {list(value)}, where a name occurs twice; allowed: different names; remove one of them")
    raise _fault(f"found {value!r}; allowed: a name, or a list of names; write `[first, second]`")


def _fault(text: str) -> PydanticCustomError:
    return PydanticCustomError(OWN, "{text}", {"text": text})


# One validator in place of pydantic's union, whose errors come once for each branch.
Names = Annotated[str | tuple[str, ...], BeforeValidator(_name_or_names)]
