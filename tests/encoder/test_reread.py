"""What is saved is what was there: every module and setting of sentence-transformers, read again by its own classes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer import modules as theirs
from torch import nn

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.lora import add_adapter
from matryoshka_text.errors import ModelError

LONG = "money transfer to my bank account , the street and the world , " * 8
TEXTS = ["the cat", "The BANK and the Dog , playing", LONG]
WIDTH = 32


def _drawn(module: nn.Module, seed: int) -> nn.Module:
    """The module with weights that no default gives."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module


@pytest.fixture
def transformer(tiny_model: Path) -> Callable[..., Any]:
    """transformer(query_length=6): a tiny backbone in which every layer matters."""

    def make(**settings: Any) -> Any:
        return _drawn(theirs.Transformer(str(tiny_model.parent / "bert"), **{"max_seq_length": 64, **settings}), 1)

    return make


def _vectors(model: Any) -> dict[str, np.ndarray]:
    """Unit vectors of queries, documents and texts of neither role."""
    found = {}
    for name in ("encode_query", "encode_document", "encode"):
        vectors = getattr(model, name)(TEXTS, convert_to_numpy=True)
        found[name] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def _require_equal(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name, vectors in wanted.items():
        np.testing.assert_allclose(found[name], vectors, atol=2e-6, err_msg=name)


def _goes_round(tmp_path: Path, modules: list[Any], **settings: Any) -> Path:
    """The folder of the model after a save by plain sentence-transformers and one by us."""
    plain = SentenceTransformer(modules=modules, device="cpu", **settings)
    plain.save(str(tmp_path / "base"))
    wanted = _vectors(SentenceTransformer(str(tmp_path / "base"), device="cpu"))
    _require_equal(wanted, _vectors(plain))
    opened = MatryoshkaEncoder(tmp_path / "base", device="cpu")
    _require_equal(_vectors(opened), wanted)
    opened.save(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    _require_equal(_vectors(again), wanted)
    assert again.prompts == plain.prompts
    assert again.default_prompt_name == plain.default_prompt_name
    assert again.similarity_fn_name == plain.similarity_fn_name
    assert again.max_seq_length == plain.max_seq_length
    return tmp_path / "saved"


MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@pytest.mark.parametrize(
    "mode", [*MODES, ("mean", "cls"), ("cls", "mean"), ("lasttoken", "max", "mean"), ("mean", "mean"), MODES]
)
@pytest.mark.parametrize("include_prompt", [True, False])
def test_pooling(transformer: Callable[..., Any], tmp_path: Path, mode: Any, include_prompt: bool) -> None:
    pooling = theirs.Pooling(WIDTH, pooling_mode=mode, include_prompt=include_prompt)
    prompts = {"query": "question : ", "document": "a sentence : "}
    _goes_round(tmp_path, [transformer(), pooling, theirs.Normalize()], prompts=prompts)


def _pooling() -> Any:
    return theirs.Pooling(WIDTH, pooling_mode="mean")


FOLLOWING: dict[str, Callable[[], list[Any]]] = {
    "nothing": list,
    "normalize": lambda: [theirs.Normalize()],
    "two": lambda: [theirs.Normalize(), theirs.Dense(WIDTH, 24), theirs.Normalize()],
    "layer norm": lambda: [theirs.LayerNorm(WIDTH), theirs.Normalize()],
    "dropout": lambda: [theirs.Dropout(0.5), theirs.Normalize()],
    "residual": lambda: [theirs.Dense(WIDTH, 24, use_residual=True)],
    "residual of one width": lambda: [theirs.Dense(WIDTH, WIDTH, use_residual=True), theirs.Normalize()],
    "no bias": lambda: [theirs.Dense(WIDTH, 24, bias=False, activation_function=None)],
    "renamed": lambda: [
        theirs.Dense(WIDTH, 24, module_output_name="projected"),
        theirs.Dense(24, 16, module_input_name="projected", module_output_name="sentence_embedding"),
    ],
    **{
        f"dense {kind.__name__}": lambda kind=kind: [theirs.Dense(WIDTH, 24, activation_function=kind())]
        for kind in (nn.Tanh, nn.Identity, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.Softplus, nn.Mish)
    },
    "router": lambda: [
        Router.for_query_document([theirs.Dense(WIDTH, 24)], [theirs.Dense(WIDTH, 24), theirs.LayerNorm(24)]),
        theirs.Normalize(),
    ],
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_modules_after_the_pooling(transformer: Callable[..., Any], tmp_path: Path, name: str) -> None:
    following = [_drawn(module, 2) for module in FOLLOWING[name]()]
    _goes_round(tmp_path, [transformer(), _pooling(), *following])


def _vocabulary(module: Any) -> list[str]:
    return sorted(module.tokenizer.get_vocab(), key=module.tokenizer.get_vocab().get)


BETWEEN: dict[str, Callable[[Any], list[Any]]] = {
    "weighted layers": lambda first: [theirs.WeightedLayerPooling(WIDTH, num_hidden_layers=2, layer_start=1)],
    "convolutions": lambda first: [theirs.CNN(WIDTH, out_channels=16, kernel_sizes=[1, 3])],
    "word weights": lambda first: [
        theirs.WordWeights(_vocabulary(first), dict.fromkeys(_vocabulary(first)[20:90], 0.3), 2.0)
    ],
    "dense on tokens": lambda first: [theirs.Dense(WIDTH, 24, module_input_name="token_embeddings")],
    "normalized tokens": lambda first: [theirs.Normalize("token_embeddings")],
}


@pytest.mark.parametrize("name", BETWEEN)
def test_modules_before_the_pooling(transformer: Callable[..., Any], tmp_path: Path, name: str) -> None:
    first = transformer(config_kwargs={"output_hidden_states": True})
    # The weights of words are in the configuration.
    between = [one if isinstance(one, theirs.WordWeights) else _drawn(one, 3) for one in BETWEEN[name](first)]
    width = {"convolutions": 32, "dense on tokens": 24}.get(name, WIDTH)
    _goes_round(tmp_path, [first, *between, theirs.Pooling(width, pooling_mode="mean"), theirs.Normalize()])


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no length": {"max_seq_length": None},
    "short": {"max_seq_length": 7},
    "lower case": {"do_lower_case": True},
    "roles": {"query_length": 6, "document_length": 10},
    "query only": {"query_length": 6},
    "processing": {"processing_kwargs": {"text": {"max_length": 10}}},
    "padding": {"processing_kwargs": {"text": {"padding": "max_length"}}},
    "padded": {"unpad_inputs": False},
    "expansion": {"query_expansion": {"strategy": "fixed", "attend": True, "length": 32}},
    "left": {"processor_kwargs": {"padding_side": "left", "truncation_side": "left"}},
    "eager": {"model_kwargs": {"attn_implementation": "eager"}},
    "cut": {"config_kwargs": {"num_hidden_layers": 1}},
    "other words": {"config_kwargs": {"hidden_act": "relu", "layer_norm_eps": 0.1}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_transformer(transformer: Callable[..., Any], tmp_path: Path, name: str) -> None:
    first = transformer(**SETTINGS[name])
    saved = _goes_round(tmp_path, [first, _pooling(), theirs.Normalize()])
    again = SentenceTransformer(str(saved), device="cpu")[0]
    for key in first.config_keys:
        assert getattr(again, key) == getattr(first, key)


def test_an_output_of_another_name(transformer: Callable[..., Any], tmp_path: Path) -> None:
    names = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    first = transformer(modality_config=names, module_output_name="states")
    dense = theirs.Dense(WIDTH, 24, module_input_name="states", module_output_name="token_embeddings")
    _goes_round(tmp_path, [first, _drawn(dense, 1), theirs.Pooling(24)])
    pooled = {"text": {"method": "forward", "method_output_name": "pooler_output"}}
    first = transformer(modality_config=pooled, module_output_name="sentence_embedding")
    _goes_round(tmp_path / "pooled", [first, theirs.Normalize()])


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("default", [None, "query", "other"])
def test_prompts_and_similarity(
    transformer: Callable[..., Any], tmp_path: Path, similarity: str, default: str | None
) -> None:
    prompts = {"query": "question : ", "passage": "a sentence : ", "other": "tell me "}
    saved = _goes_round(
        tmp_path,
        [transformer(), _pooling()],
        prompts=prompts,
        default_prompt_name=default,
        similarity_fn_name=similarity,
    )
    assert json.loads((saved / "config_sentence_transformers.json").read_text())["default_prompt_name"] == default


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.5), torch.sin, nn.Softplus(3.0)])
def test_what_no_file_can_hold_is_refused_by_name(
    transformer: Callable[..., Any], tmp_path: Path, activation: Any
) -> None:
    dense = theirs.Dense(WIDTH, WIDTH, activation_function=activation)
    encoder = MatryoshkaEncoder(modules=[transformer(), _pooling(), dense], device="cpu").train()
    state = torch.get_rng_state()
    with pytest.raises(ModelError, match=r"cannot be saved: .* encode_query gives other vectors.*Dense"):
        encoder.save(str(tmp_path / "model"))
    assert not list(tmp_path.iterdir())
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), state)


