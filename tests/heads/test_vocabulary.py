import copy
import json
import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from matryoshka_text.data.masking import MaskedChunk
from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoder.lora import add_adapter, merged
from matryoshka_text.errors import ModelError
from matryoshka_text.heads.vocabulary import VocabularyHead, backbone_of, masked_hidden, vocabulary_matrix
from matryoshka_text.nested import NestedLoss, nested_cross_entropy

FAMILIES = ("bert", "roberta", "mpnet", "distilbert", "modernbert", "electra", "deberta-v2")
CUTS = ("hidden", "transform", "nested")
DIMS = (4, 8, 16)
each_family = pytest.mark.parametrize("name", FAMILIES)

EncoderOf = Callable[[str], MatryoshkaEncoder]
ChunkOf = Callable[[Any], MaskedChunk]
LogitsOf = Callable[[MatryoshkaEncoder, VocabularyHead, MaskedChunk], torch.Tensor]


def _cuts(name: str) -> tuple[str, ...]:
    return CUTS[1:] if name == "electra" else CUTS


def _loss(encoder: MatryoshkaEncoder, head: VocabularyHead, chunk: MaskedChunk, **settings: Any) -> NestedLoss:
    backbone = backbone_of(encoder)
    rows = head.rows(masked_hidden(backbone, chunk.features, chunk.rows))
    matrix = vocabulary_matrix(backbone)
    return nested_cross_entropy(rows, matrix, chunk.target, DIMS, bias=head.bias, normalize=False, **settings)


@each_family
def test_the_transform_cut_gives_the_familys_own_logits(
    name: str, family: Callable[[str], Path], encoder_of: EncoderOf, masked_chunk: ChunkOf, logits_of: LogitsOf
) -> None:
    from transformers import AutoModelForMaskedLM

    encoder = encoder_of(name)
    head = VocabularyHead.of(encoder, cut="transform", dims=DIMS)
    assert head.fresh == () and head.dims == DIMS and head.cut == "transform"
    assert head.width == (16 if name == "electra" else 32)
    chunk = masked_chunk(encoder.tokenizer)
    model = AutoModelForMaskedLM.from_pretrained(family(name), dtype=torch.float32).eval()
    expected = model(**chunk.features).logits.flatten(0, 1)[chunk.rows]
    assert head.bias.abs().max() > 0.1
    torch.testing.assert_close(logits_of(encoder, head, chunk), expected, atol=1e-5, rtol=1e-5)


@each_family
@pytest.mark.parametrize("cut", CUTS)
def test_the_nested_loss_is_that_of_a_loop(name: str, cut: Any, encoder_of: EncoderOf, masked_chunk: ChunkOf) -> None:
    if cut not in _cuts(name):
        pytest.skip("its hidden states are wider than its vocabulary matrix")
    encoder = encoder_of(name)
    head, chunk = VocabularyHead.of(encoder, cut=cut, dims=DIMS), masked_chunk(encoder.tokenizer)
    found = _loss(encoder, head, chunk)
    backbone = backbone_of(encoder)
    hidden = backbone(**chunk.features).last_hidden_state
    places = [divmod(flat, hidden.shape[1]) for flat in chunk.rows.tolist()]
    rows = head.rows(torch.stack([hidden[place] for place in places])).double().tolist()
    matrix = backbone.get_input_embeddings().weight.double().tolist()
    bias, target = head.bias.double().tolist(), chunk.target.tolist()
    for loss, dim in zip(found.per_dim.tolist(), DIMS, strict=True):
        total = 0.0
        for row, wanted in zip(rows, target, strict=True):
            logits = [b + sum(row[c] * word[c] for c in range(dim)) for word, b in zip(matrix, bias, strict=True)]
            top = max(logits)
            total += top + math.log(sum(math.exp(logit - top) for logit in logits)) - logits[wanted]
        assert loss == pytest.approx(total / len(rows), rel=1e-5)


@each_family
def test_what_a_prefix_has_seen(name: str, encoder_of: EncoderOf) -> None:
    encoder = encoder_of(name)
    hidden = torch.randn(3, 32)
    other = hidden.clone()
    other[:, 8:] += 1.0
    for cut in _cuts(name):
        head = VocabularyHead.of(encoder, cut=cut, dims=DIMS)
        one, two = head.rows(hidden), head.rows(other)
        assert one.shape == (3, head.width)
        assert torch.equal(one[:, :8], two[:, :8]) == (cut != "transform")
    assert torch.equal(VocabularyHead.of(encoder, cut="nested", dims=DIMS).rows(hidden[:0]), hidden[:0, : head.width])


