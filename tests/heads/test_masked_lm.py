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
from matryoshka_text.encoder.adapter import add_adapter
from matryoshka_text.errors import DataError, ModelError
from matryoshka_text.heads import masked_lm
from matryoshka_text.heads.masked_lm import MatryoshkaMaskedLM
from matryoshka_text.heads.vocabulary import VocabularyHead, backbone_of

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
    with pytest.raises(ValueError, match=r"text is 'the cat', without \[MASK\] in its first 64 tokens; write \[MASK\]"):
        model.fill("the cat")
    with pytest.raises(ValueError, match=r"without \[MASK\] in its first 64 tokens"):
        model.fill("cat " * 100 + "[MASK]")
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
    with pytest.raises(ModelError, match=r"max_length is 200, but .* has 130 positions; use at most 130"):
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
