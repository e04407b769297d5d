"""The entry of a model that mteb is asked to register, as an object and as the Python file to propose.

What neither the model, nor its card, nor mteb's present entry says is None: nothing is guessed.
"""

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mteb.models import ModelMeta, SentenceTransformerEncoderWrapper
from mteb.models.model_meta import ScoringFunction
from mteb.types import Licenses

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.mteb_compat import registered_entry
from matryoshka_text.evaluation.tasks.languages import card_header, language_scripts

__all__ = ["as_module", "entry_name", "proposed_meta", "read_module", "unknown_fields", "with_dim"]

# Fields whose None is an answer, not a gap.
_OPTIONAL = {"adapted_from", "superseded_by", "n_active_parameters_override", "experiment_kwargs", "output_dtypes"}
_OPTIONAL |= {"extra_requirements_groups", "contacts", "citation"}


def proposed_meta(
    encoder: Any, folder: Path, *, name: str, revision: str, dims: Sequence[int], prompts: Mapping[str, str]
) -> ModelMeta:
    """The entry of mteb for the model: its present one with the dims and the revision set, or a new one.

    `dims`: those that `get_model(name, embed_dim=d)` is to take, full width among them. `prompts`: those put before
    texts over the model's own, which the loader is then given.
    """
    listed: int | list[int] = sorted(dims) if len(dims) > 1 else dims[0]
    given: dict[str, Any] = {"model_prompts": {**_own(encoder.prompts), **prompts}} if prompts else {}
    if encoder.trust_remote_code:
        given["trust_remote_code"] = True
    registered = registered_entry(name)
    if registered is None:
        return _new_entry(encoder, folder, name=name, revision=revision, embed_dim=listed, loading=given)
    loading = {**registered.loader_kwargs, **given}
    return registered.model_copy(update={"embed_dim": listed, "revision": revision, "loader_kwargs": loading})


def _new_entry(
    encoder: Any, folder: Path, *, name: str, revision: str, embed_dim: int | list[int], loading: dict[str, Any]
) -> ModelMeta:
    card = card_header(folder)
    sizes = [(parameter.numel(), parameter.element_size()) for parameter in encoder.parameters()]
    return ModelMeta(
        loader=SentenceTransformerEncoderWrapper,
        loader_kwargs=loading,
        name=name,
        revision=revision,
        release_date=None,
        languages=language_scripts(card.get("language")),
        n_parameters=sum(count for count, _ in sizes),
        n_embedding_parameters=_embedding_parameters(encoder),
        memory_usage_mb=round(sum(count * size for count, size in sizes) / 2**20),
        max_tokens=encoder.max_seq_length,
        embed_dim=embed_dim,
        license=_license(card.get("license")),
        open_weights=True,
        public_training_code=None,
        public_training_data=None,
        framework=["Sentence Transformers", "PyTorch", "safetensors"],
        reference=f"https://huggingface.co/{name}",
        similarity_fn_name=ScoringFunction.from_str(encoder.similarity_fn_name),
        use_instructions=any((loading.get("model_prompts") or _own(encoder.prompts)).values()),
        training_datasets=_training_tasks(card.get("datasets")),
        adapted_from=_base(card.get("base_model")),
        modalities=["text"],
        model_type=["dense"],
    )


def with_dim(meta: ModelMeta, dim: int | None) -> ModelMeta:
    """The record that mteb itself makes of `get_model(name, embed_dim=dim)`; None: of `get_model(name)`."""
    if dim is None:
        return meta
    loading = {**meta.loader_kwargs, "embed_dim": dim}
    return meta.model_copy(update={"embed_dim": dim, "loader_kwargs": loading, "experiment_kwargs": {"embed_dim": dim}})


def unknown_fields(meta: ModelMeta) -> list[str]:
    """The fields that a person has to fill in, or to leave as None knowingly."""
    return [name for name in type(meta).model_fields if getattr(meta, name) is None and name not in _OPTIONAL]


def entry_name(name: str) -> str:
    """What the entry is called in Python: letters, digits and underscores."""
    word = "".join(one if one.isascii() and one.isalnum() else "_" for one in name.rpartition("/")[2].lower())
    return f"model_{word}" if word[:1].isdigit() else word or "model"


def as_module(meta: ModelMeta) -> str:
    """The Python file that registers the entry, to be put into mteb/models/model_implementations/."""
    loader = getattr(meta.loader, "func", meta.loader)
    if loader is None:
        raise EvaluationError(
            f"{meta.name}: mteb knows the model and has no loader for it, so nobody can repeat its scores; publish it "
            "under a name of your own"
        )
    infinite = ["from math import inf", ""] if meta.max_tokens == float("inf") else []
    imports = [
        "from mteb.models.model_meta import ModelMeta, ScoringFunction",
        f"from {loader.__module__} import {loader.__name__}",
    ]
    head = [
        f'"""{meta.name}, each of its dims through get_model(name, embed_dim=dim)."""',
        "",
        *infinite,
        *sorted(imports),
    ]
    return "\n".join([*head, "", f"{entry_name(str(meta.name))} = {meta.to_python()}", ""])


def read_module(path: Path) -> ModelMeta:
    """The entry that the file defines, as Python runs it. Only for files written by `as_module`."""
    scope: dict[str, Any] = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), scope)
    found = [one for one in scope.values() if isinstance(one, ModelMeta)]
    if len(found) != 1:
        raise EvaluationError(f"{path}: defines {len(found)} entries; exactly one is needed")
    return found[0]


def _own(prompts: Mapping[str, str | None] | None) -> dict[str, str]:
    return {name: prompt for name, prompt in (prompts or {}).items() if prompt}


def _embedding_parameters(encoder: Any) -> int | None:
    """Those of the table of token embeddings; None if the model does not say which table that is."""
    backbone = getattr(encoder[0], "auto_model", None)
    table = backbone.get_input_embeddings() if backbone is not None else None
    return None if table is None else int(table.weight.numel())


def _license(declared: Any) -> str | None:
    """The licence as mteb writes it; None for one it does not list."""
    word = str(declared).lower()
    listed = {one for part in typing.get_args(Licenses) for one in (typing.get_args(part) or (part,))}
    return word if word in listed else None


def _base(declared: Any) -> str | None:
    first = declared[0] if isinstance(declared, list) and declared else declared
    return first if isinstance(first, str) else None


def _training_tasks(declared: Any) -> set[str] | None:
    """The tasks of mteb made of the data sets that the card names; None if one of them is not among mteb's: what it
    shares with a task is not known.
    """
    names = [declared] if isinstance(declared, str) else list(declared or ())
    if not names:
        return None
    import mteb

    by_set: dict[str, set[str]] = {}
    for task in mteb.get_tasks(exclude_superseded=False, exclude_aggregate=True):
        by_set.setdefault(task.metadata.dataset["path"], set()).add(task.metadata.name)
    return set().union(*(by_set[name] for name in names)) if all(name in by_set for name in names) else None
