"""Everything a run needs, read and checked before its folder is made: data, batches, model, heads."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accelerate import Accelerator

from matryoshka_text.build.facts import facts_of_data, facts_of_model
from matryoshka_text.build.mining import mine_pairs, stored_pairs
from matryoshka_text.build.parts import (
    Trained,
    build_adapter,
    build_encoder,
    build_teacher,
    build_trained,
    start_bias,
)
from matryoshka_text.build.rotation import require_rotation
from matryoshka_text.build.runtime import Runtime
from matryoshka_text.data import (
    Examples,
    HeldOutRows,
    SourceRows,
    read_held_out,
    read_rotation_texts,
    read_sources,
    require_known_classes,
    streams_of,
)
from matryoshka_text.data.masking import Masker
from matryoshka_text.data.packing import PackedTexts, pack
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.dtype import choose_dtype
from matryoshka_text.encoder.layers import depth_of
from matryoshka_text.encoder.tokens import usable_tokens
from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.heads.class_head import Kind, parameter_counts
from matryoshka_text.heads.vocabulary import backbone_of, vocabulary_matrix
from matryoshka_text.objectives import Stream
from matryoshka_text.prompts import ModelPrompts
from matryoshka_text.recipe import Recipe
from matryoshka_text.recipe.facts import Facts
from matryoshka_text.recipe.requirements import requirements
from matryoshka_text.recipe.wording import dotted
from matryoshka_text.section import Loc
from matryoshka_text.training.batches import StreamPlan, pass_tokens
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.prompts import require_prompts
from matryoshka_text.training.rotated import Rotated, rotated

__all__ = ["Inputs", "read_inputs"]


@dataclass(frozen=True)
class Inputs:
    """The data by stream, with their batches, and the model with its heads; `masking` is the text as sequences."""

    recipe: Recipe
    streams: dict[Stream, Examples]
    masking: tuple[PackedTexts, Masker] | None
    plans: dict[Stream, StreamPlan]
    held_out: list[HeldOutRows]
    encoder: MatryoshkaEncoder
    teacher: MatryoshkaEncoder | None
    trained: Trained
    steps: int
    rotation: Rotated | None = None

    def head_sizes(self) -> dict[str, dict[str, int]]:
        """How many numbers each head trains, by kind, the recipe's first; for a class head the other kind's too."""
        sizes: dict[str, dict[str, int]] = {}
        if self.trained.vocabulary is not None:
            tied = vocabulary_matrix(backbone_of(self.encoder)).numel()
            own = sum(p.numel() for p in self.trained.vocabulary.parameters())
            sizes["mlm"] = {self.trained.vocabulary.cut: own, "the encoder's vocabulary matrix": tied}
        if self.trained.classes is not None:
            head = self.trained.classes
            counts = parameter_counts(head.dims, len(head.classes), head.width)
            other: Kind = "mrl" if head.kind == "mrl_e" else "mrl_e"
            sizes["classifier"] = {head.kind: head.parameter_count, other: counts[other]}
        return sizes

    def heads(self) -> Iterator[str]:
        """A line for each head."""
        for name, sizes in self.head_sizes().items():
            (kind, own), (other, count) = sizes.items()
            yield f"{name}, {kind}: {own:,} parameters ({other}: {count:,})"


def read_inputs(
    recipe: Recipe, folder: RunFolder, accelerator: Accelerator, *, store: bool, runtime: Runtime | None = None
) -> Inputs:
    """The recipe's inputs; mined pairs are kept in `folder` if `store` is true. `MtextError` for what is wrong."""
    found = read_sources(recipe)
    texts = read_rotation_texts(recipe, found)
    held_out = [read_held_out(held, recipe.folder) for held in recipe.evaluation.data] if recipe.evaluation else []
    encoder = build_encoder(recipe, accelerator.device)
    distill = recipe.objective("distill")
    teacher = build_teacher(recipe, encoder) if distill is not None and distill.teacher is not None else None
    _require(recipe, encoder, teacher, found)
    recipe = recipe.resolved_for(
        encoder.width,
        prompts=ModelPrompts.of(encoder),
        precision=choose_dtype(recipe.precision, encoder.device),
        tokens=pass_tokens(accelerator.device),
    )
    encoder.dims = recipe.lengths
    require_prompts(recipe, encoder, teacher)
    require_rotation(recipe, encoder, {name: len(rows) for name, rows in texts.items()})
    streams = _streams(recipe, found, encoder, folder=folder, accelerator=accelerator, store=store)
    masking = _masking(recipe, streams, encoder)
    for held in held_out:
        if held.kind == "labelled":
            require_known_classes(held, streams["labelled"].seen_classes)
        elif held.kind == "text" and masking is not None:
            _packed(recipe, encoder, masking[1], texts=held.first, place=held.table)
    packed = masking[0] if masking else None
    plans = {
        name: StreamPlan(recipe, name, examples, packed if name == "text" else None)
        for name, examples in streams.items()
    }
    rotation = rotated(recipe, folder, encoder, texts, accelerator=accelerator, store=store)
    # After the rotation and before the adapter: a teacher that is a copy of the base is the base as it starts.
    teacher = teacher or build_teacher(recipe, encoder)
    build_adapter(recipe, encoder)
    trained = build_trained(recipe, encoder, streams)
    for model in (encoder, teacher):
        if model is not None:
            (runtime or Runtime()).apply(model)
    if trained.vocabulary is not None and packed is not None:
        start_bias(trained.vocabulary, packed)
    return Inputs(
        recipe=recipe,
        streams=streams,
        masking=masking,
        plans=plans,
        held_out=held_out,
        encoder=encoder,
        teacher=teacher,
        trained=trained,
        steps=_steps(recipe, plans),
        rotation=rotation,
    )