@each_family
@pytest.mark.parametrize("cut", CUTS)
def test_every_parameter_learns_and_the_decoder_is_the_input_embedding(
    name: str, cut: Any, encoder_of: EncoderOf, masked_chunk: ChunkOf, logits_of: LogitsOf
) -> None:
    if cut not in _cuts(name):
        pytest.skip("its hidden states are wider than its vocabulary matrix")
    encoder = encoder_of(name)
    head, chunk = VocabularyHead.of(encoder, cut=cut, dims=DIMS), masked_chunk(encoder.tokenizer)
    embedding = backbone_of(encoder).get_input_embeddings().weight
    assert vocabulary_matrix(backbone_of(encoder)) is embedding
    assert not {id(p) for p in head.parameters()} & {id(p) for p in encoder.parameters()}
    absent = next(iter(set(range(5, 286)) - set(chunk.features["input_ids"].flatten().tolist())))
    before, seen = embedding.detach().clone(), logits_of(encoder, head, chunk)[:, absent].detach()
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.5)
    _loss(encoder, head, chunk).total.backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    assert all(parameter.grad.abs().sum() > 0 for n, parameter in head.named_parameters() if n != "bias")
    optimizer.step()
    # A word that no text has is learnt through the decoder alone.
    assert (embedding - before)[absent].abs().max() > 0
    assert (logits_of(encoder, head, chunk)[:, absent] - seen).abs().max() > 0
    rows = head.rows(masked_hidden(backbone_of(encoder), chunk.features, chunk.rows))
    torch.testing.assert_close(logits_of(encoder, head, chunk), rows @ embedding.T + head.bias)


@each_family
@pytest.mark.parametrize("cut", CUTS)
def test_the_tie_holds_after_saving(
    name: str, cut: Any, encoder_of: EncoderOf, masked_chunk: ChunkOf, logits_of: LogitsOf, tmp_path: Path
) -> None:
    if cut not in _cuts(name):
        pytest.skip("its hidden states are wider than its vocabulary matrix")
    encoder = encoder_of(name)
    head, chunk = VocabularyHead.of(encoder, cut=cut, dims=DIMS, seed=1), masked_chunk(encoder.tokenizer)
    _loss(encoder, head, chunk).total.backward()
    torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1).step()
    expected = logits_of(encoder, head, chunk)
    encoder.save(str(tmp_path / "model"))
    head.save(tmp_path / "model" / "heads" / "mlm")
    state = torch.get_rng_state()
    opened = MatryoshkaEncoder(tmp_path / "model", device="cpu").eval()
    for loaded in (
        VocabularyHead.load(tmp_path / "model" / "heads" / "mlm", opened),
        VocabularyHead.of(opened, cut=cut, dims=DIMS),
    ):
        assert torch.equal(torch.get_rng_state(), state)
        assert (loaded.cut, loaded.dims, loaded.width, loaded.fresh) == (cut, DIMS, head.width, ())
        assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in head.named_parameters()]
        assert all(parameter.requires_grad for parameter in loaded.parameters())
        torch.testing.assert_close(logits_of(opened, loaded, chunk), expected, atol=1e-6, rtol=1e-6)
    embedding = opened.transformers_model.get_input_embeddings().weight
    assert vocabulary_matrix(backbone_of(opened)).data_ptr() == embedding.data_ptr()
    assert {file.name for file in (tmp_path / "model" / "heads" / "mlm").iterdir()} == {
        "config.json",
        "model.safetensors",
    }


def _embedding_layer(encoder: MatryoshkaEncoder) -> str:
    backbone = backbone_of(encoder)
    layer = backbone.get_input_embeddings()
    return next(name for name, module in backbone.named_modules() if module is layer)


