"""What a model can read: the languages it is declared for, and whether its vocabulary knows a text's words at all."""

import random
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from matryoshka_text.errors import EvaluationError
from matryoshka_text.evaluation.mteb_compat import iso_scripts, language_label, registered_entry

__all__ = [
    "card_header",
    "declared_languages",
    "language_problem",
    "language_scripts",
    "require_vocabulary",
]

# A model for Arabic is declared "ar", and tasks name the member of the macrolanguage (ISO 639-3), such as Egyptian.
_MACRO = {
    member: macro
    for macro, members in {
        "ara": "aao acm acq aeb ajp apc apd arb arq ars ary arz ayl",
        "aze": "azb azj",
        "est": "ekk",
        "fas": "pes prs",
        "grn": "gug",
        "hbs": "bos hrv srp",
        "kur": "ckb kmr",
        "lav": "ltg lvs",
        "mlg": "plt",
        "mon": "khk",
        "msa": "ind zlm zsm",
        "nep": "npi",
        "nor": "nno nob",
        "ori": "ory",
        "orm": "gaz",
        "pus": "pbt",
        "que": "quy quz",
        "sqi": "als",
        "swa": "swh",
        "uzb": "uzn",
        "yid": "ydd",
        "zho": "cmn yue wuu",
    }.items()
    for member in members.split()
}

# Of all tokens of the texts looked at: above it a score would say nothing about the model.
MOST_UNKNOWN = 0.5


def declared_languages(folder: Path, name: str) -> frozenset[str] | None:
    """ISO 639-3 codes of the languages that the model is said to read; None if nobody says, or it says "many".

    Said by the header of the README.md in its folder, and by mteb's own entry of that name.
    """
    declared = card_header(folder).get("language")
    said = language_scripts(declared)
    if said is None and declared is not None:
        return None
    entry = registered_entry(name)
    known = (entry.languages if entry is not None else None) or []
    return frozenset(_language(code) for code in [*(said or []), *known]) or None


def language_problem(
    metadata: Any, declared: Collection[str] | None, *, model: str, subsets: Iterable[str] | None = None
) -> str | None:
    """Why the model cannot read the task, from mteb's metadata of it, and the way out; None if nothing speaks
    against it: a language in common, languages unknown, or a task about programming languages.

    `subsets`: those of the task's subsets that are scored; None: all.
    """
    if declared is None:
        return None
    by_subset = metadata.hf_subsets_to_langscripts
    chosen = by_subset if subsets is None else {name: by_subset[name] for name in subsets if name in by_subset}
    scripts = {code for codes in chosen.values() for code in codes}
    needed = {_language(code) for code in scripts}
    in_common = {_MACRO.get(code, code) for code in needed} & {_MACRO.get(code, code) for code in declared}
    if not needed or in_common or any(code.endswith("-Code") for code in scripts):
        return None
    return (
        f"{metadata.name}: its texts are in {_named(needed)}, and {model} is declared for {_named(declared)} "
        "(README.md, or mteb's entry); leave the task out of the suite, or evaluate a model of that language; where "
        "the declaration is wrong, mend `language:` in the header of the model's README.md"
    )


def require_vocabulary(
    tokenizer: Any, texts: Sequence[str], *, task: str, model: str, seed: int = 0, size: int = 256
) -> None:
    """`EvaluationError` if more than half of the tokens of a seeded sample of the texts are the unknown token."""
    sample = list(texts) if len(texts) <= size else random.Random(seed).sample(list(texts), size)
    unknown, total = _unknown(tokenizer, sample)
    share = sum(unknown) / max(1, sum(total))
    if share <= MOST_UNKNOWN:
        return
    worst = sorted(range(len(sample)), key=lambda row: -unknown[row] / max(1, total[row]))[:3]
    shown = "; ".join(repr(sample[row][:60]) for row in worst)
    raise EvaluationError(
        f"{task}: {100 * share:.0f}% of the tokens of its texts are unknown to {model}'s vocabulary, such as those of "
        f"{shown}; at most {100 * MOST_UNKNOWN:.0f}% are allowed, or the score would say nothing: leave the task out "
        "of the suite, or evaluate a model of that language"
    )


def _unknown(tokenizer: Any, texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Unknown tokens and all tokens of each text, special ones not counted."""
    filled = [text for text in texts if text.strip()]
    if not filled or tokenizer.unk_token_id is None:
        return [0] * len(texts), [1] * len(texts)
    found = tokenizer(filled, add_special_tokens=False, truncation=True, max_length=512)["input_ids"]
    by_text = dict(zip(filled, found, strict=True))
    ids = [by_text.get(text, []) for text in texts]
    return [list(one).count(tokenizer.unk_token_id) for one in ids], [len(one) for one in ids]


def card_header(folder: Path) -> dict[str, Any]:
    """The header of the model card; {} if there is none that can be read."""
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    try:
        found = metadata_load(card) if card.is_file() else None
    except Exception:  # somebody's YAML: an unreadable header declares nothing
        return {}
    return found if isinstance(found, dict) else {}


def language_scripts(declared: Any) -> list[str] | None:
    """The codes of mteb, such as eng-Latn, of what a card declares as `language:`; None if any of it is no language,
    such as "multilingual".
    """
    listed = [declared] if isinstance(declared, str) else list(declared or ())
    # YAML reads an unquoted `no`, Norwegian, as False. en-US and pt_BR are languages of a region.
    codes = [re.split("[-_]", "no" if code is False else str(code))[0] for code in listed if code != "code"]
    found = [iso_scripts(code) for code in codes]
    if not codes or any(one is None for one in found):
        return None
    return sorted({code for one in found for code in one or ()})


def _language(code: str) -> str:
    return code.partition("-")[0]


def _named(languages: Iterable[str]) -> str:
    return ", ".join(sorted(f"{language_label(code)} ({code})" for code in languages))