def _require(
    recipe: Recipe, encoder: MatryoshkaEncoder, teacher: MatryoshkaEncoder | None, rows: list[SourceRows]
) -> None:
    """`RecipeError` with all that the recipe asks of its base, teacher and data and does not get."""
    # Not every model has layers that can be told apart.
    depth = depth_of(encoder) if recipe.layers is not None else None
    tokens = usable_tokens(encoder) if recipe.objective("mlm") is not None else None
    teachers, texts = facts_of_data(recipe.objectives, dict(enumerate(rows)))
    base = facts_of_model(encoder, depth=depth, tokens=tokens)
    readings: dict[Loc, tuple[str, ...]] = {("base", "model"): base.own_reading}
    if teacher is not None:
        place = recipe.objectives.index(recipe.objective("distill"))
        teachers[place] = teacher.width
        readings["objectives", place, "teacher"] = () if teacher.folder is None else teacher.folder.own_reading
    facts = Facts(base, teachers, texts, readings)
    if faults := [f"{dotted(loc)}: {text}" for loc, text in requirements(dict(recipe), facts)]:
        raise RecipeError("\n".join(faults))


def _streams(
    recipe: Recipe,
    found: list[SourceRows],
    encoder: MatryoshkaEncoder,
    *,
    folder: RunFolder,
    accelerator: Accelerator,
    store: bool,
) -> dict[Stream, Examples]:
    """The data by stream, mined pairs found; none without objectives, as `data` is the rotation's then."""
    if not recipe.objectives:
        return {}
    return streams_of(recipe, _mined(recipe, found, encoder, folder=folder, accelerator=accelerator, store=store))


def _mined(
    recipe: Recipe,
    found: list[SourceRows],
    encoder: MatryoshkaEncoder,
    *,
    folder: RunFolder,
    accelerator: Accelerator,
    store: bool,
) -> list[SourceRows]:
    """The rows with each mined source's texts turned into pairs, by the main process once for all."""
    for place, source in enumerate(recipe.data):
        if source.kind == "mined":
            with accelerator.main_process_first():
                path = folder.mined(source.name) if store else None
                found[place] = stored_pairs(path, encoder, found[place], source, compute=mine_pairs)
    return found


def _masking(
    recipe: Recipe, streams: dict[Stream, Examples], encoder: MatryoshkaEncoder
) -> tuple[PackedTexts, Masker] | None:
    """The text as token sequences, and what masks them; None without the objective mlm."""
    spec = recipe.objective("mlm")
    if spec is None:
        return None
    masker = Masker(encoder.tokenizer, share=spec.share, replace=spec.replace, whole_words=spec.whole_words)
    texts = streams["text"]
    packed = _packed(recipe, encoder, masker, texts=texts.columns[0], place=", ".join(texts.labels))
    return packed, masker


def _packed(
    recipe: Recipe, encoder: MatryoshkaEncoder, masker: Masker, *, texts: Sequence[str], place: str
) -> PackedTexts:
    """The texts as token sequences; `DataError` at `place` where no token of them can be masked."""
    spec = recipe.objective("mlm")
    try:
        packed = pack(texts, encoder.tokenizer, max_length=spec.max_length, packing=spec.packing)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    if not masker.maskable(packed.flat):
        raise DataError(
            f"{place}: none of the {len(packed.flat):,} tokens of its {len(texts):,} texts can be masked: to the "
            f"tokenizer of {recipe.base.model} all are special or unknown; give text in a language that it knows, or "
            "take another base"
        )
    return packed


def _steps(recipe: Recipe, plans: dict[Stream, StreamPlan]) -> int:
    """Optimizer steps; an epoch is a pass over the first objective's stream."""
    if recipe.stopping is None:
        return 0
    if recipe.stopping.steps is not None:
        return recipe.stopping.steps
    stream = recipe.objectives[0].reads
    share = 1.0
    if recipe.stream_shares is not None and len(plans) > 1:
        shares = {name: getattr(recipe.stream_shares, name) for name in plans}
        share = shares[stream] / sum(shares.values())
    batches = (recipe.stopping.epochs or 1) * len(plans[stream].first)
    return math.ceil(batches / (share * recipe.batch.accumulate))