@each_family
@pytest.mark.parametrize("with_embedding", [False, True])
def test_the_tie_holds_under_lora(
    name: str, with_embedding: bool, encoder_of: EncoderOf, masked_chunk: ChunkOf, logits_of: LogitsOf, tmp_path: Path
) -> None:
    encoder = encoder_of(name)
    head, chunk = VocabularyHead.of(encoder, cut="transform", dims=DIMS), masked_chunk(encoder.tokenizer)
    plain = logits_of(encoder, head, chunk)
    linear = sorted(
        n
        for n, m in backbone_of(encoder).named_modules()
        if isinstance(m, torch.nn.Linear) and not n.startswith("pooler")
    )
    targets = [_embedding_layer(encoder), *linear] if with_embedding else "all-linear"
    add_adapter(encoder, rank=4, alpha=8, dropout=0.0, target_modules=targets)
    torch.testing.assert_close(logits_of(encoder, head, chunk), plain)
    adapted = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in adapted:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    expected = logits_of(encoder, head, chunk)
    assert (expected - plain).abs().max() > 1e-2
    _loss(encoder, head, chunk).total.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in adapted)
    whole = merged(encoder)
    torch.testing.assert_close(logits_of(whole, head, chunk), expected, atol=1e-4, rtol=1e-4)
    whole.save(str(tmp_path / "model"))
    head.save(tmp_path / "model" / "heads" / "mlm")
    opened = MatryoshkaEncoder(tmp_path / "model", device="cpu").eval()
    loaded = VocabularyHead.load(tmp_path / "model" / "heads" / "mlm", opened)
    torch.testing.assert_close(logits_of(opened, loaded, chunk), expected, atol=1e-4, rtol=1e-4)


def test_loras_share_of_the_vocabulary_matrix_is_in_it_once(encoder_of: EncoderOf) -> None:
    encoder = encoder_of("bert")
    base = vocabulary_matrix(backbone_of(encoder)).detach().clone()
    add_adapter(encoder, rank=2, alpha=4, dropout=0.5, target_modules=[_embedding_layer(encoder)])
    layer: Any = backbone_of(encoder).get_input_embeddings()
    with torch.no_grad():
        layer.lora_embedding_A["default"].normal_()
    share = 2.0 * (layer.lora_embedding_B["default"] @ layer.lora_embedding_A["default"]).T
    torch.testing.assert_close(vocabulary_matrix(backbone_of(encoder)), base + share)
    layer.enable_adapters(False)
    torch.testing.assert_close(vocabulary_matrix(backbone_of(encoder)), base)
    layer.enable_adapters(True)
    layer.merge()
    torch.testing.assert_close(vocabulary_matrix(backbone_of(encoder)), base + share)


