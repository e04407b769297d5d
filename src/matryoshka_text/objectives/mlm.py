"""Plain text: masked tokens are guessed with the first columns of the vocabulary matrix."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from matryoshka_text.objectives.base import OWN_BATCH, Objective
from matryoshka_text.section import Fault, Flag, Real, Whole

if TYPE_CHECKING:
    from matryoshka_text.nested import NestedLoss
    from matryoshka_text.objectives.batch import MaskedBatch, Nesting

__all__ = ["Mlm"]


class Mlm(Objective):
    """Masked-language model tied to the vocabulary matrix: its first m columns are the decoder at prefix m (MRL-E)."""

    reads = "text"

    kind: Literal["mlm"] = Field(description="picks this objective; needs a text source")
    cut: Literal["hidden", "transform", "nested"] = Field(
        default="transform",
        description="where the prefix is cut. hidden: on the token's hidden state, so that the sentence embedding's "
        "own prefix is trained, with no transform; transform: after the head's transform (the paper's reading; the "
        "tail leaks into the prefix through its LayerNorm); nested: after a transform whose output prefix depends on "
        "the input's same prefix only (block-lower-triangular, normalised prefix by prefix), from which a physically "
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
    max_length: Whole = Field(
        default=128, ge=8, le=2**20, description="tokens of a sequence, the special ones among them"
    )
    packing: Flag = Field(
        default=True,
        description="texts one after another, cut into sequences of max_length (false: one text a sequence)",
    )
    batch: Whole | None = Field(default=None, ge=1, description=OWN_BATCH)

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

    def loss(self, batch: "MaskedBatch", nesting: "Nesting") -> "NestedLoss":
        """The cross-entropy of the batch's masked tokens, in nats, divided by `batch.denominator`.

        The logits at prefix m are rows[:, :m] @ matrix[:, :m].T + bias (arXiv:2205.13147, section 3).
        """
        from matryoshka_text.nested import nested_cross_entropy

        return nested_cross_entropy(
            batch.rows,
            batch.matrix,
            batch.target,
            nesting.dims,
            weights=nesting.weights,
            normalize=False,
            bias=batch.bias,
            denominator=batch.denominator,
        )
