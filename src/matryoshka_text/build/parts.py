"""Encoder, teacher, adapter, heads and objectives from their recipe sections."""

import copy
from collections.abc import Mapping

import numpy as np
import torch

from matryoshka_text.data import Examples
from matryoshka_text.data.packing import PackedTexts
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layers import depth_of
from matryoshka_text.encoder.lora import add_adapter
from matryoshka_text.encoder.resolve import beside
from matryoshka_text.errors import ModelError, RecipeError
from matryoshka_text.heads.class_head import ClassHead
from matryoshka_text.heads.trained import Trained
from matryoshka_text.heads.vocabulary import VocabularyHead
from matryoshka_text.objectives import Classify, CoSENT, Distill, InfoNCE, Objective, ScoreDistill, SelfDistill
from matryoshka_text.objectives.uncertainty import Uncertainty
from matryoshka_text.recipe import READS, LayerPairs, Recipe
from matryoshka_text.recipe import Objective as Section
from matryoshka_text.recipe.nesting import faults_of_pairs
from matryoshka_text.recipe.wording import dotted

__all__ = [
    "build_adapter",
    "build_encoder",
    "build_objectives",
    "build_teacher",
    "build_trained",
    "require_dims",
    "require_layers",
    "require_teacher_width",
    "start_bias",
]


def build_encoder(recipe: Recipe, device: torch.device) -> MatryoshkaEncoder:
    """The recipe's base, in float32, on `device`, with the recipe's dims; `RecipeError` where a dim is too wide."""
    base = recipe.base
    encoder = MatryoshkaEncoder(
        beside(base.model, recipe.folder),
        revision=base.revision,
        pooling=base.pooling,
        device=str(device),
        trust_remote_code=base.trust_remote_code,
    )
    recipe = recipe.widths(encoder.width)
    require_dims(recipe, encoder.width)
    require_layers(recipe, encoder)
    encoder.dims = recipe.lengths
    return encoder


def require_dims(recipe: Recipe, width: int) -> None:
    """`RecipeError` where a dim is above the base's width, or `distill` has no full width to hold on to."""
    dims = recipe.lengths
    if len(recipe.factors) != len(dims):
        raise RecipeError(
            f"weights has {len(recipe.factors)} numbers, but the dims of {recipe.base.model} are {list(dims)}; "
            f"allowed: one a dim, or uniform, low or learned; write {len(dims)} numbers"
        )
    for index, dim in enumerate(dims):
        if dim > width:
            raise RecipeError(
                f"dims[{index}] is {dim}, but {recipe.base.model} gives vectors of width {width}; "
                f"use dims of at most {width}, or another base"
            )
    # One dim alone is a fixed-feature model: there is nothing to anchor.
    if dims[-1] != width and len(dims) > 1 and recipe.objective("distill") is not None:
        raise RecipeError(
            f"dims[{len(dims) - 1}] is {dims[-1]}, but distill anchors full width, which is {width} for "
            f"{recipe.base.model}; add {width} to the dims"
        )


def require_layers(recipe: Recipe, encoder: MatryoshkaEncoder) -> None:
    """`RecipeError` where a layer is above the base's depth, or a pair's dim is not trained."""
    if recipe.layers is None:
        return
    depth, base = depth_of(encoder), recipe.base.model
    if not isinstance(recipe.layers, LayerPairs):
        if recipe.layers.lowest >= depth:
            raise RecipeError(
                f"layers.lowest is {recipe.layers.lowest}, but {base} has {depth} layers; "
                f"allowed: 1 to {depth - 1}, a layer below the last"
            )
        return
    kinds = [spec.kind for spec in recipe.objectives]
    # Where the recipe lists the dims it has been told already; `log` is known only now.
    for loc, text in faults_of_pairs(recipe.layers.pairs, recipe.lengths, kinds, means=f" (of {base})"):
        raise RecipeError(f"{dotted(('layers', *loc))}: {text}")
    for index, (layer, dim) in enumerate(recipe.layers.pairs):
        if layer > depth:
            raise RecipeError(
                f"layers.pairs[{index}] is {[layer, dim]}, but {base} has {depth} layers; allowed: 1 to {depth}"
            )
    if recipe.layers.pairs[-1][0] != depth:
        raise RecipeError(
            f"layers.pairs ends at layer {recipe.layers.pairs[-1][0]}, but all of {base} are {depth}; "
            f"let the last pair be [{depth}, {recipe.lengths[-1]}]"
        )


def build_teacher(recipe: Recipe, encoder: MatryoshkaEncoder) -> MatryoshkaEncoder | None:
    """The frozen teacher of `distill`: a copy of the untrained `encoder`, or another model; None where none is run."""
    spec = recipe.objective("distill")
    if spec is None or spec.vectors:
        return None
    if spec.teacher is None:
        teacher = copy.deepcopy(encoder)
    else:
        teacher = MatryoshkaEncoder(beside(spec.teacher, recipe.folder), device=str(encoder.device))
    return teacher.requires_grad_(False).eval()


