"""What is known of the models and texts that a recipe names, before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from matryoshka_text.section import Loc

__all__ = ["BaseFacts", "Facts"]


@dataclass(frozen=True)
class BaseFacts:
    """What is known of the base; None: not known from here.

    `width` of its vectors, `depth` in layers, `hidden` and `matrix`: the widths of its token states and of its
    vocabulary matrix, `tokens`: how many it can read, `masks`: whether its tokenizer has a mask token, `tied`: whether
    the decoder is the vocabulary matrix, `words`: whether its tokenizer knows the words, `dense`: the sizes of the
    Dense that it ends in, `pooling`: whether it has its own, `prompts`: the names of its prompts, `routes`: whether it
    has other modules for queries than for documents, `own_reading`: its settings under which `encode` reads a text in
    another way than training can.
    """

    width: int | None = None
    depth: int | None = None
    hidden: int | None = None
    matrix: int | None = None
    tokens: int | None = None
    masks: bool | None = None
    tied: bool | None = None
    words: bool | None = None
    dense: tuple[int, int] | None = None
    pooling: bool | None = None
    prompts: frozenset[str] | None = None
    routes: bool | None = None
    own_reading: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What is known of everything that a recipe names.

    `teachers` are the widths of teachers' vectors by the objective's place, `texts` the numbers of texts by the place
    of a source in `data`; what is not known is left out. `own_readings`: by the key that names a model, its settings
    under which `encode` reads a text in another way than training can.
    """

    base: BaseFacts = BaseFacts()
    teachers: Mapping[int, int] = field(default_factory=dict)
    texts: Mapping[int, int] = field(default_factory=dict)
    own_readings: Mapping[Loc, tuple[str, ...]] = field(default_factory=dict)
