from pathlib import Path

import pytest

from matryoshka_text.encoder import packaged, resolve_model, width_of
from matryoshka_text.encoder.resolve import require_weights
from matryoshka_text.errors import ModelError


def test_a_folder_comes_first(tiny_model: Path) -> None:
    found = resolve_model(str(tiny_model))
    assert (found.path, found.origin) == (tiny_model.resolve(), "folder")
    assert width_of(found.path) == 32


def test_the_hub_id_is_had_from_the_package_where_no_hub_answers(minilm: Path) -> None:
    found = resolve_model(packaged.MODEL)
    assert found.origin in {"cache", "package"}
    assert width_of(found.path) == 384


def test_the_hub_cache_comes_before_the_package(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import huggingface_hub.constants

    repo = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2"
    shutil.copytree(tiny_model, repo / "snapshots" / ("a" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    found = resolve_model(packaged.MODEL)
    assert (found.origin, found.path.parents[1]) == ("cache", repo)


def test_a_model_that_cannot_be_had_says_what_was_tried() -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model("nobody/no-such-model")
    for part in ("the folder nobody/no-such-model", "the hub cache", "the hub (", "packaged", "Way out"):
        assert part in str(caught.value)


def test_a_revision_is_not_taken_from_the_package(minilm: Path) -> None:
    with pytest.raises(ModelError, match="published main revision, not v1"):
        resolve_model(packaged.MODEL, "v1")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_path_that_is_not_there_is_no_hub_id(name: str) -> None:
    with pytest.raises(ModelError, match="there is no such folder"):
        resolve_model(name)


def test_the_folder_of_a_run_stands_for_the_model_in_it(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(tiny_model)
    found = resolve_model(str(tmp_path / "run"))
    assert (found.path, found.origin, found.name) == (tiny_model.resolve(), "folder", str(tmp_path / "run"))
    assert resolve_model(str(tmp_path / "run" / "model")).path == found.path


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        resolve_model(str(tmp_path))


def test_the_packaged_weights_are_the_published_ones_or_nothing(minilm: Path, tmp_path: Path) -> None:
    packaged.require_published(minilm / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes((minilm / "model.safetensors").read_bytes()[:-1] + b"\0")
    with pytest.raises(ModelError, match=r"sha256 is .*, but the published .* has 53aa5117.*reinstall"):
        packaged.require_published(tmp_path / "model.safetensors")


def test_a_heads_weights_are_no_weights_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "heads" / "mlm").mkdir(parents=True)
    (tmp_path / "heads" / "mlm" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"holds no \*\.safetensors weights"):
        require_weights(tmp_path, "mine")
    for home in ("model.safetensors", "0_Transformer/model.safetensors", "model-00001-of-00002.safetensors"):
        (tmp_path / home).parent.mkdir(exist_ok=True)
        (tmp_path / home).write_bytes(b"")
        require_weights(tmp_path, "mine")
        (tmp_path / home).unlink()


def test_heads_and_modules_are_fetched_from_the_hub_and_pickles_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    asked: list[list[str]] = []

    def download(name: str, *, allow_patterns: list[str] | None = None, **_: object) -> str:
        if allow_patterns is None:
            raise OSError("not there")
        asked.append(allow_patterns)
        raise OSError("seen")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match=r"the hub \(OSError: seen\)"):
        resolve_model("nobody/some-model")
    wanted = ["config.json", "modules.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]
    wanted += ["2_Dense/config.json", "2_Dense/model.safetensors"]
    wanted += [f"heads/{head}/{file}" for head in ("mlm", "classes") for file in ("config.json", "model.safetensors")]
    others = ["pytorch_model.bin", "2_Dense/pytorch_model.bin", "heads/mlm/model.bin", "onnx/model.onnx"]
    assert list(filter_repo_objects([*wanted, *others], allow_patterns=asked[0])) == wanted


def test_a_cut_models_width_is_its_last_denses(tiny_model: Path, tmp_path: Path) -> None:
    from matryoshka_text.encoder import MatryoshkaEncoder

    MatryoshkaEncoder(tiny_model, device="cpu").truncated(dim=8, layers=1).save(str(tmp_path / "cut"))
    assert width_of(tmp_path / "cut") == 8


def test_a_folder_has_no_revisions(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="is a folder, and found the revision 'v1'; allowed: none with a folder"):
        resolve_model(str(tiny_model), "v1")
