"""What a recipe's models show before it is run: width, depth, vocabulary; files are read, no model is opened."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matryoshka_text.build.check_rotation import check_rotated_base
from matryoshka_text.build.findings import Findings, items_of, valid
from matryoshka_text.build.masks import has_own_decoder, lacks_mask_token
from matryoshka_text.dims import log_dims
from matryoshka_text.encoder.resolve import beside, require_bert_family, require_weights, resolve_model, width_of
from matryoshka_text.errors import ModelError
from matryoshka_text.recipe import Base
from matryoshka_text.recipe.nesting import faults_of_pairs
from matryoshka_text.section import Loc, value_of

__all__ = ["check_models"]


def check_models(values: dict[str, Any], findings: Findings) -> int | None:
    """Record where dims, layers and objectives do not fit the base, and which models cannot be had.

    What comes back is the base's width; None where it is not known.
    """
    width = None
    base = valid(Base, values.get("base"))
    if base is not None:
        path, width = _found(("base", "model"), base.model, base.revision, findings, pooling=base.pooling)
        if path is not None:
            dims = list(log_dims(width)) if values.get("dims") == "log" and width else items_of(values, "dims")
            _check_dims(base, width, values, findings)
            _check_weights(base, dims, values, findings)
            _check_layers(base, _config(path), values, findings)
            _check_dims_of_pairs(base, dims, values, findings)
            _check_mlm(base, path, width, values, dims, findings)
            check_rotated_base(base.model, path, width, values, findings)
    for index, objective in enumerate(items_of(values, "objectives")):
        teacher = value_of(objective, "teacher")
        if isinstance(teacher, str) and teacher:
            _, wide = _found(("objectives", index, "teacher"), teacher, None, findings)
            _check_teacher(index, objective, width, wide, values, findings)
    return width


def _check_teacher(
    index: int, objective: Any, width: int | None, teacher: int | None, values: dict[str, Any], findings: Findings
) -> None:
    """A problem of vectors that are compared with those of a teacher whose own are too short."""
    factor = value_of(objective, "vector_weight")
    if width is None or teacher is None or not isinstance(factor, int | float) or factor <= 0:
        return
    needed = max((dim for dim in items_of(values, "dims") if isinstance(dim, int) and dim < width), default=0)
    if teacher < needed:
        findings.problem(
            ("objectives", index, "vector_weight"),
            f"found {factor:g}, but the teacher's vectors are {teacher} long; allowed: a teacher of at least {needed}, "
            "the largest dim below full width; use another teacher, or leave it out",
        )


def _check_dims(base: Base, width: int | None, values: dict[str, Any], findings: Findings) -> None:
    """Problems of dims above the width, and of `distill` without the full width to hold on to."""
    dims = items_of(values, "dims")
    if width is None or not dims:
        return
    for index, dim in enumerate(dims):
        if isinstance(dim, int) and dim > width:
            findings.problem(
                ("dims", index),
                f"found {dim}, and {base.model} gives vectors of width {width}; allowed: at most {width}; "
                "use smaller dims, or another base",
            )
    kinds = [value_of(objective, "kind") for objective in items_of(values, "objectives")]
    # One dim alone is a fixed-feature model: there is nothing to anchor.
    if "distill" in kinds and len(dims) > 1 and isinstance(dims[-1], int) and dims[-1] < width:
        findings.problem(
            ("dims", len(dims) - 1),
            f"found {dims[-1]}, but distill anchors full width, which is {width} for {base.model}; "
            f"allowed: dims that end in {width}; add it",
        )


def _check_weights(base: Base, dims: list[Any], values: dict[str, Any], findings: Findings) -> None:
    """A problem of a list of weights beside the word log, whose dims the schema does not know."""
    weights = values.get("weights")
    if values.get("dims") == "log" and dims and isinstance(weights, list) and len(weights) != len(dims):
        findings.problem(
            ("weights",),
            f"found {len(weights)} weights for the {len(dims)} dims {', '.join(map(str, dims))}, which log means for "
            f"{base.model}; allowed: one a dim, or uniform, low or learned; write {len(dims)} numbers",
        )


def _check_layers(base: Base, config: Mapping[str, Any], values: dict[str, Any], findings: Findings) -> None:
    """Problems of layers that the base has not, or that do not end with its last."""
    depth, layers = _number(config, "num_hidden_layers", "n_layers"), values.get("layers")
    if depth is None or not isinstance(layers, dict):
        return
    lowest = layers.get("lowest", 1)
    if layers.get("kind") == "random" and isinstance(lowest, int) and lowest >= depth:
        findings.problem(
            ("layers", "lowest"),
            f"found {lowest}, and {base.model} has {depth} layers; allowed: "
            + (f"1 to {depth - 1}, a layer below the last; use a lower one" if depth > 1 else "none; remove layers"),
        )
    pairs = items_of(layers, "pairs")
    if layers.get("kind") == "pairs" and pairs and all(_two_numbers(pair) for pair in pairs):
        _check_pairs(base, depth, pairs, findings)


def _check_dims_of_pairs(base: Base, dims: list[Any], values: dict[str, Any], findings: Findings) -> None:
    """Problems of pairs beside the word log; beside a list of dims, the schema tells them."""
    layers = values.get("layers")
    if values.get("dims") == "log" and value_of(layers, "kind") == "pairs":
        kinds = [value_of(objective, "kind") for objective in items_of(values, "objectives")]
        means = f", which log means for {base.model}"
        for loc, text in faults_of_pairs(value_of(layers, "pairs"), dims, kinds, means=means):
            findings.problem(("layers", *loc), text)


def _check_pairs(base: Base, depth: int, pairs: list[list[int]], findings: Findings) -> None:
    """Problems of the pairs' layers."""
    for index, (layer, _) in enumerate(pairs):
        if layer > depth:
            findings.problem(
                ("layers", "pairs", index),
                f"found layer {layer}, and {base.model} has {depth} layers; allowed: 1 to {depth}; "
                "use lower layers, or another base",
            )
    if pairs[-1][0] < depth:
        findings.problem(
            ("layers", "pairs", len(pairs) - 1),
            f"found layer {pairs[-1][0]} in the last pair, and {base.model} has {depth} layers; "
            f"allowed: a last pair that is the full model; add [{depth}, the largest dim]",
        )


