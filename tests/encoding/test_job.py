import hashlib
import json
import shutil
import weakref
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from matryoshka_text.encoder import MatryoshkaEncoder
from matryoshka_text.encoding import encode_file, job, open_vectors
from matryoshka_text.errors import DataError, ModelError, MtextError, RunError
from matryoshka_text.files import held
from matryoshka_text.reading import Text
from matryoshka_text.reading import texts as texts_module


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> MatryoshkaEncoder:
    return MatryoshkaEncoder(tiny_model, device="cpu")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*.npy"))}


def test_parts_hold_the_vectors_of_encode_and_the_record_says_what_they_are(
    encoder: MatryoshkaEncoder, tiny_model: Path, jsonl: Path, texts: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = encode_file(tiny_model, [jsonl, jsonl], out, dim=8, layers=1, column="body", prompt="a ", rows_per_part=100)
    expected = encoder.encode([f"a {text}" for text in texts] * 2, dim=8, layers=1)
    np.testing.assert_allclose(np.concatenate([np.load(p) for p in sorted(out.glob("part-*"))]), expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(done.vectors[:], axis=1), 1, atol=1e-6)
    assert [np.load(p).shape for p in sorted(out.glob("part-*"))] == [(100, 8)] * 4 + [(6, 8)]
    record = json.loads((out / "encoding.json").read_text())
    assert {k: record[k] for k in ("dim", "width", "layers", "dtype", "precision", "prompt", "rows", "column")} == {
        "dim": 8, "width": 32, "layers": 1, "dtype": "float32", "precision": "float32", "prompt": "a ", "rows": 406,
        "column": "body",
    }  # fmt: skip
    assert [i["rows"] for i in record["inputs"]] == [203, 203]
    assert record["finished"] is not None
    assert done.encoded == 406
    assert done.summary == f"{out}: 406 vectors of 8 dims, float32, in 5 parts"


@pytest.mark.parametrize("damage", ["missing", "short", "other shape", "no npy", "half a header", "another byte"])
def test_the_same_call_does_only_what_is_missing_or_damaged(
    tiny_model: Path, lines: Path, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "out"
    encode_file(tiny_model, lines, out, rows_per_part=50)
    whole, part = contents(out), out / "part-00002.npy"
    untouched = {p: p.stat().st_mtime_ns for p in out.glob("part-*") if p != part}
    if damage == "missing":
        part.unlink()
    elif damage == "other shape":
        np.save(part, np.zeros((50, 31), np.float32))
    elif damage == "another byte":
        data = bytearray(part.read_bytes())
        data[-7] ^= 1
        part.write_bytes(data)
    else:
        keep = {"short": -1, "no npy": 0, "half a header": 9}[damage]
        part.write_bytes(b"garbage" if damage == "no npy" else part.read_bytes()[:keep])
    (out / ".part-00002.npy.x.part").write_bytes(b"half")
    (out / ".vectors.npy.x.part").mkdir()
    done = encode_file(tiny_model, lines, out, rows_per_part=50)
    assert done.encoded == 50
    assert contents(out) == whole
    assert {p: p.stat().st_mtime_ns for p in untouched} == untouched
    assert not [p.name for p in out.iterdir() if p.name.startswith(".")]
    assert encode_file(tiny_model, lines, out, rows_per_part=50).encoded == 0
    sums = [line.split("  ") for line in (out / "parts.sha256").read_text().splitlines()]
    assert sums == [[hashlib.sha256(data).hexdigest(), name] for name, data in whole.items()]


def test_parts_of_an_older_version_have_no_sums_and_are_believed(tiny_model: Path, lines: Path, tmp_path: Path) -> None:
    encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50)
    (tmp_path / "out" / "parts.sha256").unlink()
    assert encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50).encoded == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows_per_part": 10**19}, "rows_per_part: Input should be less than or equal to 1000000000"),
        ({"rows": 10**12}, "rows 1000000000000 is not 203, the sum of the inputs"),
        ({"rows": 10**12, "inputs": [{"file": "x", "sha256": None, "rows": 10**12}]}, "20,000,000,000 parts"),
        ({"dim": 64}, "dim 64 is not that of the ranges, or above the width 32"),
        ({"precision": "int8"}, "precision int8 without ranges"),
        ({"dim": "8"}, "dim: Input should be a valid integer, found '8'"),
        ({"rows": -5}, "rows: Input should be greater than or equal to 0, found -5"),
        ({"inputs": 5}, "inputs: Input should be a valid (array|tuple), found 5"),
    ],
)
def test_a_record_that_was_changed_is_refused(
    tiny_model: Path, lines: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50)
    record = tmp_path / "out" / "encoding.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    with pytest.raises(RunError, match=rf"encoding\.json: cannot be read as the record of `mtext encode` \(.*{said}"):
        encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50)


