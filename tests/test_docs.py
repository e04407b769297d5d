"""The README and docs/: every Python example runs, every `mtext` line is one that the command line takes."""

import gzip
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import matryoshka_text
from matryoshka_text.cli import app
from matryoshka_text.recipe import Recipe, load_recipe
from matryoshka_text.suite import load_suite

REPO = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(page.relative_to(REPO).as_posix() for page in (REPO / "docs").rglob("*.md"))]
OTHERS = ["CONTRIBUTING.md", "ARCHITECTURE.md", "recipes/README.md", "recipes/data/README.md", "benchmarks/README.md"]
# Before a Python block that needs a network or an account.
NOT_RUN = "<!-- not run"
BASE = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the words after its fence and whether the page says that it is not run."""

    language: str
    title: str
    text: str
    run: bool


def blocks(page: str) -> Iterator[Block]:
    text = (REPO / page).read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        indent, language, words, inside = found.groups()
        before = text[: found.start()].rstrip().rpartition("\n")[2]
        title = re.search(r'title="([^"]+)"', words)
        inside = "\n".join(line.removeprefix(indent) for line in inside.split("\n"))
        yield Block(language, title[1] if title else "", inside, not before.startswith(NOT_RUN))


def command_lines(page: str) -> Iterator[str]:
    """The `mtext` lines of all fenced and indented blocks, continued lines joined, launchers left out."""
    text = (REPO / page).read_text(encoding="utf-8")
    listed = [block.text for block in blocks(page) if block.language in ("", "bash", "console")]
    listed += re.findall(r"^    (?:mtext|accelerate) .*$", text, re.MULTILINE)
    for line in "\n".join(listed).replace("\\\n", " ").split("\n"):
        found = re.match(r"(?:.*\| )?\s*(?:accelerate launch .*-m matryoshka_text|mtext)\s+(.*)", line)
        if found:
            yield found[1]


def spans(page: str) -> Iterator[str]:
    """Commands within a sentence, `mtext VERB --option …`, which may leave out what the verb needs."""
    yield from re.findall(r"`mtext ([a-z][^`]*)`", (REPO / page).read_text(encoding="utf-8"))


def parse(words: list[str], *, whole: bool) -> None:
    """Nothing, where the real command line takes these words; `whole` False: where it knows the verb and options."""
    command: click.Command = typer.main.get_command(app)
    context = click.Context(command, info_name="mtext")
    while hasattr(command, "resolve_command"):
        assert words, "a verb is missing"
        name, found, words = command.resolve_command(context, words)
        assert found is not None and name is not None
        command = found
        if not words and not whole:
            return
        context = click.Context(command, parent=context, info_name=name)
    if whole:
        command.make_context(context.info_name, list(words), parent=context.parent)
        return
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_every_command_is_one_of_ours(page: str) -> None:
    for line in command_lines(page):
        try:
            parse(shlex.split(line, comments=True), whole=True)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{page}: mtext {line}: {error!r}")
    for line in spans(page):
        try:
            parse(shlex.split(line), whole=False)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{page}: `mtext {line}`: {error!r}")


@pytest.mark.parametrize("words", ["fly", "train", "eval m --dimensions 3", "encode m in.txt --out v --dim three"])
def test_a_wrong_command_is_found(words: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - click's own, of several classes
        parse(words.split(), whole=True)


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A random BERT of the checkpoint's width, 384, and four thin layers."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("wide")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(folder / "bert")
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **shape)).save_pretrained(
        folder / "bert"
    )
    transformer = Transformer(str(folder / "bert"), max_seq_length=16)
    modules = [transformer, Pooling(384, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture
def desk(tmp_path: Path, wide_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that the pages speak of, small: a clone's recipes, the checkpoint, a finished run."""
    for place in (BASE, "runs/quickstart/model"):
        shutil.copytree(wide_model, tmp_path / place)
    sources = tmp_path / "recipes" / "data" / "sources"
    sources.mkdir(parents=True)
    with gzip.open(REPO / "recipes/data/sources/medquad.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [next(file) for _ in range(440)]
    with gzip.open(sources / "medquad.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(rows)
    np.save(tmp_path / "embeddings.npy", np.random.default_rng(0).standard_normal((200, 256)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_python(page: str) -> None:
    """The page's Python blocks, one after another in one namespace; titled blocks become files."""
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(page):
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            code = compile(block.text, page, "exec")
            if block.run:
                exec(code, names)  # the page is ours


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if page != "docs/tutorial.md"
        and any(one.language == "python" and one.run and not one.title for one in blocks(page))
    ],
)
def test_the_python_examples_run(page: str, desk: Path) -> None:
    run_python(page)


@pytest.mark.slow
def test_the_tutorial_runs_from_the_csv_to_the_small_model(desk: Path) -> None:
    """Its blocks in order, commands too, with fewer steps."""
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks("docs/tutorial.md"):
        if block.title:
            text = re.sub(r"steps: \d+", "steps: 4", block.text).replace("max_length: 128", "max_length: 16")
            Path(block.title).write_text(text, encoding="utf-8")
        elif block.language == "python" and block.run:
            exec(compile(block.text, "docs/tutorial.md", "exec"), names)
        elif block.language == "bash":
            for line in block.text.replace("\\\n", " ").split("\n"):
                words = shlex.split(line, comments=True)
                if words[:1] == ["mtext"]:
                    done = CliRunner().invoke(app, words[1:])
                    assert done.exit_code == 0, f"{line}\n{done.output}"
    page = (REPO / "docs/tutorial.md").read_text(encoding="utf-8")
    listed = page[page.index("| file | what is in it |") : page.index("If the machine goes down")]
    for name in re.findall(r"`([\w./]+)`", "\n".join(row.split("|")[1] for row in listed.splitlines() if "|" in row)):
        assert (desk / "runs/faq" / name).exists(), name
    for name in ("eval/report.html", "model/README.md", "model-96/config.json", "vectors/encoding.json"):
        assert (desk / "runs/faq" / name).exists(), name


def test_titled_recipes_and_suites_are_valid(tmp_path: Path) -> None:
    read = {"recipe": 0, "suite": 0}
    for page in PAGES:
        for block in blocks(page):
            if block.language != "yaml" or "kind: margin" in block.text:
                continue
            kind = "suite" if "\ntasks:" in block.text else "recipe" if "\nbase:" in block.text else None
            if kind is not None:
                path = tmp_path / "example.yaml"
                path.write_text(block.text, encoding="utf-8")
                _ = load_recipe(path) if kind == "recipe" else load_suite(path)
                read[kind] += 1
    assert read["recipe"] >= 2 and read["suite"] >= 1


def test_the_objective_of_the_guide_is_right() -> None:
    """Its file defines a loss that equals a loop over rows, and the shares of two processes add up to it."""
    import torch
    from torch.nn.functional import normalize

    batch = pytest.importorskip("matryoshka_text.objectives.batch")
    pytest.importorskip("matryoshka_text.objectives.base", reason="an objective is not one file yet")
    code = next(block for block in blocks("docs/guides/objective.md") if block.title.endswith("margin.py"))
    names: dict[str, Any] = {"__name__": "margin"}
    exec(compile(code.text, code.title, "exec"), names)
    vectors = torch.randn(3, 8, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors.requires_grad_()
    margin, nesting = names["Margin"](kind="margin"), batch.Nesting((4, 16))
    whole = margin.loss(batch.GlobalBatch(vectors, None, 0, 8), nesting)
    parts = [margin.loss(batch.GlobalBatch(vectors, None, *own, processes=2), nesting) for own in ((0, 3), (3, 8))]
    for place, dim in enumerate(nesting.dims):
        unit, expected = normalize(vectors.detach()[:, :, :dim], dim=-1), 0.0
        for row in range(8):
            others = [unit[0, row] @ unit[c, r] for c in (1, 2) for r in range(8) if (c, r) != (1, row)]
            expected += max(0.0, 0.2 + float(max(others)) - float(unit[0, row] @ unit[1, row])) / 8
        assert float(whole.per_dim[place]) == pytest.approx(expected)
    assert float(parts[0].total + parts[1].total) == pytest.approx(float(whole.total))
    whole.total.backward()
    assert vectors.grad is not None and vectors.grad.isfinite().all()


def test_the_annotated_recipe_names_every_key_of_the_recipe() -> None:
    page = (REPO / "docs/reference/recipes.md").read_text(encoding="utf-8")
    annotated = next(block.text for block in blocks("docs/reference/recipes.md") if block.language == "yaml")
    assert page.index(annotated) < page.index("<!-- include: recipe keys -->")
    assert [key for key in Recipe.model_fields if not re.search(rf"^{key}:", annotated, re.MULTILINE)] == []


def test_the_api_page_has_every_public_name() -> None:
    from matryoshka_text import encoding, nested

    page = (REPO / "docs/reference/api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: (\S+)$", page, re.MULTILINE))
    for module in (matryoshka_text, nested, encoding):
        assert {f"{module.__name__}.{name}" for name in module.__all__} <= shown


def test_every_room_is_in_the_architecture() -> None:
    page = (REPO / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = [folder.parent.name for folder in (REPO / "src/matryoshka_text").glob("*/__init__.py")]
    assert len(rooms) > 10
    assert [room for room in rooms if f"`{room}`" not in page] == []


def test_the_conclusions_are_five_lines_of_measured_numbers() -> None:
    conclusions = (REPO / "eval/conclusions.md").read_text(encoding="utf-8")
    results = (REPO / "eval/README.md").read_text(encoding="utf-8")
    tables = results.partition(conclusions)[2]
    assert len(re.findall(r"^\d\. ", conclusions, re.MULTILINE)) == 5
    numbers = re.findall(r"[+-]?\d+\.\d\d", conclusions)
    assert len(numbers) >= 5
    assert [number for number in numbers if f"| {number} |" not in tables] == []


def test_the_readme_is_short() -> None:
    assert len((REPO / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_links_lead_to_files(page: str) -> None:
    text = re.sub(r"```.*?```", "", (REPO / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert ((REPO / page).parent / target).exists(), f"{page}: {target}"
