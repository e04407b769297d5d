from matryoshka_text.rotating.table import kept_table
from matryoshka_text.rotation import SourceKept


def _kept(name: str, dims: tuple[int, ...], *, rows: int = 9000) -> SourceKept:
    before = {dim: 0.3 + 0.05 * place for place, dim in enumerate(dims)}
    return SourceKept(name, rows, 900, before, {dim: min(1.0, share + 0.5) for dim, share in before.items()})


DIMS = (12, 24, 48, 96, 192, 384)


def test_the_table_before_and_after() -> None:
    assert kept_table([_kept("faq.txt", DIMS), _kept("[b]news[/b].csv", DIMS, rows=120)], 384).splitlines() == [
        "Share (%) of the 10 nearest neighbours at full width (384) that a prefix keeps, by dim.",
        "Asked: up to 900 held-back texts a source; neighbours are looked for among the texts counted here.",
        "",
        "  source            texts              12     24     48     96     192",
        " ──────────────────────────────────────────────────────────────────────",
        "  faq.txt           9,000   before   30.0   35.0   40.0   45.0    50.0",
        "                            after    80.0   85.0   90.0   95.0   100.0",
        "  [b]news[/b].csv     120   before   30.0   35.0   40.0   45.0    50.0",
        "                            after    80.0   85.0   90.0   95.0   100.0",
        "  mean                      before   30.0   35.0   40.0   45.0    50.0",
        "                            after    80.0   85.0   90.0   95.0   100.0",
        "",
        "The smallest dim that keeps a share, as does every larger dim listed, before → after:",
        "",
        "  source                 90%        95%         99%",
        " ───────────────────────────────────────────────────",
        "  faq.txt           384 → 48   384 → 96   384 → 192",
        "  [b]news[/b].csv   384 → 48   384 → 96   384 → 192",
        "  mean              384 → 48   384 → 96   384 → 192",
    ]


def test_without_a_rotation_there_is_one_line_a_source() -> None:
    shown = kept_table([_kept("faq.txt", DIMS)], 384, rotated=False)
    assert "before" not in shown and "mean" not in shown and "→" not in shown
    assert [line.split() for line in shown.splitlines() if line.strip().startswith("faq.txt")] == [
        ["faq.txt", "9,000", "30.0", "35.0", "40.0", "45.0", "50.0"],
        ["faq.txt", "384", "384", "384"],
    ]


def test_long_names_and_many_dims_fit_into_100_columns() -> None:
    dims = tuple(range(8, 384, 16))
    shown = kept_table([_kept("a_very_long_name_of_a_file_" * 4 + ".jsonl", dims), _kept("b", dims)], 384)
    assert max(map(len, shown.splitlines())) <= 100
    for dim in dims:
        assert f" {dim}" in shown
    assert "…" not in shown