@each_family
def test_an_encoder_only_checkpoint_gets_a_fresh_head_and_the_log_says_so(
    name: str, bare_encoder_of: EncoderOf, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = bare_encoder_of(name)
    state = torch.get_rng_state()
    with caplog.at_level(logging.WARNING, logger="matryoshka_text"):
        head = VocabularyHead.of(encoder, cut="transform", dims=DIMS, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    (record,) = (record for record in caplog.records if record.name.startswith("matryoshka_text.heads"))
    said = record.getMessage()
    assert "the checkpoint has no whole masked-language head (bare encoders are saved without it)" in said
    assert (
        f"{len(head.fresh)} of the head's weights start fresh, from seed 5" in said
        and str(encoder.resolved.name) in said
    )
    assert len(head.fresh) == len(list(head.parameters()))
    assert all(fresh in said for fresh in head.fresh)
    assert not head.bias.any()
    torch.randn(3)
    same, other = (VocabularyHead.of(encoder, cut="transform", dims=DIMS, seed=seed) for seed in (5, 6))
    weights, again = list(head.state_dict().values()), list(same.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(weights, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights, other.state_dict().values(), strict=True))
    caplog.clear()
    for cut in {"hidden", "nested"} & set(_cuts(name)):
        assert len(VocabularyHead.of(encoder, cut=cut, dims=DIMS).fresh) == 1  # the bias


def test_an_encoder_with_the_transformer_in_a_folder_of_its_own(
    encoder_of: EncoderOf, masked_chunk: ChunkOf, logits_of: LogitsOf, family: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder_of("bert").save(str(tmp_path / "model"))
    shutil.copytree(family("bert"), tmp_path / "model" / "0_Transformer")
    shutil.copy(tmp_path / "model" / "sentence_bert_config.json", tmp_path / "model" / "0_Transformer")
    modules = json.loads((tmp_path / "model" / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "model" / "model.safetensors").unlink()
    (tmp_path / "model" / "sentence_bert_config.json").unlink()
    encoder = MatryoshkaEncoder(tmp_path / "model", device="cpu").eval()
    head = VocabularyHead.of(encoder, cut="transform", dims=DIMS)
    assert head.fresh == ()
    own, chunk = encoder_of("bert"), masked_chunk(encoder.tokenizer)
    expected = logits_of(own, VocabularyHead.of(own, cut="transform", dims=DIMS), chunk)
    torch.testing.assert_close(logits_of(encoder, head, chunk), expected)


def test_an_encoder_made_from_modules_gets_a_fresh_head(encoder_of: EncoderOf) -> None:
    encoder = MatryoshkaEncoder(modules=list(encoder_of("distilbert")), device="cpu")
    head = VocabularyHead.of(encoder, cut="transform", dims=DIMS)
    assert len(head.fresh) == 5 and not head.bias.any()


def test_a_saved_head_of_another_cut_is_left_alone(
    encoder_of: EncoderOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = encoder_of("bert")
    encoder.save(str(tmp_path))
    VocabularyHead.of(encoder, cut="nested", dims=DIMS).save(tmp_path / "heads" / "mlm")
    opened = MatryoshkaEncoder(tmp_path, device="cpu")
    assert VocabularyHead.of(opened, cut="nested", dims=DIMS).fresh == ()
    for cut, dims in (("transform", DIMS), ("nested", (8, 16))):
        caplog.clear()
        head = VocabularyHead.of(opened, cut=cut, dims=dims)  # type: ignore[arg-type]
        assert head.fresh and head.dims == dims
        assert "has cut 'nested' and dims (4, 8, 16), not those asked for; it is not used" in caplog.text


def test_the_hidden_cut_of_a_narrower_matrix_names_the_others(encoder_of: EncoderOf) -> None:
    message = r"cut is 'hidden', but the vocabulary matrix of .*electra.* is 16 wide and its hidden states are 32; use cut 'transform' or 'nested'"  # noqa: E501
    with pytest.raises(ModelError, match=message):
        VocabularyHead.of(encoder_of("electra"), cut="hidden", dims=DIMS)


@pytest.mark.parametrize("cut", CUTS)
def test_dims_above_the_vocabulary_matrix(cut: Any, encoder_of: EncoderOf) -> None:
    with pytest.raises(ModelError, match=r"dims\[2\] is 32, but the vocabulary matrix of .*electra.* is 16 wide; use"):
        VocabularyHead.of(encoder_of("electra"), cut=cut, dims=(8, 16, 32))
    with pytest.raises(ValueError, match=r"dims\[1\] is 8"):
        VocabularyHead.of(encoder_of("bert"), cut=cut, dims=(8, 8))


def test_a_cut_that_is_none(encoder_of: EncoderOf) -> None:
    with pytest.raises(ModelError, match="cut is 'tail'; allowed: hidden, transform, nested"):
        VocabularyHead.of(encoder_of("bert"), cut="tail", dims=DIMS)  # type: ignore[arg-type]


@each_family
@pytest.mark.parametrize("cut", CUTS[1:])
def test_a_decoder_of_its_own_is_an_error(name: str, cut: Any, family: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(family(name), tmp_path / "untied")
    config = json.loads((tmp_path / "untied" / "config.json").read_text())
    (tmp_path / "untied" / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    encoder = MatryoshkaEncoder(tmp_path / "untied", device="cpu")
    with pytest.raises(
        ModelError, match=r"untied: .*ForMaskedLM has a decoder .* of its own next to the vocabulary"
    ) as e:
        VocabularyHead.of(encoder, cut=cut, dims=DIMS)
    assert "tie_word_embeddings is False" in str(e.value) and "Set tie_word_embeddings to true" in str(e.value)


def test_a_head_whose_output_embedding_is_no_decoder(family: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(family("deberta-v2"), tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "legacy": False}))
    encoder = MatryoshkaEncoder(tmp_path / "other", device="cpu")
    with pytest.raises(ModelError, match=r"DebertaV2ForMaskedLM has a decoder \[32, 32\] of its own next to the vocab"):
        VocabularyHead.of(encoder, cut="transform", dims=DIMS)


def test_a_family_without_a_masked_language_model(encoder_of: EncoderOf) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    encoder = encoder_of("bert")
    odd = CLIPTextModel(
        CLIPTextConfig(vocab_size=286, hidden_size=32, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    odd.config.hidden_size = 32
    encoder[0].model = odd
    encoder.resolved = None
    assert encoder.transformers_model is odd
    with pytest.raises(ModelError, match="the encoder: cannot be opened as a masked-language model: ValueError"):
        VocabularyHead.of(encoder, cut="transform", dims=DIMS)


def test_loading_into_another_encoder(encoder_of: EncoderOf, tmp_path: Path) -> None:
    VocabularyHead.of(encoder_of("bert"), cut="transform", dims=DIMS).save(tmp_path)
    message = (
        r"a head for a vocabulary of 286 words and width 32, but the matrix of .*electra.* has 286 words and width 16"
    )
    with pytest.raises(ModelError, match=message):
        VocabularyHead.load(tmp_path, encoder_of("electra"))
    with pytest.raises(ModelError, match=r"cannot be opened: RuntimeError: Error\(s\) in loading state_dict"):
        VocabularyHead.load(tmp_path, encoder_of("roberta"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version: found 2; allowed: 1"),
        ({"cut": "tail"}, "cut: found 'tail'; allowed: 'hidden', 'transform' or 'nested'"),
        ({"dims": None}, "dims: found null; allowed: a list"),
        ({"width": "wide"}, "width: found 'wide'; allowed: a whole number"),
        ({"vocabulary": 100}, "a head for a vocabulary of 100 words"),
    ],
)
def test_a_damaged_config(change: dict[str, Any], message: str, encoder_of: EncoderOf, tmp_path: Path) -> None:
    encoder = encoder_of("bert")
    VocabularyHead.of(encoder, cut="hidden", dims=DIMS).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match=message):
        VocabularyHead.load(tmp_path, encoder)


def test_damaged_weights(encoder_of: EncoderOf, tmp_path: Path) -> None:
    encoder = encoder_of("bert")
    VocabularyHead.of(encoder, cut="transform", dims=DIMS).save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError, match="cannot be opened: SafetensorError"):
        VocabularyHead.load(tmp_path, encoder)
    with pytest.raises(ModelError, match=r"config.json: found .*No such file.*; allowed: JSON"):
        VocabularyHead.load(tmp_path / "nowhere", encoder)


def test_a_decoder_without_bias_keeps_none(family: Callable[[str], Path], tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    shutil.copytree(family("modernbert"), tmp_path / "plain")
    AutoModelForMaskedLM.from_config(
        AutoConfig.from_pretrained(family("modernbert"), decoder_bias=False)
    ).save_pretrained(tmp_path / "plain")
    encoder = MatryoshkaEncoder(tmp_path / "plain", device="cpu")
    head = VocabularyHead.of(encoder, cut="transform", dims=DIMS)
    assert not head.bias.requires_grad and not head.bias.any() and head.fresh == ()
    assert VocabularyHead.of(encoder, cut="hidden", dims=DIMS).bias.requires_grad
    head.save(tmp_path / "head")
    assert not VocabularyHead.load(tmp_path / "head", encoder).bias.requires_grad


def test_a_head_can_be_copied_and_its_modes_switched(encoder_of: EncoderOf, masked_chunk: ChunkOf) -> None:
    encoder = encoder_of("bert")
    head = VocabularyHead.of(encoder, cut="transform", dims=DIMS)
    twin = copy.deepcopy(head.train())
    hidden = torch.randn(2, 32)
    torch.testing.assert_close(twin.eval().rows(hidden), head.rows(hidden))
    assert list(twin.state_dict()) == list(head.state_dict())


def test_only_the_masked_rows_reach_the_transform(encoder_of: EncoderOf, masked_chunk: ChunkOf) -> None:
    encoder = encoder_of("bert")
    chunk = masked_chunk(encoder.tokenizer)
    hidden = masked_hidden(backbone_of(encoder), chunk.features, chunk.rows)
    states = encoder(dict(chunk.features))["token_embeddings"]
    assert hidden.shape == (len(chunk.target), 32)
    torch.testing.assert_close(hidden, states.reshape(-1, 32)[chunk.rows])