def require_teacher_width(recipe: Recipe, width: int, teacher: int | None) -> None:
    """`RecipeError` where `distill` compares prefixes with those of a `teacher` whose vectors are too short for it."""
    place = next((i for i, one in enumerate(recipe.objectives) if one.kind == "distill"), None)
    needed = max((dim for dim in recipe.lengths if dim < width), default=0)
    if place is None or teacher is None or teacher >= needed or not recipe.objective("distill").vector_weight:
        return
    raise RecipeError(
        f"objectives[{place}].vector_weight: found {recipe.objective('distill').vector_weight:g}, but the teacher's "
        f"vectors are {teacher} long; allowed: a teacher of at least {needed}, the largest dim below full width; use "
        "another teacher, or write `vector_weight: 0`"
    )


def build_adapter(recipe: Recipe, encoder: MatryoshkaEncoder) -> None:
    """Put the recipe's LoRA matrices into `encoder`, the same ones for the same seed; nothing without `lora`."""
    if recipe.lora is None:
        return
    torch.manual_seed(recipe.seed)
    targets = recipe.lora.target_modules
    try:
        add_adapter(
            encoder,
            rank=recipe.lora.rank,
            alpha=recipe.lora.alpha,
            dropout=recipe.lora.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
        )
    except ValueError as error:
        raise RecipeError(
            f"lora.target_modules is {targets!r}, which names nothing that can be adapted ({error}); "
            "allowed: all-linear, or names of its linear layers, such as [query, value]"
        ) from error


def build_trained(recipe: Recipe, encoder: MatryoshkaEncoder, streams: Mapping[str, Examples]) -> Trained:
    """The encoder with the heads its objectives need and the learned factors, the same for the same seed."""
    mlm, classify = recipe.objective("mlm"), recipe.objective("classify")
    vocabulary = classes = learned = None
    if mlm is not None:
        try:
            vocabulary = VocabularyHead.of(encoder, cut=mlm.cut, dims=recipe.lengths, seed=recipe.seed)
        except ModelError:
            raise
        except ValueError as error:
            raise RecipeError(
                f"dims are {list(recipe.lengths)}, and objective mlm with cut {mlm.cut}: {error}"
            ) from error
    if classify is not None:
        classes = ClassHead(
            streams["labelled"].classes,
            width=encoder.width,
            dims=recipe.lengths,
            kind=classify.head,
            scale=classify.scale,
            seed=recipe.seed,
        )
    if recipe.weights == "learned":
        learned = Uncertainty([spec.kind for spec in recipe.objectives], len(recipe.lengths))
    return Trained(encoder, vocabulary, classes, learned).to(encoder.device)


def start_bias(head: VocabularyHead, packed: PackedTexts) -> None:
    """Nothing; a decoder bias that no checkpoint brought starts at the log frequency of the words in the training text.

    From 0 it would need thousands of steps to learn how rare words are, which a small prefix has no other way to say.
    Each word counts one time more than it was seen.
    """
    if not head.bias.requires_grad or head.bias.any():
        return
    counts = torch.from_numpy(np.bincount(packed.flat, minlength=len(head.bias))).to(head.bias)
    with torch.no_grad():
        head.bias.copy_(((counts + 1) / (counts + 1).sum()).log())


def build_objectives(recipe: Recipe, trained: Trained) -> dict[str, list[Objective]]:
    """The objectives on vectors, by the stream they read."""
    made: dict[str, list[Objective]] = {}
    for spec in recipe.objectives:
        if spec.kind != "mlm":
            made.setdefault(READS[spec.kind], []).append(_objective(spec, trained))
    return made


def _objective(spec: Section, trained: Trained) -> Objective:
    if spec.kind == "info_nce":
        return InfoNCE(temperature=spec.temperature, weight=spec.weight)
    if spec.kind == "distill":
        return Distill(
            temperature=spec.temperature,
            pair_weight=spec.pair_weight,
            vector_weight=spec.vector_weight,
            full_width_weight=spec.full_width_weight,
            weight=spec.weight,
        )
    if spec.kind == "self_distill":
        return SelfDistill(temperature=spec.temperature, pair_weight=spec.pair_weight, weight=spec.weight)
    if spec.kind == "classify":
        assert trained.classes is not None
        return Classify(trained.classes, weight=spec.weight)
    if spec.kind == "cosent":
        return CoSENT(temperature=spec.temperature, weight=spec.weight)
    assert spec.kind == "score_distill"
    return ScoreDistill(low=spec.range[0], high=spec.range[1], weight=spec.weight)
