import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.errors import ModelError

TEXTS = ["the cat is sleeping", "money transfer to my bank account", "a woman playing the guitar in the street"]


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> MatryoshkaEncoder:
    return MatryoshkaEncoder(tiny_model, dims=(4, 8, 16, 32), device="cpu")


@pytest.mark.parametrize("dim", [1, 4, 5, 31, 32, np.int64(7)])
def test_rows_have_unit_length_and_the_width_asked_for(encoder: MatryoshkaEncoder, dim: int) -> None:
    vectors = encoder.encode(TEXTS, dim=dim)
    assert vectors.shape == (3, dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_prefix_is_the_head_of_the_full_vector(encoder: MatryoshkaEncoder) -> None:
    head = encoder.encode(TEXTS)[:, :5]
    expected = head / np.linalg.norm(head, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(TEXTS, dim=5), expected, atol=1e-6)


@pytest.mark.parametrize("dim", [0, -3, 33, 1000, 8.0, 1.5, True, "8", None])
def test_a_dim_that_cannot_be_is_refused_with_the_range(encoder: MatryoshkaEncoder, dim: object) -> None:
    if dim is None:
        assert encoder.encode(TEXTS, dim=None).shape == (3, 32)
        return
    with pytest.raises(ValueError, match="from 1 to 32"):
        encoder.encode(TEXTS, dim=dim)


def test_one_string_gives_one_vector_and_no_string_gives_none(encoder: MatryoshkaEncoder) -> None:
    assert encoder.encode(TEXTS[0], dim=8).shape == (8,)
    assert encoder.encode([], dim=8).shape == (0, 8)
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode([], dim=8, convert_to_tensor=True).shape == (0, 8)


def test_dim_and_truncate_dim_exclude_each_other(encoder: MatryoshkaEncoder) -> None:
    with pytest.raises(ValueError, match="give only dim"):
        encoder.encode(TEXTS, dim=8, truncate_dim=8)
    # sentence-transformers' own argument keeps its own meaning: cut, not brought back to length 1.
    assert np.linalg.norm(encoder.encode(TEXTS, truncate_dim=8), axis=1).max() < 0.999


def test_query_and_document_take_a_dim_too(encoder: MatryoshkaEncoder) -> None:
    for encode in (encoder.encode_query, encoder.encode_document):
        np.testing.assert_allclose(np.linalg.norm(encode(TEXTS, dim=8), axis=1), 1, atol=1e-6)


def test_what_is_no_text_is_named_by_its_place(encoder: MatryoshkaEncoder) -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] is None, of type NoneType; allowed: strings"):
        encoder.encode(["a", None])


def test_a_saved_model_opens_in_plain_sentence_transformers_with_the_same_vectors(
    encoder: MatryoshkaEncoder, tmp_path: Path
) -> None:
    encoder.save(str(tmp_path / "model"))
    plain = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_array_equal(plain.encode(TEXTS), encoder.encode(TEXTS))
    for dim in (3, 8, 32):
        theirs = plain.encode(TEXTS, truncate_dim=dim, normalize_embeddings=True)
        np.testing.assert_array_equal(theirs, encoder.encode(TEXTS, dim=dim))
    assert plain.truncate_dim is None
    assert plain.max_seq_length == 64


def test_the_files_say_that_the_model_is_matryoshka(encoder: MatryoshkaEncoder, tmp_path: Path) -> None:
    encoder.save(str(tmp_path / "model"))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["matryoshka_dimensions"] == [4, 8, 16, 32]
    assert config["is_matryoshka"] is True
    assert "truncate_dim" not in (tmp_path / "model" / "config_sentence_transformers.json").read_text()
    assert MatryoshkaEncoder(tmp_path / "model", device="cpu").dims == (4, 8, 16, 32)
    assert all(p.stat().st_mode & 0o044 == 0o044 for p in (tmp_path / "model").rglob("*"))


def test_a_model_without_normalize_gets_one(tiny_model: Path, tmp_path: Path) -> None:
    plain = SentenceTransformer(str(tiny_model), device="cpu")
    del plain[2]
    plain.save(str(tmp_path / "raw"))
    vectors = MatryoshkaEncoder(tmp_path / "raw", device="cpu").encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("pooling", [None, "mean", "cls"])
def test_a_bare_checkpoint_becomes_an_encoder(tiny_model: Path, pooling: str | None) -> None:
    bare = tiny_model.parent / "bert"
    encoder = MatryoshkaEncoder(bare, pooling=pooling, device="cpu")
    assert encoder[1].get_config_dict()["pooling_mode"] == (pooling or "mean")
    assert encoder.encode(TEXTS).shape == (3, 32)
    with pytest.raises(ModelError, match="its own pooling"):
        MatryoshkaEncoder(tiny_model, pooling="cls", device="cpu")


def test_a_half_precision_checkpoint_is_opened_in_float32(tiny_model: Path, tmp_path: Path) -> None:
    half = SentenceTransformer(str(tiny_model), device="cpu").to(torch.bfloat16)
    half.save(str(tmp_path / "half"))
    assert MatryoshkaEncoder(tmp_path / "half", device="cpu").dtype == torch.float32


