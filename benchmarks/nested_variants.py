"""The ways to compute the loss of benchmarks/nested_loss.py, each a function that forms it once."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matryoshka_text.nested import nested_cross_entropy

VARIANTS = {
    "plain": "one dim, full width",
    "loop": "autograd loop",
    "compiled": "autograd loop, torch.compile",
    "sentence-transformers": "MatryoshkaLoss(MultipleNegativesRanking)",
    "chunked": "nested_cross_entropy, chunked",
    "fused": "nested_cross_entropy, fused",
    "liger": "Liger fused linear cross-entropy, K calls",
    "liger-one": "Liger fused linear cross-entropy, ONE call",
    "cce": "Cut-Cross-Entropy, K calls",
    "cce-one": "Cut-Cross-Entropy, ONE call",
    "cce-unfiltered": "Cut-Cross-Entropy without filtering, K calls",
    "cce-unfiltered-one": "Cut-Cross-Entropy without filtering, ONE call",
}
OURS = ("chunked", "fused")
ONE_DIM = ("plain", "liger-one", "cce-one", "cce-unfiltered-one")
SCALE = 20.0

Loss = Callable[[], Tensor]


class Unavailable(Exception):
    """A variant that cannot run here; the text says why."""


@dataclass
class Case:
    """The tensors of a case; `bias` marks the masked-language model, which reads raw prefixes."""

    dims: tuple[int, ...]
    query: Tensor
    candidate: Tensor
    target: Tensor
    bias: Tensor | None

    @property
    def leaves(self) -> list[Tensor]:
        """The tensors that get a gradient."""
        return [leaf for leaf in (self.query, self.candidate, self.bias) if leaf is not None]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Rows, columns, width."""
        return len(self.query), len(self.candidate), self.query.shape[1]

    def first(self, rows: int, columns: int, dtype: torch.dtype | None = None) -> "Case":
        """A case of the first rows and columns, with leaves of its own; the targets move in among the columns."""
        b, n, _ = self.sizes
        rows, columns = min(rows, b), min(columns, n)
        if self.bias is None:
            rows = columns = min(rows, columns)
        query, candidate = self.query[:rows], self.candidate[:columns]
        leaves = [v.detach().to(dtype or v.dtype, copy=True).requires_grad_() for v in (query, candidate)]
        bias = None if self.bias is None else self.bias.detach()[:columns].to(dtype or self.bias.dtype, copy=True)
        return Case(
            self.dims,
            *leaves,
            self.target[:rows] % columns,
            None if bias is None else bias.requires_grad_(),
        )


def make_case(name: str, options: argparse.Namespace) -> Case:
    """Random tensors of the sizes asked for, the same in every process."""
    settings = {"device": options.device, "dtype": getattr(torch, options.dtype)}
    torch.manual_seed(0)
    if name == "infonce":
        b, n, width, dims = options.batch, options.batch, options.width, options.dims
    else:
        b, n, width, dims = options.mlm_rows, options.vocabulary, options.mlm_width, options.mlm_dims
    # Rows of the vocabulary matrix are short in real models: logits of a few units, not of hundreds.
    query, candidate = torch.randn(b, width), torch.randn(n, width) * (1.0 if name == "infonce" else 0.05)
    target = torch.arange(b) if name == "infonce" else torch.randint(0, n, (b,))
    bias = None if name == "infonce" else torch.zeros(n)
    query, candidate, bias = (
        None if v is None else v.to(**settings).requires_grad_() for v in (query, candidate, bias)
    )
    return Case(dims, query, candidate=candidate, target=target.to(options.device), bias=bias)


def plain_loss(query: Tensor, candidate: Tensor, target: Tensor, bias: Tensor | None, dims: tuple[int, ...]) -> Tensor:
    """The sum of the losses at `dims`, as a user would write it."""
    total = query.new_zeros((), dtype=torch.float32)
    for dim in dims:
        rows, columns = query[:, :dim], candidate[:, :dim]
        if bias is None:
            total = total + F.cross_entropy(SCALE * F.normalize(rows) @ F.normalize(columns).T, target)
        else:
            total = total + F.cross_entropy(rows @ columns.T + bias, target)
    return total


