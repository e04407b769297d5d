"""For training scripts of sentence-transformers' own: the nested contrastive loss in place of `MatryoshkaLoss`."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import all_gather_with_grad, get_rank
from torch import Tensor

from matryoshka_text.dims import check_dims
from matryoshka_text.nested import nested_cross_entropy
from matryoshka_text.nested.checks import check_scale, check_weights
from matryoshka_text.nested.loss import Number

__all__ = ["NestedMultipleNegatives"]

_MRL = """
@misc{kusupati2024matryoshka,
    title={Matryoshka Representation Learning},
    author={Aditya Kusupati and Gantavya Bhatt and Aniket Rege and Matthew Wallingford and Aditya Sinha and
        Vivek Ramanujan and William Howard-Snyder and Kaifeng Chen and Sham Kakade and Prateek Jain and Ali Farhadi},
    year={2024},
    eprint={2205.13147},
    archivePrefix={arXiv},
    primaryClass={cs.LG}
}
"""


class NestedMultipleNegatives(MultipleNegativesRankingLoss):
    """In-batch negatives at every prefix, for `SentenceTransformerTrainer`: one matrix product where a loop makes K.

    Equal, in value and in the gradient of every parameter, to

        MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale), dims, weights)

    with the other settings of both at their defaults (cosine, query to documents, no weighting by hardness, all dims in
    each step), which are the only ones there are: a sum over the dims, in columns (anchor, positive, negatives…). The
    texts are embedded as that loss embeds them. Under half-precision autocast this one still works in float32.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        dims: Sequence[int],
        weights: Sequence[Number] | None = None,
        scale: Number = 20.0,
        gather_across_devices: bool = False,
    ) -> None:
        """`dims` in any order, each once, with `weights` in the same order (None: all 1); `scale` is 1/temperature.

        `gather_across_devices`: the candidates of all processes, gathered once at full width, with gradient.
        ValueError for a dim beyond the model's width, and for weights or a scale that are no such numbers.
        """
        check_scale("scale", scale, torch.float64, torch.device("cpu"))
        super().__init__(model, scale=scale, gather_across_devices=gather_across_devices)
        # What is no integer cannot always be sorted, and is refused below.
        ascending = sorted(dims) if all(hasattr(dim, "__index__") for dim in dims) else dims
        self.dims = check_dims(ascending, model.get_embedding_dimension() or max(ascending, default=1))
        given = check_weights(weights, len(self.dims), torch.float64, torch.device("cpu")).tolist()
        self.weights = tuple(weight for _, weight in sorted(zip(dims, given, strict=True)))
        self.per_dim: Float[Tensor, " k"] | None = None
        """The last forward's losses in nats, unweighted and detached, in the order of `dims` (ascending)."""

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None) -> Float[Tensor, ""]:
        """The weighted sum over dims of the mean cross-entropy of this process's anchors; `labels` are not read."""
        if len(embeddings) < 2:
            raise ValueError(f"the batch has {len(embeddings)} columns; allowed: an anchor, a positive, then negatives")
        candidate, target = self._candidates(embeddings[1:])
        loss = nested_cross_entropy(embeddings[0], candidate, target, self.dims, weights=self.weights, scale=self.scale)
        self.per_dim = loss.per_dim
        return loss.total

    def _candidates(self, columns: list[Tensor]) -> tuple[Float[Tensor, "n d"], Int[Tensor, " b"]]:
        """Positives and negatives, of all processes where asked for, and the places of this process's positives."""
        # Row by row, so that the parts of the processes come one after the other and the gradient that goes back
        # through the gather lies in memory as it was sent: torch 2.13 mixes it up where it is transposed (gloo).
        stacked = torch.stack(columns, dim=1)
        rows, first = len(stacked), 0
        if self.gather_across_devices:
            stacked, first = all_gather_with_grad(stacked), get_rank() * rows
        return stacked.flatten(0, 1), torch.arange(first, first + rows, device=stacked.device) * len(columns)

    def get_config_dict(self) -> dict[str, object]:
        """The settings, for the model card."""
        return {
            "dims": self.dims,
            "weights": self.weights,
            "scale": self.scale,
            "gather_across_devices": self.gather_across_devices,
        }

    @property
    def citation(self) -> str:
        """BibTeX of the papers behind the loss: Matryoshka Representation Learning and InfoNCE."""
        return _MRL + str(super().citation)