@pytest.mark.parametrize("word", ["rows_per_part", "batch_tokens", "calibrate"])
def test_a_number_that_nobody_means_is_refused(tiny_model: Path, lines: Path, tmp_path: Path, word: str) -> None:
    with pytest.raises(ModelError, match=rf"--{word.replace('_', '-')}: found 10{{19}}; allowed: whole numbers from 1"):
        encode_file(tiny_model, lines, tmp_path / "out", **{word: 10**19})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dim": 16}, "dim: 8 there, 16 asked for"),
        ({"layers": 1}, "layers: None there, 1 asked for"),
        ({"dtype": "bf16"}, "dtype: 'float32' there, 'bf16' asked for"),
        ({"precision": "float16"}, "precision: 'float32' there, 'float16' asked for"),
        ({"prompt": "the "}, "prompt: None there, 'the ' asked for"),
        ({"rows_per_part": 51}, "rows_per_part: 50 there, 51 asked for"),
    ],
)
def test_a_call_for_other_vectors_is_refused(
    tiny_model: Path, lines: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    settings: dict[str, Any] = {"dim": 8, "rows_per_part": 50}
    encode_file(tiny_model, lines, tmp_path / "out", **settings)
    before = contents(tmp_path / "out")
    with pytest.raises(RunError) as error:
        encode_file(tiny_model, lines, tmp_path / "out", **{**settings, **changes})
    assert named in str(error.value)
    assert "or write elsewhere with --out" in str(error.value)
    assert contents(tmp_path / "out") == before


def test_another_model_and_another_input_are_refused_and_a_moved_one_is_not(
    tiny_model: Path, lines: Path, jsonl: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    out = tmp_path / "out"
    encode_file(tiny_model, lines, out, rows_per_part=50)
    shutil.copytree(tiny_model, tmp_path / "other")
    shutil.copy(lines, tmp_path / "moved.txt")
    assert encode_file(tmp_path / "other", tmp_path / "moved.txt", out, rows_per_part=50).encoded == 0
    weights = load_file(tiny_model / "model.safetensors")
    save_file({k: v + 0.1 for k, v in weights.items()}, tmp_path / "other" / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunError, match=r"weights: 'sha256 .* there, 'sha256 .* asked for"):
        encode_file(tmp_path / "other", lines, out, rows_per_part=50)
    lines.write_text("one more\n" + lines.read_text())
    with pytest.raises(RunError, match=r"inputs: \['sha256 .*, 203 rows'\] there, \['sha256 .*, 204 rows'\] asked for"):
        encode_file(tiny_model, lines, out, rows_per_part=50)
    jsonl.write_text('{"a": "x", "b": "y"}\n')
    encode_file(tiny_model, jsonl, tmp_path / "columns", column="a")
    with pytest.raises(RunError, match="column: 'a' there, 'b' asked for"):
        encode_file(tiny_model, jsonl, tmp_path / "columns", column="b")


def test_auto_means_the_second_time_what_it_meant_the_first(
    tiny_model: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matryoshka_text.encoding import plan

    encode_file(tiny_model, lines, tmp_path / "out", dtype="bf16", rows_per_part=50)
    monkeypatch.setattr(plan, "choose_dtype", lambda *_: "float32")
    assert encode_file(tiny_model, lines, tmp_path / "out", dtype="auto", rows_per_part=50).encoded == 0


def test_one_bit_has_two_names(tiny_model: Path, lines: Path, tmp_path: Path) -> None:
    first = encode_file(tiny_model, lines, tmp_path / "first", precision="binary")
    assert first.manifest.precision == "ubinary"
    assert encode_file(tiny_model, lines, tmp_path / "first", precision="ubinary").encoded == 0


@pytest.mark.parametrize("precision", ["float16", "int8", "ubinary"])
def test_smaller_vectors(
    encoder: MatryoshkaEncoder, tiny_model: Path, lines: Path, texts: list[str], tmp_path: Path, precision: Any
) -> None:
    out, full = tmp_path / "out", encoder.encode(texts, dim=12)
    settings: dict[str, Any] = {"dim": 12, "precision": precision, "rows_per_part": 50, "calibrate": 60}
    vectors = encode_file(tiny_model, lines, out, **settings).vectors
    columns, size = {"float16": (12, 2), "int8": (12, 1), "ubinary": (2, 1)}[precision]
    assert (vectors.shape, vectors.dtype.itemsize) == ((203, columns), size)
    if precision == "float16":
        np.testing.assert_allclose(vectors.floats(slice(None)), full, atol=1e-3)
    if precision == "ubinary":
        np.testing.assert_array_equal(vectors[:], np.packbits(full > 0, axis=1))
    if precision == "int8":
        record = json.loads((out / "encoding.json").read_text())
        assert record["calibrated_on"] == 60
        least, greatest = (np.asarray(bound) for bound in record["ranges"])
        np.testing.assert_allclose(least, full[:60].min(0), atol=1e-6)
        np.testing.assert_allclose(greatest, full[:60].max(0), atol=1e-6)
        steps = np.clip(np.rint((full - least) / ((greatest - least) / 255)) - 128, -128, 127)
        assert np.abs(vectors[:] - steps).max() <= 1
    before = contents(out)
    (out / "part-00003.npy").unlink()
    encode_file(tiny_model, lines, out, **settings)
    assert contents(out) == before


def test_a_run_is_read_by_its_folder_and_prompts_by_their_names(
    tiny_model: Path, lines: Path, tmp_path: Path, encoder: MatryoshkaEncoder, texts: list[str]
) -> None:
    shutil.copytree(tiny_model, tmp_path / "run" / "model")
    config = tmp_path / "run" / "model" / "config_sentence_transformers.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "prompts": {"find": "find "}, "default_prompt_name": "find"})
    )
    for name, settings in (("named", {"prompt_name": "find"}), ("default", {})):
        given = encode_file(tmp_path / "run", lines, tmp_path / name, **settings).vectors[:]
        np.testing.assert_allclose(given, encoder.encode([f"find {t}" for t in texts]), atol=1e-6)
    given = encode_file(tmp_path / "run", lines, tmp_path / "none", prompt="").vectors[:]
    np.testing.assert_allclose(given, encoder.encode(texts), atol=1e-6)
    with pytest.raises(ModelError, match=r"--prompt-name: found 'x'; allowed: .*find"):
        encode_file(tmp_path / "run", lines, tmp_path / "x", prompt_name="x")


@pytest.mark.parametrize("role", ["query", "document"])
def test_a_role_encodes_as_plain_sentence_transformers_does(
    tiny_model: Path, lines: Path, tmp_path: Path, texts: list[str], role: Literal["query", "document"]
) -> None:
    prompts = {"query": "ask: ", "document": "read: "}
    plain = SentenceTransformer(str(tiny_model), device="cpu", prompts=prompts, default_prompt_name="query")
    plain.save(str(tmp_path / "model"))
    done = encode_file(tmp_path / "model", lines, tmp_path / role, role=role)
    expected = {"query": plain.encode_query, "document": plain.encode_document}[role](texts)
    np.testing.assert_allclose(done.vectors[:], expected, atol=1e-6)
    assert (done.manifest.role, done.manifest.prompt) == (role, prompts[role])
    assert encode_file(tmp_path / "model", lines, tmp_path / role, role=role).encoded == 0
    with pytest.raises(RunError, match="role: "):
        encode_file(tmp_path / "model", lines, tmp_path / role, prompt=prompts[role])


def test_a_record_without_a_role_is_of_neither(tiny_model: Path, lines: Path, tmp_path: Path) -> None:
    done = encode_file(tiny_model, lines, tmp_path / "out", prompt="")
    record = json.loads((tmp_path / "out/encoding.json").read_text())
    del record["role"]
    record["prompt"] = ""
    (tmp_path / "out/encoding.json").write_text(json.dumps(record))
    assert encode_file(tiny_model, lines, tmp_path / "out", prompt="").encoded == 0
    assert done.encoded


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 33}, "--dim: found 33, but .* has 32; allowed: 1 to 32"),
        ({"dim": 0}, "--dim: found 0"),
        ({"layers": 3}, "--layers: found 3, but .* has 2; allowed: 1 to 2"),
        ({"dtype": "fp8"}, "--dtype: .*allowed: float32, bf16, auto"),
        ({"precision": "int4"}, "--precision: found 'int4'; allowed: float32, float16, int8, ubinary"),
        ({"role": "passage"}, "--role: found 'passage'; allowed: query, document"),
        ({"rows_per_part": 0}, "--rows-per-part: found 0; allowed: whole numbers from 1"),
        ({"batch_tokens": -1}, "--batch-tokens: found -1"),
        ({"prompt": "a", "prompt_name": "b"}, "both given"),
        ({"column": "x", "inputs": "rows.jsonl"}, "found no column 'x'; allowed: text"),
        ({"inputs": "empty.txt"}, "found no rows"),
        ({"inputs": "none.txt"}, "found no file"),
        ({"out": "a_file"}, "is a file; allowed: a folder"),
        ({"out": "strangers"}, "holds thesis.txt, but no encoding.json"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(
    tiny_model: Path, lines: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "a_file").write_text("")
    (tmp_path / "strangers").mkdir()
    (tmp_path / "strangers" / "thesis.txt").write_text("years of work")
    inputs = tmp_path / changes.pop("inputs", lines.name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MtextError, match=message):
        encode_file(tiny_model, inputs, tmp_path / changes.pop("out", "out"), **changes)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_told_with_what_is_needed(
    tiny_model: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(RunError, match=r"203 vectors needs .* MB, and the disk has 0\.0 MB free"):
        encode_file(tiny_model, lines, tmp_path / "out")
    assert not contents(tmp_path / "out")


def test_vectors_that_are_no_numbers_name_their_texts(
    tiny_model: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = MatryoshkaEncoder.encode

    def broken(self: MatryoshkaEncoder, texts: list[str], **settings: Any) -> Any:
        vectors = encode(self, texts, **settings)
        vectors[[i for i, text in enumerate(texts) if text.startswith(("57 ", "61 "))], 3] = np.nan
        return vectors

    monkeypatch.setattr(MatryoshkaEncoder, "encode", broken)
    with pytest.raises(ModelError, match=rf"{lines}:58, {lines}:62: .* no numbers for 2 of these texts"):
        encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50)
    assert list(contents(tmp_path / "out")) == ["part-00000.npy"]


def test_only_one_parts_texts_are_in_memory(
    tiny_model: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Text] = weakref.WeakSet()
    most = 0

    class Counted(Text):
        def __init__(self, *given: Any) -> None:
            nonlocal most
            super().__init__(*given)
            alive.add(self)
            most = max(most, len(alive))

    monkeypatch.setattr(texts_module, "Text", Counted)
    encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50)
    assert 50 <= most <= 51


def test_two_runs_in_one_folder_exclude_each_other(tiny_model: Path, lines: Path, tmp_path: Path) -> None:
    with held(tmp_path / "out", doing="training"), pytest.raises(RunError, match="another process is encoding here"):
        encode_file(tiny_model, lines, tmp_path / "out")


def test_join_writes_one_file_too(tiny_model: Path, lines: Path, tmp_path: Path) -> None:
    encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50)
    encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50, join=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "vectors.npy"), open_vectors(tmp_path / "out")[:])


