"""Messages have a bound."""

from matryoshka_text.errors import DataError, bounded


def test_a_message_of_usual_size_stays_as_it_is() -> None:
    text = "\n".join(f"r.yaml:{n}: found 5; allowed: 6; change it" for n in range(100))
    assert str(DataError(text)) == text


def test_many_lines_and_long_lines_are_cut() -> None:
    lines = str(DataError("\n".join(f"line {n}" for n in range(100_000)))).splitlines()
    assert len(lines) == 101 and lines[99:] == ["line 99", "and 99,900 more lines"]
    line = bounded("r.csv: found " + "9" * 5_000_000 + "; allowed: a number; correct it")
    assert line.startswith("r.csv: found 99") and line.endswith("99; allowed: a number; correct it")
    assert "… (5,000,044 characters) …" in line and len(line) < 2100
