"""The mathematics of nested embeddings: tensors in, tensors out; no recipe, no model, no rank."""

from matryoshka_text.nested.cosent import nested_cosent
from matryoshka_text.nested.cross_entropy import nested_cross_entropy
from matryoshka_text.nested.distillation import nested_distillation
from matryoshka_text.nested.fused_support import ChosenBackend, choose_backend
from matryoshka_text.nested.loss import NestedLoss
from matryoshka_text.nested.pair_error import nested_pair_error
from matryoshka_text.nested.vector_error import nested_vector_error

__all__ = [
    "ChosenBackend",
    "NestedLoss",
    "choose_backend",
    "nested_cosent",
    "nested_cross_entropy",
    "nested_distillation",
    "nested_pair_error",
    "nested_vector_error",
]
