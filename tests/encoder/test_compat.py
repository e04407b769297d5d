"""What the toolkit reads and overrides of sentence-transformers beyond its documented methods, each by name.

A release that changes one of these fails here, with the name. Unpadded inputs, which only FlashAttention reads, are
compared with sentence-transformers' own without running them.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses, modules

from matryoshka_text.data.passes import Tokenizer
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.compat import OUR_MODULES, PLAIN_TRANSFORMER, unpadded

TEXTS = ["the cat", "a woman playing the guitar", "dog"]

METHODS = {
    "SentenceTransformer._inference": ("inputs", "prompt", "batch_size", "output_value", "save_to_cpu", "device"),
    "SentenceTransformer._resolve_inference_device": ("device",),
    "SentenceTransformer.encode": ("inputs", "prompt_name", "precision", "convert_to_numpy", "truncate_dim"),
    "SentenceTransformer.encode_query": ("inputs", "prompt_name", "prompt", "batch_size", "show_progress_bar"),
    "SentenceTransformer.encode_document": ("inputs", "prompt_name", "prompt", "batch_size", "show_progress_bar"),
    "SentenceTransformer.get_model_kwargs": (),
    "SentenceTransformer._get_model_config": (),
    "SentenceTransformer.get_embedding_dimension": (),
    "SentenceTransformer.save": ("path", "model_name", "create_model_card", "train_datasets"),
    "Transformer.preprocess": ("inputs", "prompt"),
    "Transformer._infer_flatten_position_offset": (),
    "Dense.__init__": ("in_features", "out_features", "bias", "activation_function", "init_weight", "init_bias"),
    "MultipleNegativesRankingLoss.compute_loss_from_embeddings": ("embeddings", "labels"),
    "MultipleNegativesRankingLoss.get_config_dict": (),
}
ATTRIBUTES = {
    "Transformer": (
        *("processor", "processing_kwargs", "transformer_task", "query_expansion", "modality_config"),
        *("can_flatten_inputs", "module_output_name", "model"),
    ),
    "Dense": ("use_residual", "module_input_name", "module_output_name", "activation_function", "linear"),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_the_arguments_it_is_given(name: str) -> None:
    kind, _, method = name.partition(".")
    owner = next(getattr(home, kind) for home in (sentence_transformers, modules, losses) if hasattr(home, kind))
    assert hasattr(owner, method), f"{name} is gone in sentence-transformers {sentence_transformers.__version__}"
    found = inspect.signature(getattr(owner, method)).parameters
    missing = [word for word in METHODS[name] if word not in found]
    assert not missing, f"{name} has no {missing} in sentence-transformers {sentence_transformers.__version__}"


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_a_module_has_the_attributes_that_are_read(kind: str, tiny_model: Path) -> None:
    made: Any = modules.Dense(4, 2) if kind == "Dense" else SentenceTransformer(str(tiny_model), device="cpu")[0]
    missing = [name for name in ATTRIBUTES[kind] if not hasattr(made, name)]
    assert not missing, f"{kind} has no {missing} in sentence-transformers {sentence_transformers.__version__}"


def test_a_module_is_saved_under_the_names_that_we_know(tiny_model: Path, tmp_path: Path) -> None:
    plain = SentenceTransformer(modules=[*SentenceTransformer(str(tiny_model)), modules.Dense(32, 8)], device="cpu")
    plain.save(str(tmp_path))
    listed = json.loads((tmp_path / "modules.json").read_text())
    assert [OUR_MODULES.get(one["type"]) for one in listed] == ["Transformer", "Pooling", "Normalize", "Dense"]
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text()) == PLAIN_TRANSFORMER


def test_encode_leaves_the_passes_to_inference(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    seen: list[str] = []
    monkeypatch.setattr(encoder, "passes", lambda inputs, theirs, **settings: seen.extend(settings) or theirs(inputs))
    with pytest.raises(TypeError, match="missing"):
        encoder.encode(TEXTS, batch_tokens=64)
    assert {"dtype", "batch_tokens", "batch_size", "output_value", "device", "truncate_dim"} <= set(seen)


def test_padding_stays_where_the_attention_needs_it(tiny_model: Path) -> None:
    assert unpadded(MatryoshkaEncoder(tiny_model, device="cpu")) is None


@pytest.mark.parametrize("family_name", ["bert", "modernbert", "roberta", "mpnet"])
def test_the_row_is_the_one_that_sentence_transformers_makes(family: Any, family_name: str) -> None:
    from transformers import DataCollatorWithFlattening

    encoder = MatryoshkaEncoder(family(family_name), device="cpu")
    module: Any = encoder[0]
    # As sentence-transformers sets it up where FlashAttention is installed.
    module.data_collator = DataCollatorWithFlattening(
        return_seq_idx=True, return_flash_attn_kwargs=True, return_position_ids=True
    )
    module.can_flatten_inputs, module._flatten_position_offset = True, module._infer_flatten_position_offset()
    collate = unpadded(encoder)
    assert collate is not None
    (chunk,) = Tokenizer(encoder.tokenizer, 16, collate).chunks(TEXTS, None)
    theirs = module.preprocess(TEXTS)
    shared = set(chunk.features) & set(theirs)
    assert {"input_ids", "position_ids", "cu_seq_lens_q", "max_length_q"} <= shared
    assert "attention_mask" not in chunk.features
    for name in shared:
        ours, expected = chunk.features[name], theirs[name]
        assert torch.equal(ours, expected) if torch.is_tensor(expected) else ours == expected, name
    assert set(theirs) - shared <= {"modality"}
    assert chunk.tokens == chunk.features["input_ids"].numel()