def test_what_is_no_bert_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelError, match=r"model_type 'gpt2'.*allowed: .*bert"):
        MatryoshkaEncoder(tmp_path)


def test_weights_that_are_pickles_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_model.parent / "bert", tmp_path / "bert")
    (tmp_path / "bert" / "model.safetensors").unlink()
    (tmp_path / "bert" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelError, match=r"cannot be opened: .*pytorch_model.bin is a pickle; allowed: .*convert it"):
        MatryoshkaEncoder(tmp_path / "bert")


@pytest.mark.parametrize("router", [False, True])
def test_a_module_whose_weights_are_a_pickle_is_refused(tiny_model: Path, tmp_path: Path, router: bool) -> None:
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Dense

    plain = SentenceTransformer(str(tiny_model), device="cpu")
    last = Router.for_query_document([Dense(32, 16)], [Dense(32, 16)]) if router else Dense(32, 16)
    SentenceTransformer(modules=[*plain, last], device="cpu").save(str(tmp_path / "model"))
    home = next((tmp_path / "model").glob("3_*/query_0_Dense" if router else "3_*"))
    torch.save(last.state_dict(), home / "pytorch_model.bin")
    MatryoshkaEncoder(tmp_path / "model", device="cpu")  # next to safetensors, it is not read
    (home / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=f"{home.name}/pytorch_model.bin is a pickle"):
        MatryoshkaEncoder(tmp_path / "model", device="cpu")


def test_dims_above_the_width_or_out_of_order_are_refused(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="from 1 to 32"):
        MatryoshkaEncoder(tiny_model, dims=(8, 64), device="cpu")
    with pytest.raises(ValueError, match="each above the one before"):
        MatryoshkaEncoder(tiny_model, dims=(8, 8), device="cpu")


def test_saving_into_a_folder_leaves_other_files_alone(encoder: MatryoshkaEncoder, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for _ in range(2):
        encoder.save(str(tmp_path / "mine"))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert not [p for p in tmp_path.iterdir() if p.name != "mine"]
    np.testing.assert_array_equal(
        MatryoshkaEncoder(tmp_path / "mine", device="cpu").encode(TEXTS), encoder.encode(TEXTS)
    )


def test_the_current_folder_can_be_saved_into(
    encoder: MatryoshkaEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    encoder.save(".")
    assert (tmp_path / "here" / "modules.json").exists()


def test_no_default_width_survives(tiny_model: Path, tmp_path: Path) -> None:
    SentenceTransformer(str(tiny_model), device="cpu", truncate_dim=16).save(str(tmp_path / "cut"))
    config = "config_sentence_transformers.json"
    assert '"truncate_dim": 16' in (tmp_path / "cut" / config).read_text()
    opened = MatryoshkaEncoder(tmp_path / "cut", device="cpu")
    assert (opened.width, opened.encode(TEXTS).shape) == (32, (3, 32))
    opened.truncate_dim = 8
    opened.save(str(tmp_path / "saved"))
    assert "truncate_dim" not in (tmp_path / "saved" / config).read_text()
    assert SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS).shape == (3, 32)
    with pytest.raises(ValueError, match="give dim to encode"):
        MatryoshkaEncoder(tiny_model, truncate_dim=8)


def test_what_a_checkpoint_lacks_is_drawn_alike_every_time(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_model, tmp_path / "bare")
    kept = {k: v for k, v in load_file(tiny_model / "model.safetensors").items() if "pooler" not in k}
    save_file(kept, tmp_path / "bare" / "model.safetensors", metadata={"format": "pt"})
    state = torch.get_rng_state()
    first, second = (MatryoshkaEncoder(tmp_path / "bare", device="cpu").state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "modules.json", "config.json"])
def test_a_damaged_model_is_a_model_error(tiny_model: Path, tmp_path: Path, file: str) -> None:
    import shutil

    shutil.copytree(tiny_model, tmp_path / "damaged")
    (tmp_path / "damaged" / file).write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        MatryoshkaEncoder(tmp_path / "damaged", device="cpu")


def test_an_empty_list_has_the_dtype_and_width_of_any_other(encoder: MatryoshkaEncoder) -> None:
    for settings in ({}, {"dim": 8}, {"dim": 16, "precision": "binary"}, {"convert_to_tensor": True}):
        full, empty = encoder.encode(TEXTS, **settings), encoder.encode([], **settings)
        assert (empty.dtype, tuple(empty.shape)) == (full.dtype, (0, *full.shape[1:]))


def test_the_arguments_are_those_of_sentence_transformers(encoder: MatryoshkaEncoder) -> None:
    expected = encoder.encode(TEXTS)
    np.testing.assert_array_equal(encoder.encode(sentences=TEXTS), expected)
    np.testing.assert_array_equal(
        encoder.encode(TEXTS, None, None, 32, False, "sentence_embedding", "float32"), expected
    )
    np.testing.assert_array_equal(encoder.encode(np.asarray(TEXTS)), expected)
    np.testing.assert_array_equal(encoder.encode(tuple(TEXTS)), expected)
    with pytest.raises(ValueError, match="output_value is 'token_embeddings'; leave dim out"):
        encoder.encode(TEXTS, output_value="token_embeddings", dim=8)
    for wrong in (None, 5, np.asarray("text")):
        with pytest.raises(TypeError, match="allowed: a string or a list of strings"):
            encoder.encode(wrong)


