import json
import logging
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matryoshka_text.data.masking import MaskedChunk, Masker
from matryoshka_text.data.packing import pack
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.layers import first_layers
from matryoshka_text.encoder.lora import add_adapter
from matryoshka_text.encoder.tokens import usable_tokens
from matryoshka_text.errors import DataError, ModelError
from matryoshka_text.heads import masked_lm
from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
from matryoshka_text.heads.vocabulary import VocabularyHead, backbone_of, masked_hidden

FAMILIES = ("bert", "roberta", "mpnet", "distilbert", "modernbert", "electra", "deberta-v2")
DIMS = (4, 8, 16)
each_family = pytest.mark.parametrize("name", FAMILIES)

EncoderOf = Callable[[str], MatryoshkaEncoder]
Family = Callable[[str], Path]


def _shaken(encoder: MatryoshkaEncoder, cut: Any) -> MatryoshkaMaskedLM:
    """A model whose predictions vary: random checkpoints of width 32 predict nearly alike everywhere."""
    head = VocabularyHead.of(encoder, cut=cut, dims=DIMS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        backbone_of(encoder).get_input_embeddings().weight.normal_(generator=generator)
    return MatryoshkaMaskedLM.around(encoder, head)


@each_family
def test_scores_are_those_of_transformers_at_full_width_and_of_a_loop_below(
    name: str, encoder_of: EncoderOf, sentences: list[str]
) -> None:
    model = _shaken(encoder_of(name), "transform")
    encoder, head = model.encoder, model.head
    dims = (*DIMS, 32)[: 3 if name == "electra" else 4]
    found = model.scores(sentences * 3, dims, max_length=16, share=0.3, seed=4, batch_size=3)
    packed = pack(sentences * 3, encoder.tokenizer, max_length=16, packing=True)
    masker = Masker(encoder.tokenizer, 0.3)
    loss, right, tokens = [0.0] * len(dims), [0] * len(dims), 0
    matrix, bias = backbone_of(encoder).get_input_embeddings().weight.double(), head.bias.double()
    for index in range(len(packed)):
        (masked,) = masker.mask([packed.ids(index)], keys=[(4, index)])
        hidden = backbone_of(encoder)(torch.from_numpy(masked.ids)[None]).last_hidden_state[0]
        for position, wanted in zip(masked.positions.tolist(), masked.targets.tolist(), strict=True):
            row = head.rows(hidden[position][None])[0].double()
            for place, dim in enumerate(dims):
                logits = (matrix[:, :dim] @ row[:dim] + bias).tolist()
                top = max(logits)
                loss[place] += top + math.log(sum(math.exp(logit - top) for logit in logits)) - logits[wanted]
                right[place] += logits.index(top) == wanted
            tokens += 1
    assert found.dims == dims and found.tokens == tokens
    assert found.loss == pytest.approx([value / tokens for value in loss], rel=1e-5)
    assert found.perplexity == pytest.approx([math.exp(value / tokens) for value in loss], rel=1e-4)
    assert found.accuracy == pytest.approx([100 * count / tokens for count in right])


@pytest.mark.parametrize("cut", ["hidden", "transform", "nested"])
def test_neither_the_batch_size_nor_the_tiles_change_the_scores(
    cut: str, encoder_of: EncoderOf, sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _shaken(encoder_of("bert"), cut)
    heard: list[tuple[int, int]] = []
    one = model.scores(sentences * 5, DIMS, max_length=12, batch_size=2, on_progress=lambda *at: heard.append(at))
    monkeypatch.setattr(masked_lm, "_MOST_LOGITS", 700)
    two = model.scores(sentences * 5, DIMS, max_length=12, batch_size=50)
    assert (one.dims, one.tokens, one.accuracy) == (two.dims, two.tokens, two.accuracy)
    assert one.loss == pytest.approx(two.loss, rel=1e-6)
    assert [done for done, _ in heard] == [*range(2, heard[-1][1], 2), heard[-1][1]]
    assert model.scores(sentences * 5, DIMS, max_length=12, seed=1).loss != one.loss


def test_scoring_leaves_random_states_modes_and_gradients_alone(encoder_of: EncoderOf, sentences: list[str]) -> None:
    model = _shaken(encoder_of("bert"), "transform")
    evaluated = model.scores(sentences, DIMS)
    model.encoder.train()
    frozen = next(module for module in model.encoder.modules() if isinstance(module, torch.nn.Dropout))
    frozen.eval()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    assert model.scores(sentences, DIMS) == evaluated
    model.fill("the [MASK] is red")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]  # type: ignore[index]
    modes = [(module, module.training) for module in model.encoder.modules()]
    assert all(training != (module is frozen) for module, training in modes)
    assert all(parameter.grad is None for parameter in model.encoder.parameters())


@each_family
def test_a_checkpoint_with_its_own_head_opens(name: str, family: Family, sentences: list[str]) -> None:
    model = MatryoshkaMaskedLM(family(name), device="cpu")
    assert model.head.cut == "transform"
    assert model.scores(sentences, (model.head.width,)).tokens > 0


@pytest.mark.parametrize("cut", ["hidden", "transform", "nested"])
def test_a_saved_head_opens_with_its_model(
    cut: str, encoder_of: EncoderOf, sentences: list[str], tmp_path: Path
) -> None:
    model = _shaken(encoder_of("bert"), cut)
    model.encoder.heads = {"mlm": model.head}
    model.encoder.save(str(tmp_path / "model"))
    opened = MatryoshkaMaskedLM(str(tmp_path / "model"), device="cpu")
    assert opened.head.cut == cut and opened.head.dims == DIMS
    assert opened.scores(sentences, DIMS).loss == pytest.approx(model.scores(sentences, DIMS).loss, rel=1e-6)
    other = "hidden" if cut != "hidden" else "nested"
    with pytest.raises(ModelError, match=f"the head was trained with cut '{cut}', not '{other}'; leave cut out"):
        MatryoshkaMaskedLM(tmp_path / "model", cut=other, device="cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [None, "hidden", "nested"])
def test_a_bare_encoder_has_no_trained_head(cut: Any, bare_encoder_of: EncoderOf) -> None:
    encoder = bare_encoder_of("roberta")
    assert encoder.resolved is not None
    with pytest.raises(ModelError, match=r"holds no trained head with cut .*; train one \(objective mlm in a recipe\)"):
        MatryoshkaMaskedLM(encoder.resolved.path, cut=cut, device="cpu")


def test_a_nested_transform_is_in_no_checkpoint(family: Family) -> None:
    with pytest.raises(ModelError, match="holds no trained head with cut 'nested'"):
        MatryoshkaMaskedLM(family("bert"), cut="nested", device="cpu")
    assert MatryoshkaMaskedLM(family("bert"), cut="hidden", device="cpu").head.cut == "hidden"


def test_the_likeliest_words_in_a_gap(family: Family) -> None:
    from transformers import AutoModelForMaskedLM

    model = MatryoshkaMaskedLM(family("bert"), device="cpu")
    tokenizer = model.encoder.tokenizer
    text = "the [MASK] is on the [MASK] chair"
    found = model.fill(text, top=3)
    whole = AutoModelForMaskedLM.from_pretrained(family("bert"), dtype=torch.float32).eval()
    tokens = tokenizer(text, return_tensors="pt")
    logits = whole(**tokens).logits[0][tokens["input_ids"][0] == tokenizer.mask_token_id]
    best = logits.softmax(1).topk(3)
    assert [[word for word, _ in gap] for gap in found] == [
        [tokenizer.decode([i]) for i in row] for row in best.indices.tolist()
    ]
    shares = [[share for _, share in gap] for gap in found]
    np.testing.assert_allclose(shares, best.values.detach().numpy(), rtol=1e-5)
    assert len(model.fill(text, dim=4, top=286)[0]) == 286
    assert sum(share for _, share in model.fill(text, dim=4, top=286)[0]) == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_filled(family: Family) -> None:
    model = MatryoshkaMaskedLM(family("electra"), device="cpu")
    with pytest.raises(ValueError, match=r"text is 'the cat', without \[MASK\] in its first 4 tokens; write \[MASK\]"):
        model.fill("the cat")
    with pytest.raises(ValueError, match=r"without \[MASK\] in its first 130 tokens"):
        model.fill("cat " * 200 + "[MASK]")
    with pytest.raises(ValueError, match="top is 0; allowed: 1 to 286"):
        model.fill("a [MASK]", top=0)
    with pytest.raises(ModelError, match=r"dims are \[32\], but the vocabulary matrix of .*electra.* is 16 wide"):
        model.fill("a [MASK]", dim=32)
    model.encoder.tokenizer.mask_token = None
    with pytest.raises(ModelError, match="its tokenizer has no mask token"):
        model.fill("a [MASK]")
    with pytest.raises(ModelError, match="has no mask token, which masked-language modelling needs"):
        model.scores(["the cat"], (4,))


def test_what_cannot_be_scored(family: Family) -> None:
    model = MatryoshkaMaskedLM(family("electra"), device="cpu")
    with pytest.raises(ModelError, match=r"dims are \[8, 32\], but the vocabulary matrix of .*electra.* is 16 wide"):
        model.scores(["the cat"], (8, 32))
    with pytest.raises(ValueError, match=r"dims\[1\] is 8"):
        model.scores(["the cat"], (8, 8))
    with pytest.raises(ModelError, match=r"max_length is 200, but .* can read 130 tokens; use at most 130"):
        model.scores(["the cat"], (8,), max_length=200)
    with pytest.raises(DataError, match="none of the 1 texts has a token"):
        model.scores([" "], (8,))
    with pytest.raises(DataError, match="special and unknown tokens only, none of which is masked"):
        model.scores(["é" * 3 + "λ"], (8,))


@each_family
def test_the_exported_model_is_the_familys_own_and_tied(
    name: str, encoder_of: EncoderOf, masked_chunk: Callable[[Any], MaskedChunk], logits_of: Any, tmp_path: Path
) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = _shaken(encoder_of(name), "transform")
    add_adapter(model.encoder, rank=2, alpha=4, dropout=0.0, target_modules="all-linear")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in [*model.encoder.parameters(), *model.head.parameters()]:
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    state = torch.get_rng_state()
    model.save_pretrained(tmp_path / "plain")
    assert torch.equal(torch.get_rng_state(), state)
    opened, found = AutoModelForMaskedLM.from_pretrained(tmp_path / "plain", output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert opened.get_output_embeddings().weight is opened.get_input_embeddings().weight
    chunk = masked_chunk(model.encoder.tokenizer)
    logits = opened.eval()(**chunk.features).logits.flatten(0, 1)[chunk.rows]
    torch.testing.assert_close(logits, logits_of(model.encoder, model.head, chunk), atol=1e-4, rtol=1e-4)
    assert AutoTokenizer.from_pretrained(tmp_path / "plain").mask_token_id == model.encoder.tokenizer.mask_token_id
    again = MatryoshkaMaskedLM(tmp_path / "plain", device="cpu")
    torch.testing.assert_close(logits_of(again.encoder.eval(), again.head, chunk), logits, atol=1e-5, rtol=1e-5)


def test_only_the_familys_own_head_is_exported(encoder_of: EncoderOf, tmp_path: Path) -> None:
    for cut in ("hidden", "nested"):
        model = _shaken(encoder_of("bert"), cut)
        with pytest.raises(ModelError, match=f"the cut is '{cut}', and transformers has only the family's own head"):
            model.save_pretrained(tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


def test_a_decoder_bias_that_the_family_lacks_is_not_lost_in_silence(family: Family, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    AutoTokenizer.from_pretrained(family("modernbert")).save_pretrained(tmp_path)
    whole = AutoModelForMaskedLM.from_pretrained(family("modernbert"), decoder_bias=False)
    whole.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["decoder_bias"] is False
    model = MatryoshkaMaskedLM(tmp_path, device="cpu")
    model.save_pretrained(tmp_path / "plain")
    with torch.no_grad():
        model.head.bias[7] = 1.0
    with pytest.raises(ModelError, match="has a decoder bias, so that ModernBertForMaskedLM cannot hold it"):
        model.save_pretrained(tmp_path / "other")


def test_the_packaged_sentence_model(minilm: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="matryoshka_text.heads"):
        encoder = MatryoshkaEncoder(minilm, device="cpu")
        head = VocabularyHead.of(encoder, cut="hidden", dims=(12, 384))
    assert head.width == 384 and len(head.bias) == 30522 and len(head.fresh) == 1
    assert "the checkpoint has no whole masked-language head" in caplog.text
    scores = MatryoshkaMaskedLM.around(encoder, head).scores(["The capital of France is Paris."] * 3, (12, 384))
    assert scores.tokens == 3 and all(math.isfinite(value) for value in scores.loss)


LENGTHS = {"roberta": 129, "mpnet": 128}
"""Of 130 positions, those below the padding token's id (0 and 1) and that one have no token."""


@each_family
def test_the_longest_sequence_that_a_family_reads_is_read(
    name: str, encoder_of: EncoderOf, sentences: list[str]
) -> None:
    model = _shaken(encoder_of(name), "transform")
    most = LENGTHS.get(name, 130)
    assert usable_tokens(model.encoder) == most
    assert pack(sentences * 20, model.encoder.tokenizer, max_length=most, packing=True).starts[1] == most
    assert math.isfinite(model.scores(sentences * 20, DIMS, max_length=most).loss[0])
    with pytest.raises(
        ModelError, match=f"max_length is {most + 1}, but .* can read {most} tokens; use at most {most}"
    ):
        model.scores(sentences, DIMS, max_length=most + 1)
    assert len(model.fill("[MASK] " + "cat " * 200)) == 1


def test_the_usable_length_is_not_the_sentence_models_habit(minilm: Path, encoder_of: EncoderOf) -> None:
    encoder = MatryoshkaEncoder(minilm, device="cpu")
    assert (encoder.max_seq_length, usable_tokens(encoder)) == (256, 512)
    add_adapter(adapted := encoder_of("mpnet"), rank=2, alpha=4, dropout=0.0, target_modules=["position_embeddings"])
    assert usable_tokens(adapted) == 128


def test_without_positions_the_tokenizers_limit_counts(encoder_of: EncoderOf) -> None:
    encoder = encoder_of("bert")
    backbone_of(encoder).config.max_position_embeddings = -1
    assert usable_tokens(encoder) == 64
    encoder.tokenizer.model_max_length = int(1e30)
    assert usable_tokens(encoder) is None


def test_scores_mask_as_they_are_told(encoder_of: EncoderOf, sentences: list[str]) -> None:
    """The loss at full width of a loop over sequences that are masked here."""
    model = _shaken(encoder_of("bert"), "hidden")
    encoder, told = model.encoder, {"replace": (0.0, 0.5, 0.5), "whole_words": True, "share": 0.4}
    packed = pack(sentences, encoder.tokenizer, max_length=9, packing=False)
    masker, matrix = Masker(encoder.tokenizer, **told), backbone_of(encoder).get_input_embeddings().weight
    loss, tokens = 0.0, 0
    for index in range(len(packed)):
        (masked,) = masker.mask([packed.ids(index)], keys=[(0, index)], words=[packed.words_of(index)])
        hidden = backbone_of(encoder)(torch.from_numpy(masked.ids)[None]).last_hidden_state[0]
        for position, wanted in zip(masked.positions.tolist(), masked.targets.tolist(), strict=True):
            logits = (hidden[position] @ matrix.T + model.head.bias).double()
            loss, tokens = loss + (logits.logsumexp(0) - logits[wanted]).item(), tokens + 1
    found = model.scores(sentences, (32,), max_length=9, packing=False, **told)
    assert found.tokens == tokens
    assert found.loss[0] == pytest.approx(loss / tokens, rel=1e-5)
    assert model.scores(sentences, (32,), max_length=9).loss != found.loss


def _moved(encoder: MatryoshkaEncoder) -> MatryoshkaMaskedLM:
    """A model with a nested head, all of whose numbers are far from their start."""
    model = _shaken(encoder, "nested")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("name", ["bert", "electra", "modernbert"])
@pytest.mark.parametrize("dim", [8, 16, "all"])
def test_a_truncated_model_gives_the_prefix(
    name: str, dim: Any, encoder_of: EncoderOf, masked_chunk: Any, sentences: list[str], tmp_path: Path
) -> None:
    model = _moved(encoder_of(name))
    dim = model.head.width if dim == "all" else dim
    small = model.truncated(dim)
    chunk = masked_chunk(model.encoder.tokenizer)
    hidden = masked_hidden(backbone_of(model.encoder), chunk.features, chunk.rows)
    torch.testing.assert_close(small.head.rows(hidden), model.head.rows(hidden)[:, :dim], atol=1e-6, rtol=1e-6)
    dims = [one for one in DIMS if one <= dim]
    small.save(tmp_path / "small")
    opened = MatryoshkaMaskedLM(tmp_path / "small", device="cpu")
    again = opened.truncated(dim).truncated(8)
    for one, most in ((small, dims), (opened, dims), (again, [4, 8])):
        found, wanted = one.scores(sentences * 3, most, max_length=16), model.scores(sentences * 3, most, max_length=16)
        assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
        assert (found.accuracy, found.tokens, one.head.dims) == (wanted.accuracy, wanted.tokens, tuple(most))
        gaps = zip(one.fill("a [MASK] cat"), model.fill("a [MASK] cat", dim=one.head.width), strict=True)
        for words, expected in gaps:
            assert [word for word, _ in words] == [word for word, _ in expected]
            assert [share for _, share in words] == pytest.approx([share for _, share in expected], rel=1e-5)
    assert [parameter.shape for parameter in opened.head.parameters()] == [
        parameter.shape for parameter in small.head.parameters()
    ]
    sizes = [sum(parameter.numel() for parameter in one.head.parameters()) for one in (small, model)]
    assert sizes[0] < sizes[1] or dim == model.head.width
    before = small.head.bias.detach().clone()
    model.head.bias.data.add_(1)
    assert torch.equal(small.head.bias, before) and "mlm" not in model.encoder.heads


def test_a_truncated_models_files_are_smaller(encoder_of: EncoderOf, tmp_path: Path) -> None:
    model = _moved(encoder_of("bert"))
    model.save(tmp_path / "model")
    model.truncated(8).save(tmp_path / "small")
    sizes = [(tmp_path / name / "heads/mlm/model.safetensors").stat().st_size for name in ("small", "model")]
    # The numbers in float32; the two headers differ by a few digits.
    assert sizes[1] - sizes[0] == pytest.approx(4 * (32 * 32 - 8 * 8 + 3 * (32 - 8)), abs=64)
    assert json.loads((tmp_path / "small/heads/mlm/config.json").read_text())["width"] == 8
    small = MatryoshkaMaskedLM(tmp_path / "small", device="cpu")
    with pytest.raises(ModelError, match=r"dims are \[16\], but the truncated head of .* is 8 wide"):
        small.scores(["the cat"], (16,))


def test_a_truncated_model_keeps_its_layers_or_fewer(encoder_of: EncoderOf, sentences: list[str]) -> None:
    model = _moved(encoder_of("bert"))
    small = model.truncated(8)
    shallow = MatryoshkaMaskedLM.around(small.encoder.truncated(layers=2), small.head)
    assert shallow.encoder.depth == 2
    with first_layers(model.encoder, 2):
        assert shallow.scores(sentences, (4, 8)).loss == pytest.approx(model.scores(sentences, (4, 8)).loss, rel=1e-6)


@pytest.mark.parametrize(("cut", "why"), [("transform", "mixes all coordinates"), ("hidden", "has no transform")])
def test_only_a_nested_head_can_be_cut(cut: str, why: str, encoder_of: EncoderOf) -> None:
    with pytest.raises(ModelError, match=f"the cut is '{cut}': .*{why}.*train with cut 'nested'"):
        _shaken(encoder_of("bert"), cut).truncated(8)
    with pytest.raises(
        ValueError, match=r"dim is 5; allowed are the prefix lengths of this transform, \(4, 8, 16, 32\)"
    ):
        _shaken(encoder_of("bert"), "nested").truncated(5)


def test_a_tokenizer_with_more_words_than_rows(family: Family, encoder_of: EncoderOf) -> None:
    encoder = encoder_of("bert")
    encoder.tokenizer.add_tokens(["matryoshka"])
    with pytest.raises(ModelError, match=r"its tokenizer has the id 286, but the vocabulary matrix has 286 rows; "):
        VocabularyHead.of(encoder, cut="hidden", dims=DIMS)


def test_a_saved_head_does_not_open_with_more_words_than_rows(encoder_of: EncoderOf, tmp_path: Path) -> None:
    model = _moved(encoder_of("bert"))
    model.head.save(tmp_path)
    model.encoder.tokenizer.add_tokens(["matryoshka"])
    with pytest.raises(ModelError, match="its tokenizer has the id 286"):
        VocabularyHead.load(tmp_path, model.encoder)
