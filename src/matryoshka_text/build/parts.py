"""Encoder, teacher, adapter and objectives from their recipe sections."""

import copy

import torch

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.adapter import add_adapter
from matryoshka_text.encoder.resolve import beside
from matryoshka_text.errors import RecipeError
from matryoshka_text.objectives import Distill, InfoNCE, Objective
from matryoshka_text.recipe import Recipe

__all__ = ["build_adapter", "build_encoder", "build_objectives", "build_teacher", "require_dims"]


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
    require_dims(recipe, encoder.width)
    encoder.dims = recipe.dims
    return encoder


def require_dims(recipe: Recipe, width: int) -> None:
    """`RecipeError` where a dim is above the base's width, or `distill` has no full width to hold on to."""
    for index, dim in enumerate(recipe.dims):
        if dim > width:
            raise RecipeError(
                f"dims[{index}] is {dim}, but {recipe.base.model} gives vectors of width {width}; "
                f"use dims of at most {width}, or another base"
            )
    if recipe.dims[-1] != width and any(spec.kind == "distill" for spec in recipe.objectives):
        raise RecipeError(
            f"dims[{len(recipe.dims) - 1}] is {recipe.dims[-1]}, but distill anchors full width, which is {width} for "
            f"{recipe.base.model}; add {width} to the dims"
        )


def build_teacher(recipe: Recipe, encoder: MatryoshkaEncoder) -> MatryoshkaEncoder | None:
    """The frozen teacher of `distill`: a copy of the untrained `encoder`, or another model; None without it."""
    spec = next((spec for spec in recipe.objectives if spec.kind == "distill"), None)
    if spec is None:
        return None
    if spec.teacher is None:
        teacher = copy.deepcopy(encoder)
    else:
        teacher = MatryoshkaEncoder(beside(spec.teacher, recipe.folder), device=str(encoder.device))
    return teacher.requires_grad_(False).eval()


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


def build_objectives(recipe: Recipe) -> list[Objective]:
    """The recipe's objectives, all over the recipe's dims and weights."""
    made: list[Objective] = []
    for spec in recipe.objectives:
        if spec.kind == "info_nce":
            made.append(InfoNCE(recipe.dims, weights=recipe.weights, temperature=spec.temperature, weight=spec.weight))
        else:
            made.append(
                Distill(
                    recipe.dims,
                    weights=recipe.weights,
                    temperature=spec.temperature,
                    pair_weight=spec.pair_weight,
                    full_width_weight=spec.full_width_weight,
                    weight=spec.weight,
                )
            )
    return made