def test_only_the_layers_asked_for_are_run(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    encoder = family_encoder("bert")
    runs: list[int] = []
    for index, layer in enumerate(encoder.transformers_model.encoder.layer):
        layer.register_forward_hook(lambda *_, index=index: runs.append(index))
    for layers, expected in ((2, [0, 1]), (np.int64(3), [0, 1, 2]), (4, [0, 1, 2, 3]), (None, [0, 1, 2, 3])):
        runs.clear()
        vectors = encoder.encode(TEXTS, dim=8, layers=layers)
        assert runs == expected
        assert (vectors.shape, vectors.dtype) == ((3, 8), np.float32)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.abs(encoder.encode(TEXTS, layers=2) - encoder.encode(TEXTS)).max() > 1e-2
    np.testing.assert_array_equal(encoder.encode(TEXTS, layers=4), encoder.encode(TEXTS))
    tokens = encoder.encode(TEXTS, output_value="token_embeddings", layers=1)
    assert [tuple(states.shape[1:]) for states in tokens] == [(32,)] * 3


def test_query_and_document_take_layers_too(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    encoder = family_encoder("distilbert")
    encoder.prompts = {"query": "find: ", "document": "text: "}
    for encode, prompt in ((encoder.encode_query, "find: "), (encoder.encode_document, "text: ")):
        expected = encoder.encode([prompt + text for text in TEXTS], dim=8, layers=2)
        np.testing.assert_allclose(encode(TEXTS, dim=8, layers=2), expected, atol=1e-6)


@pytest.mark.parametrize("layers", [0, -1, 5, 2.0, True, "2", (2,)])
def test_layers_that_cannot_be_are_refused_with_the_range(
    family_encoder: Callable[[str], MatryoshkaEncoder], layers: object
) -> None:
    encoder = family_encoder("bert")
    for refusing in (encoder.encode, encoder.encode_query, encoder.encode_document):
        with pytest.raises(ValueError, match=r"layers is .*from 1 to 4, the depth of this model"):
            refusing(TEXTS, layers=layers)
    with pytest.raises(ValueError, match="from 1 to 4"):
        encoder.truncated(layers=layers)


def test_layers_and_a_pool_exclude_each_other(family_encoder: Callable[[str], MatryoshkaEncoder]) -> None:
    with pytest.raises(ValueError, match="layers=2 with a pool"):
        family_encoder("bert").encode(TEXTS, layers=2, pool={"processes": []})


@pytest.mark.slow
def test_processes_started_for_one_call_run_the_layers_asked_for(tiny_model: Path) -> None:
    encoder = MatryoshkaEncoder(tiny_model, device="cpu")
    both = encoder.encode(TEXTS, dim=8, layers=1, device=["cpu"])
    np.testing.assert_allclose(both, encoder.encode(TEXTS, dim=8, layers=1), atol=1e-6)


def test_trained_layers_are_saved_where_they_are_not_the_depth_alone(
    family_encoder: Callable[[str], MatryoshkaEncoder], tmp_path: Path
) -> None:
    encoder = family_encoder("bert")
    assert (encoder.depth, encoder.layers) == (4, (4,))
    encoder.layers = [2, np.int64(4)]
    encoder.save(str(tmp_path / "two"))
    assert json.loads((tmp_path / "two" / "config.json").read_text())["matryoshka_layers"] == [2, 4]
    opened = MatryoshkaEncoder(tmp_path / "two", device="cpu")
    assert opened.layers == (2, 4)
    opened.layers = (opened.depth,)
    opened.save(str(tmp_path / "one"))
    assert "matryoshka_layers" not in (tmp_path / "one" / "config.json").read_text()
    assert MatryoshkaEncoder(tmp_path / "one", device="cpu").layers == (4,)
    for wrong in ((), (4, 2), (2, 2), (0, 4), (5,), (1.5,)):
        with pytest.raises(ValueError, match="from 1 to 4"):
            opened.layers = wrong
    assert opened.layers == (4,)


@pytest.mark.parametrize("wrong", [[2, 9], 2, ["a"], [4, 2]])
def test_trained_layers_that_cannot_be_are_a_model_error(tiny_model: Path, tmp_path: Path, wrong: object) -> None:
    import shutil

    shutil.copytree(tiny_model, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "matryoshka_layers": wrong}))
    with pytest.raises(ModelError, match=r"m: .*config\.json.* matryoshka_layers"):
        MatryoshkaEncoder(tmp_path / "m", device="cpu")


def test_a_model_that_goes_on_after_its_normalize_ends_in_one_all_the_same(tiny_model: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    plain = SentenceTransformer(str(tiny_model), device="cpu")
    plain.append(Dense(32, 24))
    encoder = MatryoshkaEncoder(modules=list(plain), device="cpu")
    assert isinstance(encoder[-1], Normalize)
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(TEXTS), axis=1), 1, atol=1e-6)
