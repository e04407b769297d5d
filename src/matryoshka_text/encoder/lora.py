"""LoRA (arXiv:2106.09685) in an encoder: put in through peft, merged on export."""

import copy
import warnings
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file, save_file
from torch import nn

from matryoshka_text.encoder.compat import SentenceTransformer
from matryoshka_text.errors import ModelError
from matryoshka_text.files import whole_folder

__all__ = ["add_adapter", "merge_adapter", "merged", "save_adapter"]

# peft's own models hold the backbone under this name.
_PEFT = "base_model.model."
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


def merge_adapter(backbone: Any, folder: Path) -> None:
    """Add the adapter that peft saved in `folder` into the weights of `backbone`, its base, in place.

    `ModelError` unless all of the adapter's weights are there, and no others.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    config = PeftConfig.from_pretrained(str(folder))
    # It is the vectors' model here, whatever head it was trained with, and peft warns of a base under another name.
    config.task_type, config.base_model_name_or_path = None, None
    with warnings.catch_warnings():
        # peft asks transformers by an old name.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(backbone, config)
    inner = f"{_PEFT}{backbone.base_model_prefix}."
    found = {
        _PEFT + name.removeprefix(inner) if name.startswith(inner) else name: tensor
        for name, tensor in load_file(folder / "adapter_model.safetensors").items()
    }
    lacking = set(get_peft_model_state_dict(adapted, save_embedding_layers=False)) - set(found)
    unknown = () if lacking else set_peft_model_state_dict(adapted, found).unexpected_keys
    if odd := sorted([*lacking, *unknown]):
        raise ModelError(
            f"{folder}: its adapter {'lacks' if lacking else 'has weights that its base has no layer for:'} "
            f"{', '.join(odd[:3])}; allowed: a whole adapter of its base; save it again, or correct "
            "base_model_name_or_path in adapter_config.json"
        )
    adapted.merge_and_unload(safe_merge=True)
    backbone.requires_grad_(True)


def save_adapter(encoder: SentenceTransformer, folder: Path, base: str) -> None:
    """Write only the LoRA matrices, as `PeftModel.from_pretrained(base_model, folder)` reads them.

    The folder appears whole or not at all; `base` is recorded as the model the matrices belong to.
    """
    from peft import get_peft_model_state_dict

    backbone = encoder.transformers_model
    (name, config), *_ = backbone.peft_config.items()
    found = get_peft_model_state_dict(backbone, adapter_name=name)
    # Here the matrices sit in the backbone itself.
    tensors = {f"{_PEFT}{key}": value.detach().cpu().contiguous() for key, value in found.items()}
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
