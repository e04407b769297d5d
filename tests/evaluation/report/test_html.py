"""The page: well-formed, self-contained, everything in it, and opened in a browser where there is one."""

import html
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from matryoshka_text.evaluation.report.chart import chart
from matryoshka_text.evaluation.report.cost import costs
from matryoshka_text.evaluation.report.html import render_html, write_html
from matryoshka_text.evaluation.report.tables import tables
from tests.builders import OURS, THEIRS, made

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "br", "input", "link", "img", "hr"}


class Page(HTMLParser):
    """Tags that do not nest, ids, where links lead, and the attributes of every tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.tags[tag] += 1
        self.attributes.append((tag, own))
        self.ids.update([value] if (value := own.get("id")) else [])
        self.links += [value for name in ("href", "src", "xlink:href") if (value := own.get(name))]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def rendered(known: Callable[..., Any]) -> Callable[..., str]:
    """rendered(count, **suite): a page on which differences are real at 8 dims alone."""

    def make(count: int = 9, **suite: Any) -> str:
        planned, rows = made(count, **suite)
        found = tables(planned, rows, known(lambda tasks, dim, column: (0.5, 1.5) if dim == 8 else (-1.0, 3.0)))
        return render_html(planned, found, rows, failures=["One · <x>: gone & away"])

    return make


def test_it_is_well_formed_and_needs_nothing_else(rendered: Callable[..., str]) -> None:
    text = rendered(9, precisions=("float32", "int8"), baselines=("random",))
    page = Page(text)
    assert max(page.ids.values()) == 1
    assert page.links and all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import|javascript:", text)
    assert {own["aria-labelledby"] for _, own in page.attributes if "aria-labelledby" in own} <= set(page.ids)


def test_labels_are_escaped(rendered: Callable[..., str]) -> None:
    text = rendered(1)
    assert "<b>ours" not in text and "&lt;b&gt;ours&lt;/b&gt; &amp; co" in text
    assert "One · &lt;x&gt;: gone &amp; away" in text


def test_every_picture_and_heading_can_be_read_aloud(rendered: Callable[..., str]) -> None:
    text = rendered(9)
    page = Page(text)
    pictures = [own for tag, own in page.attributes if tag == "svg" and own.get("role") == "img"]
    # Nine tasks, the two types of two tasks, and the means over tasks and over kinds.
    assert len(pictures) == page.tags["figure"] == page.tags["figcaption"] == 13
    assert all(own["aria-label"] for own in pictures)
    assert all(own.get("scope") in ("row", "col") for tag, own in page.attributes if tag == "th")
    assert 'aria-label="TaskNumber0, accuracy x 100, test split, by dims: ' in text


def test_what_it_says(rendered: Callable[..., str]) -> None:
    text = rendered(9)
    assert "1 scoring failed and is in no table" in text
    assert "a" * 64 in text and "mteb 2" in text and "2026-01-02" in text
    assert "Prefixes brought back to length 1 before scoring" in text
    assert '<span class="number">24 dims</span>' in text
    assert '<th scope="row">24<span class="deg" title="not trained: interpolated">°</span></th>' in text
    assert 'title="65.00 against 64.00; 95% interval of the difference +0.50 to +1.50">+1.00*</td>' in text
    assert 'class="gap unsure"' in text and 'class="hollow"' in text
    assert "search times were not measured" in text


def test_measured_costs_are_shown_with_the_machine() -> None:
    planned, rows = made(2)
    measured = costs(planned.dims, ("float32", "int8"), vectors=100)
    text = render_html(planned, tables(planned, rows), rows, costs=measured)
    assert measured.how in html.unescape(text)
    assert "No interval of a difference is known here" in text


@pytest.mark.parametrize(("count", "pictures"), [(1, 1), (2, 3), (41, 50)])
def test_any_number_of_tasks(count: int, pictures: int, tmp_path: Path) -> None:
    planned, rows = made(count)
    write_html(tmp_path / "report.html", planned, tables(planned, rows), rows)
    assert Page((tmp_path / "report.html").read_text()).tags["figure"] == pictures


def test_one_dim_one_model_and_scores_below_zero() -> None:
    planned, rows = made(2, dims=(), subjects=(OURS,))
    below = [row.model_copy(update={"score": -row.score, "interval": None}) for row in rows]
    text = render_html(planned, tables(planned, below), below)
    Page(text)
    assert "-80.50" in text and "Comparison" not in text


def rows_of(text: str, name: str) -> list[list[str]]:
    """The words in the cells of the table so called, by row."""
    table = text[text.index(f'aria-label="{name}"') :]
    body = re.search(r"<tbody>(.*?)</tbody>", table, re.DOTALL)
    assert body is not None
    rows = re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub(r"<small>.*</small>|<[^>]+>", "", cell)).strip() for cell in row] for row in cells]


def test_gaps_of_means_are_bold_only_where_they_are_real(rendered: Callable[..., str]) -> None:
    text = rendered(9)
    assert "tr.mean > td:not(.gap) { font-weight: 650; }" in text
    assert not re.search(r"tr\.mean > td\s*[{,]", text)
    assert ".gap.real { font-weight: 650; }" in text


def test_a_column_without_scores_beside_the_models_is_said_in_words(known: Callable[..., Any]) -> None:
    planned, rows = made(3)
    apart = [row for row in rows if row.model != THEIRS.name]
    text = render_html(planned, tables(planned, apart, known(lambda *_: None)), apart)
    assert "theirs[/red]|$x$ has no score at a dim at which &lt;b&gt;ours&lt;/b&gt; &amp; co has one." in text
    assert re.findall(r"<details( open)?><summary>Against (\S+?)<", text) == [(" open", "FF")]
    assert rows_of(text, "Differences to each other column by dim") == [["8", "\N{EN DASH}", "+2.00"]]
    # FF is there at 8 dims alone.
    assert [row[1:] for row in rows_of(text, "Differences to FF by task")] == [["+2.00"]] * 4


def test_types_of_one_task_have_no_line_of_their_own(rendered: Callable[..., str]) -> None:
    lines = [row[0] for row in rows_of(rendered(3), "Scores by task and dim")]
    assert lines == ["Mean", "TaskNumber0", "TaskNumber1", "TaskNumber2"]
    lines = [row[0] for row in rows_of(rendered(8), "Smallest dim that keeps 99, 95 and 90%")]
    assert lines[:4] == ["Mean", "Mean over kinds", "STS mean", "TaskNumber0"] and len(lines) == 11
    assert "Means over task types" not in rendered(3)


def test_a_single_task_is_drawn_once(rendered: Callable[..., str]) -> None:
    text = rendered(1)
    page = Page(text)
    assert page.tags["figure"] == 1 and "#curves" not in page.links
    assert "A band is the 95% bootstrap interval" in text


def test_what_stars_and_bytes_are_of(rendered: Callable[..., str]) -> None:
    text = rendered(9, precisions=("float32", "int8"), baselines=("random",))
    assert "of a method that draws: the draws are drawn again with the items" in text
    assert "of a mean: the items of each of its tasks are drawn again" in text
    assert "of clustering: the items are the task" in text
    assert "bytes<br>in float32" in text and 'bytes<br>a vector</th><th scope="col">GB' in text  # of the costs
    plain = rendered(1)
    assert "bytes<br>in float32" not in plain and "of a mean" not in plain and "that draws: the" not in plain


def test_perplexity_has_a_picture_and_a_table() -> None:
    planned, rows = made(1)
    further = [row.model_copy(update={"further": {"perplexity": 20.0 + row.dim}}) for row in rows]
    text = render_html(planned, tables(planned, further), further)
    assert "Further metrics" in text and "<td>44.00</td>" in text


def test_tasks_that_no_column_shares_have_no_mean() -> None:
    planned, rows = made(2, subjects=(OURS, THEIRS))
    apart = [row for row in rows if (row.model == OURS.name) == (row.task == "TaskNumber0")]
    words = render_html(planned, tables(planned, apart), apart)
    Page(words)  # every element that opens closes
    assert "over 0 of 2 tasks" in words
    assert "nan" not in words.lower().split()


def test_places_on_the_axes() -> None:
    planned, rows = made(1, subjects=(OURS,), dims=(8, 16, 32))
    picture = chart(tables(planned, rows)[0])
    (line,) = picture.lines
    pairs = list(zip(line.points, line.points[1:], strict=False))
    steps, heights = [after.x - before.x for before, after in pairs], [before.y - after.y for before, after in pairs]
    # A doubling of the dims is as wide anywhere, and here worth 5 points each time.
    assert steps == pytest.approx([steps[0]] * 3, abs=0.11) and steps[0] > 0
    assert heights == pytest.approx([heights[0]] * 3, abs=0.11) and heights[0] > 0
    assert [tick.words for tick in picture.across] == ["8", "16", "32", "64"]
    assert [point.hollow for point in line.points] == [False, True, False, False]
    low, high = picture.up[0], picture.up[-1]
    assert float(low.words) <= 40 and float(high.words) >= 99
    for tick in picture.up:
        share = (float(tick.words) - float(low.words)) / (float(high.words) - float(low.words))
        assert tick.at == pytest.approx(low.at + share * (high.at - low.at))


def in_browser(folder: Path, page: Path, *options: str) -> str:
    """What Chromium prints of the page; a profile of its own, no network."""
    settings = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    more = "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=4000"
    profile = folder / "profile"
    command = [str(CHROMIUM), *settings.split(), *more.split(), f"--user-data-dir={profile}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=80, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout


MEASURE = """<script>addEventListener("load", () => {
  const inner = document.querySelector("iframe").contentDocument, root = inner.documentElement;
  const wide = [...inner.querySelectorAll(".wide")].filter(one => one.scrollWidth > one.clientWidth).length;
  document.title = [root.clientWidth, root.scrollWidth, inner.body.scrollWidth, wide,
                    inner.querySelectorAll("figure svg polyline").length].join(" ");
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: the report is not opened in a browser")
@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser_the_page_never_scrolls_sideways(tmp_path: Path, width: int, rendered: Callable[..., str]) -> None:
    text = rendered(9, precisions=("float32", "int8", "binary"), baselines=("random", "pca"))
    framed = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(text)}"></iframe>'
    (tmp_path / "frame.html").write_text(f"<!DOCTYPE html><title></title>{MEASURE}{framed}", encoding="utf-8")
    found = re.search(r"<title>([\d ]+)</title>", in_browser(tmp_path, tmp_path / "frame.html", "--dump-dom"))
    assert found is not None
    client, root, body, scrolling, lines = map(int, found[1].split())
    assert client == root == width and body <= width
    assert lines > 12
    if width == 400:
        assert scrolling > 0  # wide tables scroll by themselves


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: the report is not opened in a browser")
def test_in_a_browser_dark_differs_from_light(tmp_path: Path, rendered: Callable[..., str]) -> None:
    from PIL import Image

    (tmp_path / "report.html").write_text(rendered(2), encoding="utf-8")
    corner = {}
    for name, scheme in (("light", 1), ("dark", 0)):
        picture = tmp_path / f"{name}.png"
        options = (f"--blink-settings=preferredColorScheme={scheme}", "--window-size=800,900")
        in_browser(tmp_path, tmp_path / "report.html", *options, f"--screenshot={picture}")
        corner[name] = Image.open(picture).convert("L").getpixel((2, 2))
    assert corner["light"] > 200 and corner["dark"] < 60
