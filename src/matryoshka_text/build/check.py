"""Everything that can be known to be wrong with a recipe before it is run: schema, files, rows, batch and model."""

from pathlib import Path
from typing import Any

from matryoshka_text.build.check_data import check_data, check_rotation_texts
from matryoshka_text.build.facts import facts_of_data, facts_of_files
from matryoshka_text.build.findings import Findings, valid, valid_objective
from matryoshka_text.encoder.folder import read_folder
from matryoshka_text.encoder.resolve import beside, resolve_model
from matryoshka_text.errors import ModelError
from matryoshka_text.files import expanded
from matryoshka_text.recipe import Base, read_recipe
from matryoshka_text.recipe.facts import BaseFacts, Facts
from matryoshka_text.recipe.requirements import requirements
from matryoshka_text.section import Loc, items_of, value_of

__all__ = ["inspect_recipe"]


def inspect_recipe(path: Path) -> Findings:
    """Problems of the recipe at `path`, and notes; nothing is run and nothing fetched.

    Sections that are valid by themselves are looked into even if others are not: their files, columns and rows,
    classes and scores, the batches against the number of rows; dims, layers and the vocabulary against the base if
    that is on this machine. NOT covered: data sets of the hub, unless HF_HUB_OFFLINE is set and they are cached;
    whether plain text is enough for a batch once it is packed, and how many pairs a mined source gives, which take a
    tokenizer and a model.
    """
    reading = read_recipe(path)
    findings = Findings(reading, list(reading.problems))
    values = findings.values
    if not values:
        return findings
    rows, counts = check_data(findings)
    base = BaseFacts()
    readings: dict[Loc, tuple[str, ...]] = {}
    teachers, texts = facts_of_data(items_of(values, "objectives"), rows)
    section = valid(Base, values.get("base"))
    if section is not None:
        code = section.trust_remote_code
        base = _found(("base", "model"), section.model, findings, revision=section.revision, code=code)
        readings["base", "model"] = base.own_reading
    for place, objective in enumerate(items_of(values, "objectives")):
        teacher = value_of(objective, "teacher")
        if isinstance(teacher, str) and teacher:
            code = value_of(objective, "teacher_trust_remote_code") is True
            found = _found(("objectives", place, "teacher"), teacher, findings, code=code)
            teachers |= {place: found.width} if found.width is not None else {}
            readings["objectives", place, "teacher"] = found.own_reading
    for loc, text in requirements(_with_defaults(values), Facts(base, teachers, texts, readings)):
        findings.problem(loc, text)
    check_rotation_texts(counts, base.width, findings)
    return findings


def _with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with each objective that is valid by itself as a finished section, which has its defaults."""
    objectives = [valid_objective(item) or item for item in items_of(values, "objectives")]
    return {**values, "objectives": objectives}


def _found(loc: Loc, name: str, findings: Findings, *, revision: str | None = None, code: bool = False) -> BaseFacts:
    """What the files of model `name` say; a problem if it can never be used, a note if it is not on this machine."""
    try:
        found = resolve_model(beside(name, findings.reading.folder), revision, local_only=True, with_code=code)
    except ModelError as error:
        if expanded(name).is_dir() or name.startswith((".", "/", "~")) or name.count("/") > 1:
            findings.problem(loc, f"found {name!r}: {error}")
        else:
            findings.note(loc, f"{name} is not on this machine, so its width is not looked at")
        return BaseFacts()
    try:
        return facts_of_files(read_folder(found, trust_remote_code=code))
    except ModelError as error:
        findings.problem(loc, f"found {name!r}: {error}")
        return BaseFacts()
