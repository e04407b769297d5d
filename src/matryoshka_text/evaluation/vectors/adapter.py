"""The store as an encoder that mteb can evaluate: one per view."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from mteb.models.abs_encoder import AbsEncoder

from matryoshka_text.errors import EvaluationError, RecipeError
from matryoshka_text.evaluation.vectors.cut import Cut
from matryoshka_text.evaluation.vectors.search import Hits, StoredSearch
from matryoshka_text.vectors.reader import TextReader

__all__ = ["StoredEncoder", "mteb_prompts", "require_prompts"]


def mteb_prompts(prompts: dict[str, str] | None, given: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """The model's prompts that mteb's rules know, by task, task type, query or document; None where there is none.

    `given` prompts take their place.
    """
    own = {**(prompts or {}), **(given or {})}
    if not any(own.values()):
        return None
    known, _ = AbsEncoder.validate_task_to_prompt_name(own, raise_for_invalid_keys=False)
    # Own sets are no tasks of mteb's list; the prompts given were checked against their names.
    return {**known, **(given or {})}


def require_prompts(given: Mapping[str, str], tasks: Sequence[str]) -> None:
    """`RecipeError` for a prompt that none of those tasks, no task of mteb, no task type and no role would get."""
    own = {f"{task}{role}" for task in tasks for role in ("", "-query", "-document")}
    try:
        AbsEncoder.validate_task_to_prompt_name({key: text for key, text in given.items() if key not in own})
    except (KeyError, ValueError) as error:
        raise RecipeError(
            f"prompts: {str(error).splitlines()[0]}; allowed: query, document, a task type, a task's name, or "
            "<task>-query and <task>-document"
        ) from error


class StoredEncoder(AbsEncoder):
    """mteb's encoder protocol, and its search protocol, over stored vectors, cut for one view."""

    def __init__(
        self,
        reader: TextReader,
        meta: Any,
        *,
        cut: Cut,
        prompts: dict[str, str] | None = None,
    ) -> None:
        self.reader = reader
        self.mteb_model_meta = meta
        self.cut = cut
        self.model_prompts = prompts
        self._search = StoredSearch(self)

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
        """The prepared texts' vectors, cut. Batches, splits and settings of mteb's do not change a vector."""
        if "text" not in inputs.dataset.column_names:
            found = ", ".join(inputs.dataset.column_names)
            raise EvaluationError(f"{task_metadata.name}: its inputs are {found}; only text can be encoded")
        # Already prepared (title and text joined): preparing again gives "title title text".
        texts = list(inputs.dataset["text"][:])
        prompt = self.prompt_of(task_metadata, prompt_type)
        role = prompt_type.value if prompt_type else ""
        return self.cut.apply(self.reader.read(texts, role=role, prompt=prompt, dim=self.cut.reads))

    def prompt_of(self, task_metadata: Any, prompt_type: Any) -> str | None:
        """What the task's texts of that role are encoded with; None: what the model itself takes."""
        name = self.get_prompt_name(task_metadata, prompt_type)
        return self.model_prompts[name] if self.model_prompts and name else None

    def index(self, corpus: Any, **settings: Any) -> None:
        """The documents that the next `search` is over."""
        self._search.index(corpus, **settings)

    def search(self, queries: Any, **settings: Any) -> Hits:
        """Each query's best documents and their scores, as mteb's own wrapper gives them."""
        return self._search.search(queries, **settings)
