"""LoRA (arXiv:2106.09685) in an encoder: put in through peft, merged on export."""

import copy
from pathlib import Path
from typing import TypeVar

from safetensors.torch import save_file
from torch import nn

from matryoshka_text.encoder.compat import SentenceTransformer
from matryoshka_text.files import whole_folder

__all__ = ["add_adapter", "merged", "save_adapter"]

_Encoder = TypeVar("_Encoder", bound=SentenceTransformer)


def add_adapter(
    encoder: SentenceTransformer, *, rank: int, alpha: float, dropout: float, target_modules: str | list[str]
) -> None:
    """Freeze the encoder and put trainable low-rank matrices next to its linear layers, in place."""
    from peft import LoraConfig, inject_adapter_in_model

    backbone = encoder.transformers_model
    encoder.requires_grad_(False)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=_targets(backbone, target_modules)
    )
    inject_adapter_in_model(config, backbone)


def merged(encoder: _Encoder) -> _Encoder:
    """A copy of the encoder with its LoRA matrices added into the weights; the encoder itself if it has none."""
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


def save_adapter(encoder: SentenceTransformer, folder: Path, base: str) -> None:
    """Write only the LoRA matrices, as `PeftModel.from_pretrained(base_model, folder)` reads them.

    The folder appears whole or not at all; `base` is recorded as the model the matrices belong to.
    """
    from peft import get_peft_model_state_dict

    backbone = encoder.transformers_model
    (name, config), *_ = backbone.peft_config.items()
    found = get_peft_model_state_dict(backbone, adapter_name=name)
    # peft's own models hold the backbone under this name; here the matrices sit in the backbone itself.
    tensors = {f"base_model.model.{key}": value.detach().cpu().contiguous() for key, value in found.items()}
    config = copy.copy(config)
    config.base_model_name_or_path, config.inference_mode = base, True
    with whole_folder(folder) as beside:
        config.save_pretrained(str(beside))
        save_file(tensors, beside / "adapter_model.safetensors")


def _targets(backbone: nn.Module, asked: str | list[str]) -> str | list[str]:
    """`all-linear` spelled out: peft knows it only for a wrapped model, where it leaves out the output layer."""
    if asked != "all-linear":
        return asked
    # The pooler gets no gradient under mean pooling.
    return sorted(n for n, m in backbone.named_modules() if isinstance(m, nn.Linear) and not n.startswith("pooler"))
