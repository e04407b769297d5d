"""Every module has a test file of its name, or one that is named here."""

import ast
import re
from pathlib import Path

# Tests that name the module, or something that it offers.
NAMED = {
    "build/rotation.py": "recipe/test_rotation.py",
    "bundled.py": "evaluation/tasks/test_places.py",
    "cli/doctor.py": "doctor/test_process.py",
    "data/draw.py": "data/test_fingerprints.py",
    "doctor/examine.py": "doctor/test_process.py",
    "doctor/line.py": "doctor/test_process.py",
    "doctor/machine.py": "doctor/test_process.py",
    "encoder/packaged.py": "encoder/test_resolve.py",
    "encoder/tokens.py": "encoder/test_encode.py",
    "encoding/plan.py": "encoding/test_vectors.py",
    "evaluation/report/chart.py": "evaluation/report/test_html.py",
    "evaluation/report/grids.py": "evaluation/report/test_write.py",
    "evaluation/report/table.py": "evaluation/report/test_means.py",
    "evaluation/resume.py": "evaluation/test_keys.py",
    "evaluation/scoring/score.py": "evaluation/test_keys.py",
    "evaluation/settings.py": "evaluation/test_keys.py",
    "evaluation/tasks/needs.py": "evaluation/report/test_means.py",
    "evaluation/tasks/own_rows.py": "evaluation/tasks/test_own_tasks.py",
    "fingerprint.py": "evaluation/test_fingerprint.py",
    "heads/family.py": "heads/test_masked_lm.py",
    "heads/uncertainty.py": "training/test_nesting.py",
    "nested/fused_backward.py": "nested/test_fused.py",
    "nested/fused_packing.py": "nested/test_fused.py",
    "nested/fused_plan.py": "nested/test_fused.py",
    "nested/fused_support.py": "nested/test_fused.py",
    "nested/kernels.py": "nested/test_fused.py",
    "nested/kernels_backward.py": "nested/test_fused.py",
    "nested/loss.py": "nested/test_distillation.py",
    "objectives/base.py": "objectives/test_objectives.py",
    "objectives/batch.py": "objectives/test_self_distill.py",
    "objectives/cosent.py": "objectives/test_scored.py",
    "objectives/distill.py": "objectives/test_objectives.py",
    "objectives/info_nce.py": "objectives/test_objectives.py",
    "objectives/score_distill.py": "objectives/test_scored.py",
    "publishing/check.py": "publishing/test_write.py",
    "publishing/choice.py": "publishing/test_write.py",
    "publishing/meta.py": "publishing/test_write.py",
    "reading/faults.py": "reading/test_json_rows.py",
    "reading/files.py": "reading/test_table.py",
    "recipe/columns.py": "recipe/test_sources.py",
    "recipe/describe.py": "recipe/test_schema.py",
    "recipe/facts.py": "recipe/test_requirements.py",
    "recipe/nesting.py": "training/test_nesting.py",
    "recipe/prompts.py": "training/test_prompts.py",
    "recipe/sections.py": "recipe/test_schema.py",
    "recipe/twins.py": "recipe/test_rotation.py",
    "recipe/wording.py": "recipe/test_schema.py",
    "search/asked.py": "search/test_tuning.py",
    "search/stages.py": "search/test_index.py",
    "search/structures.py": "search/test_tuning.py",
    "section.py": "recipe/test_schema.py",
    "training/batches.py": "training/test_joint.py",
    "training/inputs.py": "training/test_job.py",
    "training/outlook.py": "training/test_rotated.py",
    "training/setup.py": "training/test_cached.py",
    "training/streams.py": "training/test_job.py",
}
# Tests that reach the module through others, and how.
REACHED = {
    "build/test_check.py": ("`mtext check` asks through them", ["build/facts.py", "build/findings.py"]),
    "build/test_mining.py": ("kept pairs carry the mark", ["encoder/mark.py"]),
    "cli/test_encode.py": ("options and quiet of every verb", ["cli/options.py", "cli/quietly.py"]),
    "cli/test_search.py": ("a search from the command line", ["search/asking.py", "search/source.py"]),
    "data/test_sources.py": ("every kind of row is read there", ["data/kinds.py", "data/negatives.py"]),
    "doctor/test_process.py": ("`mtext doctor` prints all they find", ["doctor/job.py", "doctor/model.py"]),
    "encoder/test_matryoshka.py": ("saving writes the card", ["encoder/card.py"]),
    "encoder/test_opening.py": (
        "each damaged file is opened there",
        ["encoder/agreement.py", "encoder/foreign.py", "encoder/schema.py"],
    ),
    "encoding/test_job.py": (
        "a whole encoding writes and reads them",
        ["encoder/prompts.py", "encoding/manifest.py", "records.py"],
    ),
    "evaluation/report/test_html.py": ("the page shows it", ["evaluation/report/provenance.py"]),
    "evaluation/tasks/test_unloadable.py": (
        "the words of its faults are asked for",
        ["evaluation/tasks/file_faults.py"],
    ),
    "nested/test_cross_entropy.py": (
        "backends are compared, and every bad argument is given",
        ["nested/checks.py", "nested/reference.py", "nested/targets.py"],
    ),
    "publishing/test_write.py": ("the files that are written hold it", ["publishing/text.py"]),
    "reading/test_table.py": ("tables in every format", ["reading/parquet.py"]),
    "recipe/test_rotation.py": ("recipes that only rotate", ["recipe/rotation_only.py"]),
    "recipe/test_schema.py": ("each fault of a recipe is asked for", ["recipe/between.py", "recipe/names.py"]),
    "rotating/test_job.py": (
        "a whole rotation passes through them",
        [
            "rotating/checks.py",
            "rotating/folder.py",
            "rotating/learning.py",
            "rotating/model.py",
            "rotating/prompts.py",
            "rotating/record.py",
        ],
    ),
    "rotating/test_look.py": ("vectors in place of a model", ["rotating/vectors.py"]),
    "build/test_check_model.py": ("models that read texts in ways of their own", ["recipe/readings.py"]),
    "search/test_index.py": (
        "an index is built, opened, grown and searched",
        [
            "search/corpus.py",
            "search/hits.py",
            "search/incoming.py",
            "search/record.py",
            "search/stage.py",
            "search/turn.py",
        ],
    ),
    "search/test_postgres.py": (
        "an index is loaded into a real server and searched there",
        ["search/connection.py", "search/copying.py", "search/sql.py"],
    ),
    "evaluation/searching/test_searches.py": (
        "searches of a task in every way, their rows and the report's section",
        [
            "evaluation/report/pareto.py",
            "evaluation/report/search.py",
            "evaluation/searching/bench.py",
            "evaluation/searching/contenders.py",
            "evaluation/searching/judged.py",
            "evaluation/searching/rows.py",
            "search/lists.py",
        ],
    ),
    "test_public.py": ("the command line, as a process", ["__main__.py", "versions.py"]),
    "training/test_job.py": ("whole runs", ["training/run.py"]),
    "training/test_joint.py": ("trained together with all other objectives", ["objectives/mlm.py"]),
    "training/test_prompts.py": ("prompts of every kind of model", ["prompts.py"]),
}


def test_every_module_has_its_test_and_no_entry_is_stale(repo: Path) -> None:
    source, tests = repo / "src" / "matryoshka_text", repo / "tests"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py") if path.name != "__init__.py"}
    reached = [module for _, some in REACHED.values() for module in some]
    own = {module for module in modules if (tests / module).with_name(f"test_{Path(module).name}").is_file()}
    assert len(reached) == len(set(reached))
    assert modules - own == {*NAMED, *reached}
    assert [test for test in {*NAMED.values(), *REACHED} if not (tests / test).is_file()] == []


def test_what_is_said_to_name_a_module_does(repo: Path) -> None:
    for module, test in NAMED.items():
        tree = ast.parse((repo / "src" / "matryoshka_text" / module).read_text(encoding="utf-8"))
        lists = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
        words = set(re.findall(r"[\w.]+", (repo / "tests" / test).read_text(encoding="utf-8")))
        dotted = f"matryoshka_text.{module.removesuffix('.py').replace('/', '.')}"
        names = {dotted, *(name for one in lists for name in ast.literal_eval(one))}
        assert names & {part for word in words for part in (word, *word.split("."))}, (module, test)