def fused_one_width(case: Case, dims: tuple[int, ...], loss: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """A call of a fused linear cross-entropy for each dim; unit-length prefixes are formed before it, by autograd."""

    def at(dim: int) -> Tensor:
        rows, columns = case.query[:, :dim], case.candidate[:, :dim]
        if case.bias is None:
            return loss(SCALE * F.normalize(rows), F.normalize(columns))
        return loss(rows.contiguous(), columns.contiguous())

    return lambda: torch.stack([at(dim) for dim in dims]).sum()


def liger(case: Case, dims: tuple[int, ...]) -> Loss:
    """Liger's, bias included."""
    try:
        from liger_kernel.transformers.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyLoss
    except ImportError as error:
        raise Unavailable("not installed (liger-kernel)") from error
    loss = LigerFusedLinearCrossEntropyLoss()
    return fused_one_width(case, dims, lambda rows, columns: loss(columns, rows, case.target, case.bias))


def cut_cross_entropy(case: Case, dims: tuple[int, ...], *, filtered: bool) -> Loss:
    """Apple's; it has no bias, so it does less here (the case's bias is 0, and the value is the same)."""
    try:
        from cut_cross_entropy import linear_cross_entropy
    except ImportError as error:
        raise Unavailable("not installed (cut-cross-entropy)") from error
    settings: dict[str, Any] = {} if filtered else {"filter_eps": None}
    return fused_one_width(
        case, dims, lambda rows, columns: linear_cross_entropy(rows, columns, case.target, **settings)
    )


class Stub(nn.Module):
    """An encoder whose embeddings are the tensors it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def get_embedding_dimension(self) -> int:
        """The width of the embeddings."""
        return self.width

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """The embedding that came in as a feature."""
        return {"sentence_embedding": features["embedding"]}


def sentence_transformers_loss(case: Case) -> Loss:
    """MatryoshkaLoss over MultipleNegativesRankingLoss on the case's tensors."""
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

    model = Stub(case.query.shape[1])
    loss = MatryoshkaLoss(model, MultipleNegativesRankingLoss(model, scale=SCALE), list(case.dims))
    features = [{"embedding": case.query}, {"embedding": case.candidate}]
    return lambda: loss([dict(feature) for feature in features], None)


def ours(case: Case, name: str) -> Loss:
    """nested_cross_entropy by the backend `name`."""
    call = partial(
        nested_cross_entropy,
        case.query,
        case.candidate,
        case.target,
        dims=case.dims,
        normalize=case.bias is None,
        bias=case.bias,
        backend=name,
    )
    return lambda: call().total


def make_variant(name: str, case: Case) -> Loss:
    """A function that forms the loss once; `Unavailable` where something that it needs is missing."""
    dims = case.dims[-1:] if name in ONE_DIM else case.dims
    tensors = (case.query, case.candidate, case.target, case.bias, dims)
    if name in ("plain", "loop"):
        return lambda: plain_loss(*tensors)
    if name == "compiled":
        compiled = torch.compile(plain_loss, dynamic=False)
        return lambda: compiled(*tensors)
    if name == "sentence-transformers":
        return sentence_transformers_loss(case)
    if name in OURS:
        return ours(case, name)
    if name.startswith("liger"):
        return liger(case, dims)
    return cut_cross_entropy(case, dims, filtered="unfiltered" not in name)


def variants_of(case: Case) -> list[str]:
    """The names that apply: sentence-transformers has no masked-language model, and fused kernels need a GPU."""
    anywhere = ["plain", "loop", "compiled", *(["sentence-transformers"] if case.bias is None else []), "chunked"]
    return (
        list(VARIANTS if case.bias is None else [v for v in VARIANTS if v != "sentence-transformers"])
        if (case.query.is_cuda)
        else anywhere
    )


def step(loss: Loss, case: Case) -> Tensor:
    """The loss's value, after a backward pass whose gradients lie in the leaves, and is done."""
    for leaf in case.leaves:
        leaf.grad = None
    total = loss()
    total.backward()
    if total.is_cuda:
        torch.cuda.synchronize()
    return total.detach()


def bytes_needed(name: str, case: Case) -> int:
    """About what a variant holds at its peak in addition to inputs and gradients, in bytes.

    A loop keeps a matrix of logits for each dim until its backward pass, sentence-transformers two (measured), and the
    backward pass of one dim adds three; the plain loss has only those three. The others keep no [b, n] matrix: 0.
    """
    b, n, _ = case.sizes
    kept = {"plain": 0, "loop": len(case.dims), "compiled": len(case.dims), "sentence-transformers": 2 * len(case.dims)}
    return (kept[name] + 3) * b * n * case.query.element_size() if name in kept else 0
