"""Which of the base's prompts each column of texts gets, by the names that sentence-transformers keeps them under."""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from pydantic import Field

from matryoshka_text.errors import shown
from matryoshka_text.recipe.columns import Roles
from matryoshka_text.section import Fault, Loc, value_of

__all__ = ["Prompts", "faults_of_names"]

# What `encode_query` and `encode_document` put before a text. Any other column gets what `encode` puts there.
_BY_ROLE = {"anchor": "query", "positive": "document"}


def _named(kinds: str, default: str) -> Any:
    return Field(
        default=None,
        description=kinds,
        json_schema_extra={"allowed": "the name of a prompt of the base, '' for none,", "default": default},
    )


_AS_ENCODE = "base.default_prompt_name"


class Prompts(Roles):
    """Which of the base's prompts the texts of a column get, by name; a column that is left out gets what the saved
    model puts there.
    """

    anchor: str | None = _named("pairs, triplets", "query")
    positive: str | None = _named("pairs, triplets: also before the hard negatives", "document")
    premise: str | None = _named("nli", _AS_ENCODE)
    hypothesis: str | None = _named("nli", _AS_ENCODE)
    text: str | None = _named("mined, and texts of a rotation", _AS_ENCODE)
    sentence1: str | None = _named("scored, sts", _AS_ENCODE)
    sentence2: str | None = _named("scored, sts", _AS_ENCODE)

    @classmethod
    def roles(cls, of_kind: tuple[str, ...]) -> list[str]:
        """Those of a kind's roles that are texts."""
        return [role for role in of_kind if role in cls.model_fields]

    def names(self, of_kind: tuple[str, ...], columns: int) -> tuple[str | None, ...]:
        """The name of the prompt of each of `columns` columns of texts; None: the one that `encode` uses.

        Columns beyond the roles of the kind are hard negatives, which get what the last one gets.
        """
        roles = self.roles(of_kind)
        given = [_BY_ROLE.get(role) if getattr(self, role) is None else getattr(self, role) for role in roles]
        return tuple(given[min(column, len(given) - 1)] for column in range(columns))


def faults_of_names(found: Mapping[str, Any], model: str, own: Set[str]) -> Iterator[Fault]:
    """A fault for each name of a prompt in the recipe that neither the base, which has `own`, nor base.prompts has."""
    base = found.get("base")
    written = value_of(base, "prompts")
    known = own | set(written if isinstance(written, Mapping) else ())
    for loc, name in [(("base", "default_prompt_name"), value_of(base, "default_prompt_name")), *_names_in(found)]:
        if isinstance(name, str) and name and name not in known:
            none = "" if loc[0] == "base" else ", or an empty text for none"
            yield (
                loc,
                f"found {shown(name)}, which is not the name of a prompt of {model}; allowed: "
                f"{', '.join(sorted(known))}{none}; write the words into base.prompts, "
                "`base: {prompts: {NAME: 'words: '}}`, and their name here",
            )


def _names_in(found: Mapping[str, Any]) -> Iterator[tuple[Loc, Any]]:
    """Every place of the recipe's sources and held-out sets that names a prompt."""
    for key in ((), ("rotation",), ("evaluation",)):
        sections = value_of(found.get(key[0]) if key else found, "data")
        for index, section in enumerate(sections if isinstance(sections, list | tuple) else ()):
            prompts = value_of(section, "prompts")
            for role, name in dict(prompts).items() if isinstance(prompts, Mapping | Prompts) else ():
                yield (*key, "data", index, "prompts", role), name
