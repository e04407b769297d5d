"""What changes a hash, and what does not."""

import shutil
from pathlib import Path

from matryoshka_text.fingerprint import data_fingerprint, weights_hash


def test_a_model_is_its_weights_and_configuration(tiny_model: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(tiny_model, copied)
    (copied / "README.md").write_text("another card")
    (copied / "trainer_state.json").write_text("{}")
    same = weights_hash(tiny_model)
    assert len(same) == 64
    assert weights_hash(copied) == same
    pooling = next(copied.glob("*_Pooling/config.json"))
    pooling.write_text(pooling.read_text().replace("mean", "cls"))
    assert weights_hash(copied) != same


def test_two_models_differ(tiny_model: Path, other_model: Path) -> None:
    assert weights_hash(tiny_model) != weights_hash(other_model)


def test_data_are_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/test.jsonl").write_text("1")
    before = data_fingerprint(tmp_path / "a")
    (tmp_path / "a/.hidden").write_text("x")
    assert data_fingerprint(tmp_path / "a") == before
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert data_fingerprint(tmp_path / "b") == before
    (tmp_path / "a/test.jsonl").write_text("2")
    (tmp_path / "b/test.jsonl").rename(tmp_path / "b/train.jsonl")
    assert len({before, data_fingerprint(tmp_path / "a"), data_fingerprint(tmp_path / "b")}) == 3


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def test_each_file_that_is_read_changes_a_model_and_no_other_does(tiny_model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Dense

    plain = SentenceTransformer(str(tiny_model), device="cpu")
    routes = Router.for_query_document([Dense(32, 16)], [Dense(32, 16)])
    SentenceTransformer(modules=[*plain, Dense(32, 32), routes], device="cpu").save(str(tmp_path / "model"))
    model = tmp_path / "model"
    (model / "3_Dense").rename(tmp_path / "elsewhere")
    (model / "3_Dense").symlink_to(tmp_path / "elsewhere")
    for name in (
        "sentencepiece.bpe.model",
        "bpe.codes",
        "merges.txt",
        "chat_template.jinja",
        "model.safetensors.index.json",
    ):
        (model / name).write_text("{}")
    seen = {weights_hash(model)}
    read = [file for file in model.rglob("*") if file.is_file() and file.suffix != ".md"]
    read += (model / "3_Dense").iterdir()
    assert len(read) > 15
    for count, file in enumerate(read, 2):
        _flip(file)
        seen.add(weights_hash(model))
        assert len(seen) == count, file
    same = weights_hash(model)
    for name in ("README.md", "LICENSE", "train.py", "pytorch_model.bin", "3_Dense/pytorch_model.bin", "eval/x.csv"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("another")
    (model / "again").symlink_to(model)
    assert weights_hash(model) == same


def test_code_of_the_models_own_counts(tiny_model: Path, tmp_path: Path) -> None:
    for file, words in (("config.json", '"auto_map"'), ("modules.json", '"type": "custom.Pooling"')):
        copied = tmp_path / file
        shutil.copytree(tiny_model, copied)
        (copied / "custom.py").write_text("one")
        named = (copied / file).read_text()
        before = weights_hash(copied)
        (copied / file).write_text(named + words)
        with_code = weights_hash(copied)
        (copied / "custom.py").write_text("two")
        assert len({before, with_code, weights_hash(copied)}) == 3
