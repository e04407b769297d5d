"""What a model is declared for, and what its vocabulary knows."""

from pathlib import Path
from typing import Any

import mteb
import pytest

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.tasks.languages import (
    declared_languages,
    language_problem,
    require_vocabulary,
)

CHINESE = ["今天天气很好我们去公园散步吧", "人工智能正在改变世界的面貌", "请问图书馆怎么走"]
ENGLISH = ["the cat is playing the guitar", "money in the bank", "a woman and a dog in the street"]


def card(folder: Path, language: str) -> Path:
    (folder / "README.md").write_text(f"---\nlicense: mit\n{language}\n---\n# Model\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("language", "codes"),
    [
        ("language: en", {"eng"}),
        ("language: [en, de, pt-BR]", {"eng", "deu", "por"}),
        ("language:\n- fra\n- zh_CN", {"fra", "zho"}),
        ("language: [en, no]", {"eng", "nor"}),
        ("language: [en, code]", {"eng"}),
        ("language: multilingual", None),
        ("language: [en, multilingual]", None),
        ("language: xx", None),
        ("tags: [a]", None),
        ("language: [", None),
    ],
)
def test_the_card_declares_languages(tmp_path: Path, language: str, codes: set[str] | None) -> None:
    assert declared_languages(card(tmp_path, language), "local/model") == codes


def test_without_a_card_mteb_knows_its_own_models_and_nobody_others(tmp_path: Path) -> None:
    assert declared_languages(tmp_path, "sentence-transformers/all-MiniLM-L6-v2") == {"eng"}
    assert declared_languages(tmp_path, "local/model") is None
    both = declared_languages(card(tmp_path, "language: de"), "sentence-transformers/all-MiniLM-L6-v2")
    assert both == {"eng", "deu"}


def problem(task: str, declared: set[str] | None, **settings: Any) -> str | None:
    return language_problem(mteb.get_task(task).metadata, declared, model="small", **settings)


def test_no_language_in_common_is_told_with_both_and_the_way_out() -> None:
    assert problem("GermanQuAD-Retrieval", {"eng", "fra"}) == (
        "GermanQuAD-Retrieval: its texts are in German (deu), and small is declared for English (eng), French (fra) "
        "(README.md, or mteb's entry); leave the task out of the suite, or evaluate a model of that language; where "
        "the declaration is wrong, mend `language:` in the header of the model's README.md"
    )


def test_one_language_in_common_or_unknown_ones_are_fine() -> None:
    assert problem("GermanQuAD-Retrieval", {"deu"}) is None
    assert problem("GermanQuAD-Retrieval", None) is None
    assert problem("AmazonCounterfactualClassification", {"eng"}) is None


def test_only_the_subsets_that_are_scored_count() -> None:
    assert problem("AmazonCounterfactualClassification", {"eng"}, subsets=("en",)) is None
    found = problem("AmazonCounterfactualClassification", {"eng"}, subsets=("de", "ja"))
    assert found is not None and "its texts are in German (deu), Japanese (jpn), and small" in found


def test_a_member_of_a_macrolanguage_is_that_language() -> None:
    assert problem("NorQuadRetrieval", {"nor"}) is None
    assert problem("NorQuadRetrieval", {"swe"}) is not None


def test_programming_languages_are_no_bar() -> None:
    assert problem("CodeSearchNetRetrieval", {"deu"}) is None


@pytest.fixture(scope="module")
def english(minilm: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm)


def test_texts_the_vocabulary_does_not_know_are_refused(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    require_vocabulary(tokenizer, ENGLISH * 200, task="T", model="small")
    with pytest.raises(EvaluationError) as caught:
        require_vocabulary(tokenizer, [*CHINESE, *ENGLISH[:1]], task="T", model="small")
    message = str(caught.value)
    assert message.startswith("T: ") and "% of the tokens of its texts are unknown to small's vocabulary" in message
    assert CHINESE[0] in message and ENGLISH[0] not in message
    assert "at most 50% are allowed" in message and "leave the task out" in message


def test_the_real_english_vocabulary_knows_english(english: Any) -> None:
    require_vocabulary(english, ENGLISH, task="T", model="MiniLM")
    with pytest.raises(EvaluationError, match="unknown to MiniLM's vocabulary"):
        require_vocabulary(english, ["ខ្ញុំស្រឡាញ់ភាសាខ្មែរ", "អរគុណច្រើន"], task="T", model="MiniLM")


def test_bytes_are_never_unknown() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE({one: at for at, one in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw)
    require_vocabulary(tokenizer, CHINESE, task="T", model="bytes")
