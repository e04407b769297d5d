"""The objectives of a recipe: what is minimised, at every prefix."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from matryoshka_text.section import Fault, Flag, Real, Section, Whole

__all__ = [
    "MOST_CLASSES",
    "READS",
    "Classify",
    "CoSENT",
    "Distill",
    "InfoNCE",
    "Mlm",
    "Objective",
    "ScoreDistill",
    "SelfDistill",
]

# Which stream of data an objective reads.
READS: Mapping[str, str] = {
    "info_nce": "pairs",
    "distill": "pairs",
    "self_distill": "pairs",
    "mlm": "text",
    "classify": "labelled",
    "cosent": "scored",
    "score_distill": "scored",
}
MOST_CLASSES = 1_000_000
_WEIGHT = "factor of this objective in the sum of all"
_BATCH = "rows of this objective's own global batch, over all processes (null: batch.size)"


class InfoNCE(Section):
    """In-batch contrastive loss (InfoNCE, hard negatives included), summed over the dims."""

    kind: Literal["info_nce"] = Field(description="picks this objective; needs pairs, triplets, nli or mined texts")
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosine; no unit")
    weight: Real = Field(default=1.0, gt=0, description=_WEIGHT)


class Distill(Section):
    """Every prefix learns the teacher's in-batch similarities: KL divergence plus squared error on the pairs."""

    kind: Literal["distill"] = Field(description="picks this objective; any related texts will do")
    teacher: str | None = Field(
        default=None, min_length=1, description="a folder or hub id (null: a frozen copy of the base, at full width)"
    )
    vectors: Flag = Field(
        default=False, description="take the teacher's vectors from the sources' own `vectors` files; excludes teacher"
    )
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosine of teacher and student; no unit")
    pair_weight: Real = Field(
        default=50.0, ge=0, description="factor of the squared error on the similarity of related pairs (0: KL alone)"
    )
    vector_weight: Real = Field(
        default=0.0,
        ge=0,
        description="factor of the squared distance between the unit prefixes of student and teacher, at every dim "
        "that the teacher has; meant for a rotated teacher (0: none)",
    )
    full_width_weight: Real = Field(
        default=3.0, gt=0, description="extra factor of the largest dim, which anchors full width"
    )
    weight: Real = Field(default=1.0, gt=0, description=_WEIGHT)

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of two teachers."""
        if found.get("vectors") is True and found.get("teacher") is not None:
            yield ("vectors",), "found true beside a teacher; allowed: one of the two; remove one"


class SelfDistill(Section):
    """Every prefix learns the in-batch similarities of the model's own full width, which is not moved by it."""

    kind: Literal["self_distill"] = Field(description="picks this objective; stands beside one that moves full width")
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the cosine at both lengths; no unit")
    pair_weight: Real = Field(
        default=0.0, ge=0, description="factor of the squared error on the similarity of related pairs (0: KL alone)"
    )
    weight: Real = Field(default=1.0, gt=0, description=_WEIGHT)


class Mlm(Section):
    """Masked-language model tied to the vocabulary matrix: its first m columns are the decoder at prefix m (MRL-E)."""

    kind: Literal["mlm"] = Field(description="picks this objective; needs a text source")
    cut: Literal["hidden", "transform", "nested"] = Field(
        default="transform",
        description="where the prefix is cut. hidden: on the token's hidden state, so that the sentence embedding's "
        "own prefix is trained, with no transform; transform: after the head's transform (the paper's reading; the "
        "tail leaks into the prefix through its LayerNorm); nested: after a transform whose output prefix depends on "
        "the input's same prefix alone (block-lower-triangular, normalised prefix by prefix), from which a physically "
        "smaller model can be cut",
    )
    share: Real = Field(default=0.15, gt=0, lt=1, description="share of a sequence's tokens that are to be guessed")
    replace: tuple[
        Annotated[Real, Field(ge=0, le=1)], Annotated[Real, Field(ge=0, le=1)], Annotated[Real, Field(ge=0, le=1)]
    ] = Field(
        default=(0.8, 0.1, 0.1),
        description="of those tokens, the shares masked, replaced by a random token, and left (arXiv:1810.04805)",
    )
    whole_words: Flag = Field(default=False, description="guess all tokens of a word, or none")
    max_length: Whole = Field(default=128, ge=8, description="tokens of a sequence, the special ones among them")
    packing: Flag = Field(
        default=True,
        description="texts one after another, cut into sequences of max_length (false: one text a sequence)",
    )
    batch: Whole | None = Field(default=None, ge=1, description=_BATCH)
    weight: Real = Field(default=1.0, gt=0, description=_WEIGHT)

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of shares that do not add up to 1."""
        shares = found.get("replace")
        if shares and all(isinstance(share, int | float) for share in shares) and abs(sum(shares) - 1) > 1e-6:
            yield (
                ("replace",),
                f"found shares that add up to {sum(shares):g}; allowed: masked, random and kept, together 1; "
                "write [0.8, 0.1, 0.1]",
            )


class Classify(Section):
    """Classification at every prefix: separate heads (MRL), or one weight matrix cut by columns (MRL-E)."""

    kind: Literal["classify"] = Field(description="picks this objective; needs a labelled source")
    head: Literal["mrl_e", "mrl"] = Field(
        default="mrl_e", description="mrl_e: one matrix, cut by columns; mrl: a matrix for each dim"
    )
    classes: Whole | None = Field(
        default=None,
        ge=2,
        le=MOST_CLASSES,
        description="labels are whole numbers from 0 to classes - 1 (null: the labels found in the data)",
    )
    scale: Real = Field(default=20.0, gt=0, description="multiplies the unit-length sentence vector; no unit")
    batch: Whole | None = Field(default=None, ge=1, description=_BATCH)
    weight: Real = Field(default=1.0, gt=0, description=_WEIGHT)


class CoSENT(Section):
    """The order of scored pairs, at every prefix: log(1 + sum of exp over pairs that are ordered wrongly)."""

    kind: Literal["cosent"] = Field(description="picks this objective; needs a scored source")
    temperature: Real = Field(default=0.05, ge=1e-4, description="divides the difference of cosines; no unit")
    batch: Whole | None = Field(default=None, ge=2, description=_BATCH)
    weight: Real = Field(default=1.0, gt=0, description=_WEIGHT)


class ScoreDistill(Section):
    """A teacher's scores of pairs, learnt by every prefix's cosine: squared error."""

    kind: Literal["score_distill"] = Field(description="picks this objective; needs a scored source")
    range: tuple[Real, Real] = Field(
        default=(0.0, 1.0),
        description="the scores that mean unrelated (cosine 0) and equal (cosine 1)",
        json_schema_extra={"allowed": "a list of 2 numbers, the lower first"},
    )
    batch: Whole | None = Field(default=None, ge=1, description=_BATCH)
    weight: Real = Field(default=1.0, gt=0, description=_WEIGHT)

    @classmethod
    def across(cls, found: Mapping[str, Any]) -> Iterator[Fault]:
        """The fault of a range that is none."""
        limits = found.get("range")
        if limits and all(isinstance(limit, int | float) for limit in limits) and limits[0] >= limits[1]:
            yield (
                ("range",),
                f"found {list(limits)}; allowed: a lower and a higher score; write [0, 5] for scores from 0 to 5",
            )


Objective = Annotated[
    InfoNCE | Distill | SelfDistill | Mlm | Classify | CoSENT | ScoreDistill, Field(discriminator="kind")
]
