"""The text encoders of transformers that are opened, and what it takes for keys that their config.json lacks.

transformers needs torch to tell; `tests/encoder/test_families.py` compares.
"""

from collections.abc import Mapping

__all__ = ["ACTIVATIONS", "BERT_FAMILY", "DEFAULTS"]

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)


def _sizes(*sizes: int, **more: int) -> dict[str, int]:
    return {**dict(zip(_SIZES, sizes, strict=True)), **more}


_BASE = (768, 12, 12, 3072, 512)
DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "albert": _sizes(30000, 4096, 12, 64, 16384, 512, embedding_size=128, type_vocab_size=2),
    "bert": _sizes(30522, *_BASE, type_vocab_size=2),
    "camembert": _sizes(30522, *_BASE, type_vocab_size=2),
    "deberta": _sizes(50265, *_BASE, type_vocab_size=0),
    "deberta-v2": _sizes(128100, 1536, 24, 24, 6144, 512, type_vocab_size=0),
    "distilbert": {
        **{"vocab_size": 30522, "dim": 768, "n_layers": 6, "n_heads": 12},
        **{"hidden_dim": 3072, "max_position_embeddings": 512},
    },
    "electra": _sizes(30522, 256, 12, 4, 1024, 512, embedding_size=128, type_vocab_size=2),
    "ernie": _sizes(30522, *_BASE, type_vocab_size=2),
    "modernbert": _sizes(50368, 768, 22, 12, 1152, 8192),
    "mpnet": _sizes(30527, *_BASE),
    # Its published configurations have other keys (n_embd), which transformers translates.
    "nomic_bert": {},
    "roberta": _sizes(50265, *_BASE, type_vocab_size=2),
    "roberta-prelayernorm": _sizes(50265, *_BASE, type_vocab_size=2),
    "xlm-roberta": _sizes(30522, *_BASE, type_vocab_size=2),
}
BERT_FAMILY = tuple(DEFAULTS)
# What hidden_act and its siblings may name.
ACTIVATIONS = frozenset(
    "gelu gelu_10 gelu_accurate gelu_fast gelu_new gelu_python gelu_python_tanh gelu_pytorch_tanh hardswish laplace "
    "leaky_relu linear mish prelu quick_gelu relu relu2 relu6 sigmoid silu sqrtsoftplus swish tanh xielu".split()
)
