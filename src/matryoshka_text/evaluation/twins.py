"""The twins that `mtext train` makes beside a run's model: the same data and steps without nesting."""

from dataclasses import replace
from pathlib import Path

from matryoshka_text.errors import ModelError
from matryoshka_text.evaluation.subject import Subject, open_subject

__all__ = ["open_twins"]

_WAY_OUT = (
    "put `twins: [ff, plain]` into the recipe, or train them with mtext train RECIPE --resume --twin ff --twin plain, "
    "or leave out --twins"
)


def open_twins(subject: Subject) -> tuple[Subject, ...]:
    """<run>/twins of the model <run>/model: the plain twin, and the one trained at each dim alone (FF), dims upwards.

    `ModelError` where there is no twin, or where one has no model yet.
    """
    folder = subject.path.parent / "twins"
    if subject.path.name != "model" or not folder.is_dir():
        found = f"there is no folder {folder}" if subject.path.name == "model" else "its folder is no <run>/model"
        raise ModelError(f"--twins: {subject.path}: has no twins, {found}; {_WAY_OUT}")
    alone = {dim: place for place in folder.iterdir() if (dim := _dim_of(place.name))}
    places = [place for place in (folder / "plain",) if place.is_dir()] + [alone[dim] for dim in sorted(alone)]
    if not places:
        raise ModelError(f"--twins: {folder}: holds neither plain nor ff-<dim>; {_WAY_OUT}")
    unfinished = [place.name for place in places if not (place / "model" / "config.json").is_file()]
    if unfinished:
        raise ModelError(
            f"--twins: {folder}: {', '.join(unfinished)} has no model/, so its training did not end; "
            f"train on with --resume, or remove {'it' if len(unfinished) == 1 else 'them'}"
        )
    return tuple(_twin(place, subject.layers) for place in places)


def _dim_of(name: str) -> int | None:
    dim = name.removeprefix("ff-")
    return int(dim) if name.startswith("ff-") and dim.isdecimal() else None


def _twin(place: Path, layers: int | None) -> Subject:
    found, dim = open_subject(str(place / "model")), _dim_of(place.name)
    whole = replace(found, label=f"FF-{dim}" if dim else "plain", only=dim)
    return whole if layers is None else replace(whole.with_layers(layers), label=whole.label)
