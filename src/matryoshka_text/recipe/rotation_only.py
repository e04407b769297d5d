"""Faults of a recipe with a rotation: keys that need objectives, texts that are missing; and of one with nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from matryoshka_text.errors import shown
from matryoshka_text.recipe.wording import as_yaml
from matryoshka_text.section import Fault, items_of, value_of

__all__ = ["faults_of_rotation"]

# Keys that only objectives read, with the values that mean "none". Batch, optimizer, precision, checkpoints and
# trackers are harmless: they have defaults that every run's recipe.yaml spells out.
_NONE: Mapping[str, Any] = {
    "stopping": None,
    "evaluation": None,
    "layers": None,
    "lora": None,
    "averaging": None,
    "stream_shares": None,
    "twins": (),
    "weights": "uniform",
    "dims_per_step": "all",
}


def faults_of_rotation(found: Mapping[str, Any]) -> Iterator[Fault]:
    """What is missing or idle, given whether the recipe has a rotation, objectives, or both."""
    if "rotation" not in found or "objectives" not in found:
        return  # wrong as a whole: whether it was meant to be there is not known
    rotation, objectives = found["rotation"], found["objectives"]
    if objectives:
        yield from _with_objectives(found)
    elif rotation is None:
        yield from _nothing(found)
    else:
        yield from _without_objectives(found)
    if rotation is not None:
        yield from _texts(found)


def _with_objectives(found: Mapping[str, Any]) -> Iterator[Fault]:
    if "data" in found and not found["data"]:
        yield (
            ("data",),
            "found []; allowed: a list of sections (not empty); write, for example, "
            "`data: [{name: nli, file: pairs.jsonl.gz, kind: pairs}]`",
        )
    if "stopping" in found and found["stopping"] is None:
        yield (
            ("stopping",),
            "found nothing; allowed: a section with steps, epochs, patience; write, for example, "
            "`stopping: {steps: 1000}`",
        )
    if value_of(found.get("averaging"), "base_share") and found.get("lora") is not None:
        share = value_of(found["averaging"], "base_share")
        yield (
            ("averaging", "base_share"),
            f"found {shown(share)} with lora, whose matrices cannot be drawn towards the base one by one; "
            "allowed: 0 with lora; leave it out",
        )
    if found.get("rotation") is not None:
        for index, objective in enumerate(items_of(found, "objectives")):
            if value_of(objective, "kind") == "mlm" and value_of(objective, "cut") == "hidden":
                yield (
                    ("objectives", index, "cut"),
                    "found hidden next to a rotation, whose coordinates are not those of the hidden states; "
                    "allowed: transform or nested; use one of these",
                )


def _nothing(found: Mapping[str, Any]) -> Iterator[Fault]:
    """Neither rotation nor objectives."""
    yield (
        ("objectives",),
        "found nothing, and no rotation; allowed: a list of sections, or a recipe with `rotation`; write, for example, "
        "`objectives: [{kind: info_nce}]`",
    )
    # The two are missing as well, and one run should tell everything.
    yield from _with_objectives({**found, "objectives": ()})


def _without_objectives(found: Mapping[str, Any]) -> Iterator[Fault]:
    for key, none in _NONE.items():
        if key in found and found[key] != none and found[key] not in ([], None):
            yield (
                (key,),
                f"found {shown(_raw(found[key]))}, which only objectives read, and the recipe has none; "
                f"allowed: {as_yaml(none)}; remove it, or add objectives",
            )
    if found.get("data") and value_of(found["rotation"], "data"):
        yield (
            ("data",),
            "found data, which nothing reads: there are no objectives, and the rotation has its own; "
            "allowed: data in one of the two places; remove one",
        )


def _texts(found: Mapping[str, Any]) -> Iterator[Fault]:
    """The fault of a rotation without texts."""
    rotation = found["rotation"]
    named = value_of(rotation, "data")
    if named is None and "data" in found and not found["data"]:
        yield (
            ("rotation", "data"),
            "found null, and the recipe has no `data` to take its place; allowed: a list of sections; write, for "
            "example, `data: [{name: texts, file: texts.txt, kind: text}]`",
        )


def _raw(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else list(value) if isinstance(value, tuple) else value
