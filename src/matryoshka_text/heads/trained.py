"""Everything a run trains, in one module: one state dict for its checkpoints, one list of parameters to update."""

from torch import nn

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layout import SavedHead
from matryoshka_text.heads.class_head import ClassHead
from matryoshka_text.heads.uncertainty import Uncertainty
from matryoshka_text.heads.vocabulary import VocabularyHead

__all__ = ["Trained"]


class Trained(nn.Module):
    """The encoder, its heads and the learned factors of the dims.

    A head that a loss owned would be updated but neither stored nor clipped: a resume would reset it.
    """

    encoder: MatryoshkaEncoder

    def __init__(
        self,
        encoder: MatryoshkaEncoder,
        vocabulary: VocabularyHead | None = None,
        classes: ClassHead | None = None,
        learned: Uncertainty | None = None,
    ) -> None:
        """The parts that the recipe asks for."""
        super().__init__()
        self.encoder, self.vocabulary, self.classes, self.learned = encoder, vocabulary, classes, learned

    def from_scratch(self) -> list[nn.Parameter]:
        """Parameters that no checkpoint brought: they learn at the heads' own rate."""
        fresh: list[nn.Parameter] = []
        # The nested transform is never part of a checkpoint of transformers.
        if self.vocabulary is not None and (self.vocabulary.fresh or self.vocabulary.cut == "nested"):
            fresh += self.vocabulary.parameters()
        for part in (self.classes, self.learned):
            if part is not None:
                fresh += part.parameters()
        return [parameter for parameter in fresh if parameter.requires_grad]

    def heads(self) -> dict[str, SavedHead]:
        """The heads by name, as they are saved with the encoder."""
        named: dict[str, SavedHead | None] = {"mlm": self.vocabulary, "classifier": self.classes}
        return {name: head for name, head in named.items() if head is not None}
