"""Everything a run needs, read and checked before its folder is made: data, batches, model, heads."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accelerate import Accelerator

from matryoshka_text.build.mining import mine_pairs, stored_pairs
from matryoshka_text.build.parts import (
    build_adapter,
    build_encoder,
    build_teacher,
    build_trained,
    require_teacher_width,
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
from matryoshka_text.errors import DataError, RecipeError
from matryoshka_text.heads.class_head import Kind, parameter_counts
from matryoshka_text.heads.family import usable_tokens
from matryoshka_text.heads.trained import Trained
from matryoshka_text.heads.vocabulary import backbone_of, vocabulary_matrix
from matryoshka_text.recipe import Recipe
from matryoshka_text.training.folder import RunFolder
from matryoshka_text.training.plan import StreamPlan, batch_size
from matryoshka_text.training.rotated import Rotated, rotated

__all__ = ["Inputs", "read_inputs"]


@dataclass(frozen=True)
class Inputs:
    """The data by stream, with their batches, and the model with its heads; `masking` is the text as sequences."""

    recipe: Recipe
    streams: dict[str, Examples]
    masking: tuple[PackedTexts, Masker] | None
    plans: dict[str, StreamPlan]
    held_out: list[HeldOutRows]
    encoder: MatryoshkaEncoder
    teacher: MatryoshkaEncoder | None
    trained: Trained
    steps: int
    rotation: Rotated | None = None

    def outlook(self) -> Iterator[str]:
        """A line for each stream."""
        count = self.recipe.batch.accumulate
        together = f" ({count} to a step)" if count > 1 else ""
        for name, examples in self.streams.items():
            plan = self.plans[name].first
            packed = self.masking[0] if self.masking and name == "text" else None
            sequences = f" in {len(packed):,} sequences" if packed is not None else ""
            yield (
                f"{len(examples):,} rows of {', '.join(examples.names)}{sequences}; {len(plan):,} batches of "
                f"{batch_size(self.recipe, name)[0]} an epoch{together}, {plan.left_over:,} rows left over"
            )

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
    """The recipe's inputs; mined pairs are kept in `folder` where `store` is true. `MtextError` for what is wrong."""
    found = read_sources(recipe)
    texts = read_rotation_texts(recipe, found)
    held_out = [read_held_out(held, recipe.folder) for held in recipe.evaluation.data] if recipe.evaluation else []
    encoder = build_encoder(recipe, accelerator.device)
    spelled = recipe.widths(encoder.width)
    require_rotation(spelled, encoder, {name: len(rows) for name, rows in texts.items()})
    streams = _streams(recipe, found, encoder, folder, accelerator, store=store)
    masking = _masking(recipe, streams, encoder)
    for held in held_out:
        if held.kind == "labelled":
            require_known_classes(held, streams["labelled"].seen_classes)
        elif held.kind == "text" and masking is not None:
            _packed(recipe, encoder, masking[1], held.first, held.table)
    packed = masking[0] if masking else None
    plans = {
        name: StreamPlan.of(spelled, name, examples, packed if name == "text" else None)
        for name, examples in streams.items()
    }
    teacher = _teacher(spelled, encoder, streams)
    rotation = rotated(spelled, folder, encoder, texts, accelerator, store=store)
    # After the rotation and before the adapter: a teacher that is a copy of the base is the base as it starts.
    teacher = teacher or build_teacher(recipe, encoder)
    build_adapter(recipe, encoder)
    trained = build_trained(spelled, encoder, streams)
    for model in (encoder, teacher):
        if model is not None:
            (runtime or Runtime()).apply(model)
    if trained.vocabulary is not None and packed is not None:
        start_bias(trained.vocabulary, packed)
    steps = _steps(recipe, plans)
    return Inputs(spelled, streams, masking, plans, held_out, encoder, teacher, trained, steps, rotation)


def _streams(
    recipe: Recipe,
    found: list[SourceRows],
    encoder: MatryoshkaEncoder,
    folder: RunFolder,
    accelerator: Accelerator,
    *,
    store: bool,
) -> dict[str, Examples]:
    """The data by stream, mined pairs found; none without objectives, where `data` are texts of the rotation alone."""
    if not recipe.objectives:
        return {}
    streams = streams_of(recipe, _mined(recipe, found, encoder, folder, accelerator, store=store))
    _require_vectors(recipe, streams)
    return streams


def _teacher(recipe: Recipe, encoder: MatryoshkaEncoder, streams: dict[str, Examples]) -> MatryoshkaEncoder | None:
    """A teacher that is another model; None for one that is the base or a file. `RecipeError` for a narrow one."""
    spec = recipe.objective("distill")
    teacher = build_teacher(recipe, encoder) if spec is not None and spec.teacher is not None else None
    stored = streams["pairs"].vectors if spec is not None and spec.vectors else None
    width = teacher.width if teacher is not None else stored[0].shape[1] if stored is not None else None
    require_teacher_width(recipe, encoder.width, width)
    return teacher


def _mined(
    recipe: Recipe,
    found: list[SourceRows],
    encoder: MatryoshkaEncoder,
    folder: RunFolder,
    accelerator: Accelerator,
    *,
    store: bool,
) -> list[SourceRows]:
    """The rows with each mined source's texts turned into pairs, by the main process once for all."""
    for place, source in enumerate(recipe.data):
        if source.kind == "mined":
            with accelerator.main_process_first():
                path = folder.mined(source.name) if store else None
                found[place] = stored_pairs(path, encoder, found[place], source, mine_pairs)
    return found


def _require_vectors(recipe: Recipe, streams: dict[str, Examples]) -> None:
    spec = recipe.objective("distill")
    given = [source.name for source in recipe.data if source.vectors is not None]
    if given and not (spec is not None and spec.vectors):
        raise RecipeError(
            f"data: {', '.join(given)} has a file of teacher's vectors, which nothing reads; write `vectors: true` "
            "in the objective distill, or remove it"
        )
    if spec is not None and spec.vectors and streams["pairs"].vectors is None:
        raise RecipeError(
            "objectives: distill has vectors: true, but the sources have no teacher's vectors; "
            "give each of its sources a `vectors` file, or name a teacher"
        )


def _masking(
    recipe: Recipe, streams: dict[str, Examples], encoder: MatryoshkaEncoder
) -> tuple[PackedTexts, Masker] | None:
    """The text as token sequences, and what masks them; None without the objective mlm."""
    spec = recipe.objective("mlm")
    if spec is None:
        return None
    masker = Masker(encoder.tokenizer, share=spec.share, replace=spec.replace, whole_words=spec.whole_words)
    most, place = usable_tokens(encoder), recipe.objectives.index(spec)
    if most is not None and spec.max_length > most:
        raise RecipeError(
            f"objectives[{place}].max_length: found {spec.max_length}; allowed: at most {most}, "
            f"the tokens that {recipe.base.model} can read; write `max_length: {most}`"
        )
    texts = streams["text"]
    packed = _packed(recipe, encoder, masker, texts.columns[0], ", ".join(texts.labels))
    if spec.whole_words and packed.words is None:
        raise RecipeError(
            f"objectives: mlm has whole_words: true, but {recipe.base.model} has no fast tokenizer (tokenizer.json), "
            "which alone knows the words; write whole_words: false, or take another base"
        )
    return packed, masker


def _packed(
    recipe: Recipe, encoder: MatryoshkaEncoder, masker: Masker, texts: Sequence[str], place: str
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


def _steps(recipe: Recipe, plans: dict[str, StreamPlan]) -> int:
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
