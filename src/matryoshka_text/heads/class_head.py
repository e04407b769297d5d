"""Classification from every prefix of a sentence vector: separate heads (MRL) or one matrix cut by columns (MRL-E)."""

import json
import operator
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import ConfigDict, Field
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from matryoshka_text.dims import check_dims
from matryoshka_text.encoder.foreign import read_json, require_allowed
from matryoshka_text.encoder.opening import model_faults
from matryoshka_text.encoder.schema import Foreign
from matryoshka_text.errors import ModelError
from matryoshka_text.files import write_whole
from matryoshka_text.nested import NestedLoss, nested_cross_entropy
from matryoshka_text.nested.checks import check_denominator, check_index, check_vectors, check_weights
from matryoshka_text.nested.loss import Number
from matryoshka_text.objectives.batch import Nesting

__all__ = ["ClassHead", "Kind", "parameter_counts"]

Kind = Literal["mrl", "mrl_e"]
KINDS: tuple[str, ...] = get_args(Kind)


class _Saved(Foreign):
    """config.json of a saved head."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    width: Annotated[int, Field(ge=1, le=2**16)]
    dims: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    scale: Annotated[float, Field(gt=0)]
    classes: Annotated[list[str], Field(min_length=2)]


class ClassHead(nn.Module):
    """Linear classification of the raw prefixes of unit-length sentence vectors (arXiv:2205.13147, section 3).

    The logits of prefix m are scale * x[:m] @ W_m.T + b_m. Kind "mrl" has a matrix W_m and a bias b_m of its own for
    each trained dim; "mrl_e" has one matrix W [classes, width], cut to its first m columns, and one bias.

    `scale` is a constant. In a vector of length 1 and width d a coordinate is about 1/sqrt(d), so that at scale 1 the
    weights would have to grow to tens before a class could be certain, at small learning rates for thousands of steps;
    20 is the scale of the contrastive loss on the same vectors.
    """

    def __init__(
        self,
        classes: Sequence[str],
        *,
        width: int,
        dims: Sequence[int],
        kind: Kind = "mrl_e",
        scale: Number = 20.0,
        seed: int = 0,
    ) -> None:
        """Weights as `nn.Linear` draws them, from a generator of their own with `seed`; biases 0.

        Columns of an "mrl_e" matrix beyond the longest trained dim start at 0 and, untrained, never count. ValueError
        for fewer than two classes, a class named twice, dims beyond the width, an unknown kind, a scale not above 0.
        """
        super().__init__()
        _check_classes(classes)
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; allowed are {', '.join(map(repr, KINDS))}")
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale is {scale}; allowed is a finite number above 0")
        self.classes, self.width, self.dims, self.kind = tuple(classes), width, check_dims(dims, width), kind
        self.scale = float(scale)
        generator = torch.Generator().manual_seed(seed)

        def drawn(columns: int) -> Tensor:
            bound = columns**-0.5
            return torch.empty(len(classes), columns).uniform_(-bound, bound, generator=generator)

        if kind == "mrl":
            matrices = [drawn(dim) for dim in self.dims]
        else:
            matrices = [F.pad(drawn(self.dims[-1]), (0, width - self.dims[-1]))]
        self.matrices = nn.ParameterList(matrices)
        self.biases = nn.ParameterList(torch.zeros(len(classes)) for _ in matrices)

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    def checked_dim(self, dim: object) -> int:
        """`dim` as an int; ValueError for a prefix that the head does not read ("mrl" reads only the trained ones)."""
        try:
            number = 0 if isinstance(dim, bool) else operator.index(dim)  # type: ignore[arg-type]
        except TypeError:
            number = 0
        if self.kind == "mrl" and number not in self.dims:
            raise ValueError(f"dim is {dim!r}; allowed for separate heads are the trained ones, {_listed(self.dims)}")
        if not 1 <= number <= self.width:
            raise ValueError(f"dim is {dim!r}; allowed: a whole number from 1 to {self.width}, the width of this model")
        return number

    def logits(self, rows: Float[Tensor, "n width"], dim: int) -> Float[Tensor, "n classes"]:
        """The logits of each class, read from the first `dim` coordinates of full-width unit vectors, in float32."""
        dim = self.checked_dim(dim)
        check_vectors("rows", rows, (None, self.width), rows.device)
        part = self.dims.index(dim) if self.kind == "mrl" else 0
        matrix, bias = self.matrices[part], self.biases[part]
        dtype = torch.promote_types(rows.dtype, torch.float32)
        with torch.autocast(rows.device.type, enabled=False):
            return F.linear(rows[:, :dim].to(dtype) * self.scale, matrix[:, :dim].to(dtype), bias.to(dtype))

    def loss(
        self, rows: Float[Tensor, "b width"], target: Int[Tensor, " b"], nesting: Nesting, denominator: int
    ) -> NestedLoss:
        """Cross-entropy in nats at each prefix, summed over the rows and divided by `denominator`.

        ValueError for a class outside the head's and for a dim that the head does not read.
        """
        check_vectors("rows", rows, (None, self.width), rows.device)
        if self.kind == "mrl_e":
            return nested_cross_entropy(
                rows,
                self.matrices[0],
                target,
                nesting.dims,
                weights=nesting.weights,
                scale=self.scale,
                normalize=False,
                bias=self.biases[0],
                denominator=denominator,
            )
        target = check_index("target", target, len(rows), rows.device, below=len(self.classes))
        divisor = check_denominator(denominator, len(rows))
        each = [F.cross_entropy(self.logits(rows, dim), target, reduction="sum") for dim in nesting.dims]
        per_dim = torch.stack(each) / divisor
        weights = check_weights(nesting.weights, len(nesting.dims), per_dim.dtype, rows.device)
        return NestedLoss((weights * per_dim).sum(), per_dim.detach())

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors into `folder`."""
        config = {
            "kind": self.kind,
            "width": self.width,
            "dims": list(self.dims),
            "scale": self.scale,
            "classes": list(self.classes),
        }
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        write_whole(folder / "model.safetensors", to_bytes(weights))
        write_whole(folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "ClassHead":
        """The head that `save` wrote; `ModelError` if the folder holds none, or a damaged one."""
        path = folder / "config.json"
        try:
            config = read_json(path)
            require_allowed(path, _Saved, config)
            with model_faults(str(folder)):
                head = cls(**_Saved.model_validate(config).model_dump())
                head.load_state_dict(load_file(folder / "model.safetensors"))
        except ModelError as error:
            raise ModelError(
                f"{folder}: no classification head can be read there: {error}; "
                "allowed: a folder with config.json and model.safetensors, as training with `classify` saves it"
            ) from error
        return head


def parameter_counts(dims: Sequence[int], classes: int, width: int | None = None) -> dict[Kind, int]:
    """How many numbers each kind of head trains for `classes` classes, biases included; `width` None: the last dim.

    One matrix as wide as the vectors against one for each dim (arXiv:2205.13147, section 3: MRL-E saves the others).
    """
    columns = dims[-1] if width is None else width
    return {"mrl_e": classes * (columns + 1), "mrl": sum(classes * (dim + 1) for dim in dims)}


def _listed(dims: Sequence[int]) -> str:
    return ", ".join(map(str, dims))


def _check_classes(classes: Sequence[str]) -> None:
    named = [name for name in classes if isinstance(name, str)]
    if isinstance(classes, str) or len(named) < len(classes) or len(named) < 2:
        raise ValueError(f"classes are {classes!r}; allowed are two or more names")
    if twice := [name for name, times in Counter(named).items() if times > 1]:
        raise ValueError(f"classes name {', '.join(map(repr, twice))} more than once; allowed is each name once")
