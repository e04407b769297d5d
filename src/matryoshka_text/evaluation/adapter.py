"""The store as an encoder that mteb can evaluate: one per dim."""

from typing import Any

import numpy as np
from jaxtyping import Float32
from mteb.models.abs_encoder import AbsEncoder

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.reader import TextReader

__all__ = ["StoredEncoder", "mteb_prompts"]


def mteb_prompts(prompts: dict[str, str] | None) -> dict[str, str] | None:
    """The model's prompts that mteb's rules know, by task, task type, query or document; None where there is none."""
    if not prompts or not any(prompts.values()):
        return None
    known, _ = AbsEncoder.validate_task_to_prompt_name(prompts, raise_for_invalid_keys=False)
    return known


class StoredEncoder(AbsEncoder):
    """mteb's encoder protocol over stored vectors, read at one dim."""

    def __init__(
        self,
        reader: TextReader,
        meta: Any,
        *,
        dim: int,
        normalize: bool,
        prompts: dict[str, str] | None = None,
    ) -> None:
        self.reader = reader
        self.mteb_model_meta = meta
        self.dim = dim
        self.normalize = normalize
        self.model_prompts = prompts

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Float32[np.ndarray, "n dim"]:
        """The prepared texts' prefixes. Batches, splits and settings of mteb's do not change a vector."""
        if "text" not in inputs.dataset.column_names:
            found = ", ".join(inputs.dataset.column_names)
            raise EvaluationError(f"{task_metadata.name}: its inputs are {found}; only text can be encoded")
        # Already prepared (title and text joined): preparing again gives "title title text".
        texts = list(inputs.dataset["text"][:])
        name = self.get_prompt_name(task_metadata, prompt_type)
        prompt = self.model_prompts[name] if self.model_prompts and name else None
        role = prompt_type.value if prompt_type else ""
        return self.reader.read(texts, role=role, prompt=prompt, dim=self.dim, normalize=self.normalize)
