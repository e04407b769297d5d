"""What every section of a recipe is: frozen, strict, and able to report all its faults at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from matryoshka_text.dims import out_of_order
from matryoshka_text.errors import shown
from matryoshka_text.yaml_lines import Loc

__all__ = ["OWN", "Fault", "Flag", "Loc", "Real", "Section", "Whole", "items_of", "order_of", "value_of"]

Fault = tuple[Loc, str]
OWN = "mtext"  # the pydantic error type of the faults that are worded here
_OF_PYDANTIC = get_args(ErrorType)


def _whole(value: int) -> int:
    if abs(value) > 10**12:
        raise _own(f"found {shown(value)}; allowed: whole numbers up to 1,000,000,000,000; write a smaller one")
    return value


def _real(value: float) -> float:
    # Training runs in float32, which knows no 1e308 and whose sums of squares end at 1e38.
    if abs(value) > 1e12:
        raise _own(f"found {value:g}; allowed: numbers up to 1e12; write a smaller one")
    if 0 < abs(value) < 1e-30:
        raise _own(f"found {value:g}; allowed: numbers of at least 1e-30; write a larger one, or 0 if that is meant")
    return value


def _own(text: str) -> PydanticCustomError:
    return PydanticCustomError(OWN, "{text}", {"text": text})


# Without Strict, pydantic takes "64" and true for the number 64 and 1.
Whole = Annotated[int, Strict(), AfterValidator(_whole)]
Real = Annotated[float, Strict(), AfterValidator(_real)]
Flag = Annotated[bool, Strict()]


class Section(BaseModel):
    """A frozen mapping that knows its keys; an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def prepared(cls, data: dict[str, Any]) -> dict[str, Any]:
        """`data` with the values filled in that depend on other values."""
        return data

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """Faults that concern several keys.

        `found` holds the value of every key that is not wrong as a whole; where the section has other faults these are
        raw values, whose inner parts may be of any type.
        """
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _all_faults(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # pydantic runs a check across keys only where every key is right; a user wants to hear of both kinds at once.
        if not isinstance(data, dict):
            return handler(data)
        data = cls.prepared(data)
        details: list[InitErrorDetails] = []
        try:
            section = handler(data)
            found = {name: getattr(section, name) for name in cls.model_fields}
        except ValidationError as error:
            details = [_rebuilt(detail) for detail in error.errors(include_url=False)]
            wrong = {detail["loc"][0] for detail in details if len(detail["loc"]) == 1}
            found = {
                name: data[name] if name in data else field.get_default(call_default_factory=True, validated_data={})
                for name, field in cls.model_fields.items()
                if name not in wrong
            }
        details.extend(InitErrorDetails(type=_own(text), loc=loc, input=None) for loc, text in cls.across(found))
        if details:
            raise ValidationError.from_exception_data(cls.__name__, details)
        return section


def value_of(section: Any, key: str) -> Any:
    """`section[key]` of a raw mapping or `section.key` of a finished section; None if there is none."""
    return section.get(key) if isinstance(section, Mapping) else getattr(section, key, None)


def items_of(values: Any, key: str) -> list[Any]:
    """The list under `key`, also of raw values; empty if there is none."""
    items = value_of(values, key) if values is not None else None
    return list(items) if isinstance(items, list | tuple) else []


def order_of(key: Loc, dims: Sequence[Any] | None) -> Iterator[Fault]:
    """A fault for each of `dims` that is not above the one before."""
    for index, dim, before in out_of_order(dims or ()):
        twice = "remove one of the two" if dim == before else "sort the list upwards"
        yield (
            (*key, index),
            f"found {dim}, which is not above {before}; allowed: strictly increasing whole numbers; {twice}",
        )


def _rebuilt(detail: ErrorDetails) -> InitErrorDetails:
    # Errors of a kind of their own, ours among them, are known to pydantic by name only here.
    known = detail["type"] in _OF_PYDANTIC
    kind = detail["type"] if known else PydanticCustomError(detail["type"], "{text}", {"text": detail["msg"]})
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"], ctx=detail.get("ctx", {}))