def test_an_input_that_changes_while_it_is_read_is_an_error(
    tiny_model: Path, lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50)
    (tmp_path / "out" / "part-00004.npy").unlink()
    monkeypatch.setattr(job.Texts, "__iter__", lambda _: iter(()))
    with pytest.raises(RunError, match="found 0 rows for part 4, which has 3: the input has changed"):
        encode_file(tiny_model, lines, tmp_path / "out", rows_per_part=50)


def test_several_processes_cannot_share_standard_input() -> None:
    with pytest.raises(DataError, match="found - with 2 processes"):
        job._texts("-", "text", 2)


@pytest.mark.parametrize("default", [None, "document"])
def test_a_router_without_a_default_has_no_way_for_a_text(
    tiny_model: Path, lines: Path, tmp_path: Path, default: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Dense

    routes = {"query": [Dense(32, 16)], "document": [Dense(32, 16)]}
    modules = [*SentenceTransformer(str(tiny_model), device="cpu"), Router(routes, default, allow_empty_key=False)]
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "model"))
    if default is None:
        with pytest.raises(ModelError, match=r"has a Router, .* no default; allowed: .*--role query"):
            encode_file(tmp_path / "model", [lines], tmp_path / "out")
        return
    encode_file(tmp_path / "model", [lines], tmp_path / "out")
    assert "the texts go through its default route, document" in caplog.text
