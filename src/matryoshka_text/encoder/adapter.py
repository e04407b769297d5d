"""LoRA (arXiv:2106.09685) in an encoder: put in through peft, merged on export."""

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matryoshka_text.encoder.matryoshka import MatryoshkaEncoder

__all__ = ["add_adapter", "merged"]


def add_adapter(
    encoder: "MatryoshkaEncoder", *, rank: int, alpha: float, dropout: float, target_modules: str | list[str]
) -> None:
    """Freeze the encoder and put trainable low-rank matrices beside its linear layers, in place."""
    from peft import LoraConfig, inject_adapter_in_model

    backbone = encoder.transformers_model
    encoder.requires_grad_(False)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=_targets(backbone, target_modules)
    )
    inject_adapter_in_model(config, backbone)


def merged(encoder: "MatryoshkaEncoder") -> "MatryoshkaEncoder":
    """A copy of the encoder with its LoRA matrices added into the weights; the encoder itself where it has none."""
    from peft.tuners.lora import LoraLayer

    if not any(isinstance(module, LoraLayer) for module in encoder.modules()):
        return encoder
    plain = copy.deepcopy(encoder)
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())
    if hasattr(plain.transformers_model, "peft_config"):
        del plain.transformers_model.peft_config
    return plain.requires_grad_(True)


def _targets(backbone: object, asked: str | list[str]) -> str | list[str]:
    """`all-linear` spelled out: peft knows it only for a wrapped model, where it leaves out the output layer."""
    if asked != "all-linear":
        return asked
    from torch import nn

    assert isinstance(backbone, nn.Module)
    # The pooler gets no gradient under mean pooling.
    return sorted(n for n, m in backbone.named_modules() if isinstance(m, nn.Linear) and not n.startswith("pooler"))