def _two_numbers(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, int) for one in pair)


def _check_mlm(
    base: Base, path: Path, width: int | None, values: dict[str, Any], dims: list[Any], findings: Findings
) -> None:
    """Problems of masked-language modelling with this base: no mask token, no tied decoder, too narrow a matrix."""
    for index, objective in enumerate(items_of(values, "objectives")):
        if value_of(objective, "kind") != "mlm":
            continue
        if lacks_mask_token(path):
            findings.problem(
                ("objectives", index, "kind"),
                f"found mlm, and the tokenizer of {base.model} has no mask token; allowed: a base that was trained "
                "with one; use another base, or remove the objective",
            )
        config = _config(path)
        if has_own_decoder(config):
            findings.problem(
                ("objectives", index, "kind"),
                f"found mlm, and the config.json of {base.model} has tie_word_embeddings false, a decoder of its own; "
                "allowed: a decoder that is the vocabulary matrix; set it to true, which drops the other decoder, "
                "or use another base",
            )
        hidden, matrix = _number(config, "hidden_size", "dim"), _number(config, "embedding_size")
        if hidden and matrix and matrix < hidden and value_of(objective, "cut") == "hidden":
            findings.problem(
                ("objectives", index, "cut"),
                f"found hidden, but the vocabulary matrix of {base.model} is {matrix} wide and its hidden states are "
                f"{hidden}; allowed: transform or nested, which bring them to {matrix}; use one of these",
            )
        if width is not None and (wide := matrix or hidden):
            _check_narrow(base, wide, width, values.get("dims") == "log", dims, findings)
        if value_of(objective, "cut") == "nested" and dims and dims[0] == 1:
            findings.problem(
                ("dims", 0),
                "found 1, but mlm with cut nested normalises each prefix, and one number has no spread; "
                "allowed: at least 2; remove it, or use cut transform",
            )


def _check_narrow(base: Base, matrix: int, width: int, log: bool, dims: list[Any], findings: Findings) -> None:
    """Problems of dims that the vocabulary matrix has not; those that the vectors have not are told already."""
    why = f"but mlm reads prefixes of the vocabulary matrix of {base.model}, which is {matrix} wide; allowed: "
    if log and dims[-1] > matrix:
        findings.problem(("dims",), f"found log, which ends at {dims[-1]}, {why}at most {matrix}; write a list of dims")
        return
    for index, dim in enumerate(dims):
        if isinstance(dim, int) and matrix < dim <= width:
            findings.problem(("dims", index), f"found {dim}, {why}at most {matrix}; use smaller dims, or another base")


def _found(
    loc: Loc, name: str, revision: str | None, findings: Findings, *, pooling: str | None = None
) -> tuple[Path | None, int | None]:
    """Where model `name` is on this machine, and its width; a problem where it can never be used, else a note."""
    try:
        found = resolve_model(beside(name, findings.reading.folder), revision, local_only=True)
        require_bert_family(found.path, name)
        require_weights(found.path, name)
        width = width_of(found.path)
    except ModelError as error:
        if Path(name).expanduser().is_dir() or name.startswith((".", "/", "~")) or name.count("/") > 1:
            findings.problem(loc, f"found {name!r}: {error}")
        else:
            findings.note(loc, f"{name} is not on this machine, so its width is not looked at")
        return None, None
    if pooling is not None and (found.path / "modules.json").is_file():
        findings.problem(
            ("base", "pooling"),
            f"found {pooling}, but {name} is a sentence-transformers model with its own pooling; "
            "allowed: null; leave it out",
        )
    return found.path, width


def _config(path: Path) -> Mapping[str, Any]:
    """The model's config.json, which `require_bert_family` has read before."""
    config: Mapping[str, Any] = json.loads((path / "config.json").read_text())
    return config


def _number(config: Mapping[str, Any], *keys: str) -> int | None:
    """The first of `keys` that the configuration has as a number."""
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)