def test_lora_matrices_are_merged(transformer: Callable[..., Any], tmp_path: Path) -> None:
    encoder = MatryoshkaEncoder(modules=[transformer(), _pooling()], device="cpu")
    add_adapter(encoder, rank=2, alpha=4, dropout=0.0, target_modules="all-linear")
    _drawn(encoder, 5)
    encoder.save(str(tmp_path / "model"))
    _require_equal(_vectors(SentenceTransformer(str(tmp_path / "model"), device="cpu")), _vectors(encoder))


def _files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_saved_tokenizer_is_the_one_that_was_opened(tiny_model: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    base = MatryoshkaEncoder(tiny_model, device="cpu")
    base.save(str(tmp_path / "base"))
    path = tmp_path / "base/tokenizer.json"
    stored = Tokenizer.from_file(str(path))
    stored.enable_truncation(max_length=20)
    stored.save(str(path))
    for name in ("fresh", "used"):
        encoder = MatryoshkaEncoder(tmp_path / "base", device="cpu")
        if name == "used":
            encoder.encode(TEXTS)
            encoder.tokenizer(TEXTS, padding="max_length", max_length=9, truncation=True)
        encoder.truncated(dim=8).save(str(tmp_path / f"{name}-small"))
        encoder.save(str(tmp_path / name))
        assert (tmp_path / name / "tokenizer.json").read_bytes() == path.read_bytes()
    assert {**_files(tmp_path / "fresh"), "README.md": b""} == {**_files(tmp_path / "used"), "README.md": b""}
    assert (tmp_path / "used-small/tokenizer.json").read_bytes() == path.read_bytes()


def test_the_card_is_never_that_of_the_model_that_was_opened(tiny_model: Path, tmp_path: Path) -> None:
    MatryoshkaEncoder(tiny_model, device="cpu").save(str(tmp_path / "base"))
    claim = "license: cc-by-4.0"
    (tmp_path / "base/README.md").write_text(f"---\n{claim}\n---\n# Best on every benchmark\n")
    encoder = MatryoshkaEncoder(tmp_path / "base", dims=(8, 32), device="cpu")
    encoder.save(str(tmp_path / "again"))
    encoder.truncated(dim=8).save(str(tmp_path / "small"))
    for name in ("again", "small"):
        card = (tmp_path / name / "README.md").read_text()
        assert "license" not in card
        assert "benchmark" not in card
        assert card.count("base, saved with matryoshka-text") == 1
    encoder.save(str(tmp_path / "none"), create_model_card=False)
    assert not (tmp_path / "none/README.md").exists()


def test_a_full_disk_leaves_nothing(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    for place in ("transformers.modeling_utils.safe_save_file", "sentence_transformers.base.model.json.dump"):
        monkeypatch.setattr(place, full)
        with pytest.raises(SafetensorError, match="No space"):
            encoder.save(str(tmp_path / "model"))
        assert not list(tmp_path.iterdir())
        monkeypatch.undo()


def test_a_model_saved_over_another_has_nothing_of_it(tiny_model: Path, tmp_path: Path) -> None:
    encoder, saved = MatryoshkaEncoder(tiny_model, device="cpu"), tmp_path / "model"
    encoder.save(str(saved))
    for name in (
        "heads/mlm/config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "notes.txt",
    ):
        (saved / name).parent.mkdir(parents=True, exist_ok=True)
        (saved / name).write_text("{}")
    encoder.save(str(saved))
    assert (saved / "notes.txt").exists()
    assert not [name for name in _files(saved) if "of-00002" in name or "index" in name or "heads" in name]


def _static(tiny_model: Path) -> Any:
    from tokenizers import Tokenizer

    return theirs.StaticEmbedding(Tokenizer.from_file(str(tiny_model / "tokenizer.json")), embedding_dim=WIDTH)


FIRST: dict[str, Callable[[Path], Any]] = {
    "StaticEmbedding": _static,
    "BoW": lambda model: theirs.BoW(["the", "cat"]),
    "Router": lambda model: Router.for_query_document(
        [theirs.Transformer(str(model.parent / "bert")), theirs.Pooling(WIDTH)], [_static(model)]
    ),
}


@pytest.mark.parametrize("name", FIRST)
def test_a_model_without_a_transformer_is_refused_by_name(tiny_model: Path, tmp_path: Path, name: str) -> None:
    first = FIRST[name](tiny_model)
    SentenceTransformer(modules=[first], device="cpu").save(str(tmp_path / "model"))
    for model in ({"modules": [first]}, {"model_name_or_path": tmp_path / "model"}):
        with pytest.raises(ModelError, match=f"{name}.*allowed: "):
            MatryoshkaEncoder(**model, device="cpu")
