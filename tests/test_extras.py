import pytest

from matryoshka_text.errors import ExtraMissing
from matryoshka_text.extras import optional


def test_what_is_installed_is_imported() -> None:
    assert optional("json.decoder", extra="eval", purpose="this").__name__ == "json.decoder"


def test_what_is_missing_names_the_command() -> None:
    with pytest.raises(ExtraMissing, match=r"evaluation needs the package 'no_such_package'.*matryoshka-text\[eval\]"):
        optional("no_such_package.part", extra="eval", purpose="evaluation")


def test_a_fault_inside_the_package_is_not_mistaken_for_its_absence(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency") as caught:
        optional("half_installed", extra="eval", purpose="evaluation")
    assert not isinstance(caught.value, ExtraMissing)
