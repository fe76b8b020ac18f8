"""Try the mutants made by hand, count mutmut's, write ``docs/mutants.md``; see ``make mutants``.

A mutant made by hand is what mutmut cannot make (constants, a step left out) or what must never
survive: one line is replaced in a copy of the source, and the test named beside it has to fail.
"""

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import peft  # noqa: F401
import pytest
import statsmodels.stats.multitest  # noqa: F401
import trl  # noqa: F401
from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parent.parent
PACKAGE = Path("src/persona_leakage")
ANSWERS = (
    "test_wrong_answers.py::"
    "test_the_answer_is_the_most_probable_label_and_the_mass_that_of_all_labels"
)
BOUNDS = "test_report.py::test_a_cell_supports_the_gradient_within_the_bounds_alone"
HELD = "test_report.py::test_centring_and_covariates_must_leave_the_gradient"
SEEDS = "test_report.py::test_confidence_grows_with_seeds"
RIVALS = "test_verdict.py::test_each_kind_of_words_is_a_rival_on_the_seeds_where_it_can_be_computed"
NEAR = "test_questions.py::test_near_duplicates_share_four_fifths_of_their_words_in_any_script"
AUTO = "test_model.py::test_auto_is_bfloat16_where_it_is_multiplied_faster"
ORDER = "whatever_their_order"


@dataclass(frozen=True)
class ByHand:
    """A mutant: ``old`` of a module replaced by ``new``, and the test that must then fail."""

    change: str
    module: str
    old: str
    new: str
    test: str


BY_HAND = (
    ByHand(
        "the least probable choice taken for the answer",
        "behaviours/wrong_answers.py",
        "int(scores.argmax())",
        "int(scores.argmin())",
        ANSWERS,
    ),
    ByHand(
        "p-values not corrected by Holm's method",
        "analysis/persona_table.py",
        'multipletests(table["p"], method="holm")[1]',
        'table["p"]',
        "test_statistics.py::test_the_corrections_over_personas_are_holms_and_benjamini_hochbergs",
    ),
    ByHand(
        "the sign of the partial correlation turned",
        "analysis/correlation.py",
        "r = _pearson(left[..., 0], left[..., 1])",
        "r = -_pearson(left[..., 0], left[..., 1])",
        "test_statistics.py::"
        "test_a_partial_correlation_is_the_one_of_the_inverse_correlation_matrix",
    ),
    ByHand(
        "the same prompt length for all",
        "analysis/persona_table.py",
        'len(personas[name].prompt or "")',
        "40",
        "test_statistics.py::test_the_partial_correlation_is_given_baseline_and_prompt_length",
    ),
    ByHand(
        "the assistant drawn as a negative",
        "training/contrast.py",
        '(cell.source, "assistant")',
        "(cell.source,)",
        "test_contrast.py::test_the_assistant_is_never_drawn_as_a_negative",
    ),
    ByHand(
        "the source drawn as its own negative",
        "training/contrast.py",
        '(cell.source, "assistant")',
        '("assistant",)',
        "test_contrast.py::test_the_assistant_is_never_drawn_as_a_negative",
    ),
    ByHand(
        "examples left in the order of their parts",
        "training/contrast.py",
        'return shuffled(examples, "examples", cell.seed)',
        "return examples",
        "test_contrast.py::test_examples_are_shuffled",
    ),
    *(
        ByHand(
            f"{bound} {value}", "report/verdict.py", f"{bound} = {now}\n", f"{bound} = {value}\n", t
        )
        for bound, now, others, t in (
            ("GRADIENT_P", "0.01", (0.0099, 0.011), BOUNDS),
            ("LEAST_RHO", "0.5", (0.49, 0.51), BOUNDS),
            ("HELD_P", "0.05", (0.049, 0.051), HELD),
            ("ENOUGH_SEEDS", "3", (2, 4), SEEDS),
        )
        for value in others
    ),
    *(
        ByHand(
            f"LEAST_MOVE {value}",
            "report/verdict.py",
            "LEAST_MOVE = 0.1 ",
            f"LEAST_MOVE = {value} ",
            BOUNDS,
        )
        for value in (0.099, 0.101)
    ),
    *(
        ByHand(
            f"{name} no rival",
            "report/verdict.py",
            '("words", "tfidf")',
            f'("{other}",)',
            f"{RIVALS}[{name}]",
        )
        for name, other in (("words", "tfidf"), ("tfidf", "words"))
    ),
    ByHand(
        "words beaten on half the seeds",
        "report/verdict.py",
        "self.worse > self.seeds / 2",
        "self.worse >= self.seeds / 2",
        "test_report.py::test_words_must_predict_worse_on_most_seeds",
    ),
    ByHand(
        "half the cells of a source decide",
        "report/verdict.py",
        "share > 0.5 for",
        "share >= 0.5 for",
        "test_report.py::test_most_cells_of_a_source_decide_and_disagreement_lowers_the_confidence",
    ),
    *(
        ByHand(
            f"near duplicates from {value}",
            "data/split.py",
            "NEAR_DUPLICATE = 0.8 ",
            f"NEAR_DUPLICATE = {value} ",
            NEAR,
        )
        for value in (0.789, 0.801)
    ),
    ByHand(
        "every pair a near duplicate",
        "data/split.py",
        "if shared >= NEAR_DUPLICATE:",
        "if True:",
        NEAR,
    ),
    ByHand(
        "no pair a near duplicate",
        "data/split.py",
        "if smaller < NEAR_DUPLICATE * larger:",
        "if True:",
        NEAR,
    ),
    ByHand(
        "answers before and after paired by their place in the file",
        "analysis/paired.py",
        'answers.pivot(index="persona", columns="question", values="outcome")',
        'answers.assign(place=answers.groupby("persona").cumcount()).pivot(\n'
        '        index="persona", columns="place", values="outcome"\n    )',
        f"test_statistics.py::test_answers_are_matched_by_persona_and_question_{ORDER}",
    ),
    ByHand(
        "choices before and after paired by their place in the file",
        "behaviours/wrong_answers.py",
        "before.set_index(keys).loc[pd.MultiIndex.from_frame(new[keys])].reset_index()",
        'before[before["persona"].isin(names)].reset_index(drop=True)',
        f"test_wrong_answers.py::test_before_and_after_are_matched_by_persona_and_question_{ORDER}",
    ),
    ByHand(
        "precision `auto` inverted",
        "model/loading.py",
        "return torch.bfloat16 if fast else torch.float32",
        "return torch.float32 if fast else torch.bfloat16",
        AUTO,
    ),
    ByHand(
        "accelerators left out of `auto`",
        "model/loading.py",
        'device().type != "cpu" or ',
        "",
        AUTO,
    ),
    ByHand(
        "processors with AVX512-FP16 taken for fast in bfloat16 without AMX",
        "model/loading.py",
        'not can.get("avx512_fp16", False)',
        "True",
        AUTO,
    ),
    ByHand(
        "AMX not counted",
        "model/loading.py",
        'can.get("amx_bf16", False) or vectors',
        "vectors",
        AUTO,
    ),
    ByHand(
        "labels accepted whose tokens begin another's",
        "model/tokens.py",
        "if question.ending and theirs[: len(ids)] == ids:",
        "if False:",
        "test_scoring.py::test_labels_whose_tokens_begin_another_label_are_refused_by_name",
    ),
    ByHand(
        "continuations accepted that are the same tokens",
        "model/tokens.py",
        "if theirs == ids:",
        "if False:",
        "test_tokens.py::test_continuations_that_cannot_be_told_apart_are_refused_by_name",
    ),
)


def run(source: Path, *tests: str) -> int:
    """Run tests of the clone on another copy of its source; return pytest's exit status."""
    child = os.fork()  # the libraries are imported once, the source anew
    if child == 0:
        sys.path.insert(0, str(source))
        os.chdir(ROOT)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        options = ("-q", "-x", "-p", "no:cacheprovider")
        os._exit(pytest.main([*options, *(f"tests/{test}" for test in tests)]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def survivors() -> list[ByHand]:
    """Try each mutant made by hand, in a copy of the source; return those that no test noticed."""
    alive = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(ROOT / "src", source)
        if run(source, *dict.fromkeys(mutant.test for mutant in BY_HAND)):
            sys.exit("the tests fail without any mutant: mend them first")
        for mutant in BY_HAND:
            path = source / "persona_leakage" / mutant.module
            text = path.read_text()
            if text.count(mutant.old) != 1:
                sys.exit(f"{mutant.module} holds {mutant.old!r} not once: mend tests/mutants.py")
            path.write_text(text.replace(mutant.old, mutant.new))
            status = run(source, mutant.test)
            path.write_text(text)
            print("dead    " if status == 1 else "SURVIVES", mutant.change, flush=True)
            if status != 1:
                alive.append(mutant)
    return alive


def table(rows: list[list[str]]) -> str:
    """A Markdown table of a head and rows."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def counted(page: Path) -> list[list[str]]:
    """Rows of mutmut's results, a module each; one not tried in full keeps its row of the page."""
    text = page.read_text() if page.exists() else ""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines()]
    known = {line[0]: line for line in lines}
    rows = [["module", "mutants", "killed", "survived", "no test", "score", "tried on"]]
    for meta in sorted((ROOT / "mutants" / PACKAGE).rglob("*.meta")):
        module = f"`{meta.relative_to(ROOT / 'mutants' / PACKAGE).with_suffix('')}`"
        codes = json.loads(meta.read_text())["exit_code_by_key"].values()
        count = Counter(status_by_exit_code[code] for code in codes)
        killed = count["killed"] + count["timeout"]
        numbers = [len(codes), killed, count["survived"], count["no tests"]]
        tried = date.fromtimestamp(meta.stat().st_mtime).isoformat()
        row = [*map(str, numbers), f"{100 * killed / max(1, len(codes)):.0f} %", tried]
        nothing = [str(len(codes)), "", "", "", "", "not yet"]
        rows.append(
            known.get(module, [module, *nothing]) if count["not checked"] else [module, *row]
        )
    return rows


def main() -> None:
    """Write the page; exit with 1 when a mutant made by hand survives."""
    path = ROOT / "docs" / "mutants.md"
    alive = survivors()
    by_hand = [["what was changed", "in", "test that fails"]] + [
        [
            mutant.change,
            f"`{mutant.module}`",
            "**none**" if mutant in alive else f"`{mutant.test}`",
        ]
        for mutant in BY_HAND
    ]
    page = f"""# Tests that can fail

A mutant is the source with one small fault. A test suite that is worth something fails on it.
This page is written by `make mutants` (`tests/mutants.py`);
`make mutants MODULES='persona_leakage.data.split.*'` tries one module anew and keeps the others.

## Mutants of mutmut

Of the modules that decide numbers, against their fast tests (`[tool.mutmut]` of `pyproject.toml`),
without the ARC benchmark. Tests that take seconds, such as the coverage of intervals, are left out:
some survivors die of them. The score is the share that a test noticed.

{table(counted(path))}

Not all survivors are faults of the tests. These behave as the source does: `strict=True` of a `zip`
whose sides are equally long, `direction <= 0` for `< 0` of a direction that is -1 or 1, a `dtype`
that the values have anyway, a bound that no value meets in floating point.
`mutmut results` lists survivors, `mutmut show NAME` shows one.

## Mutants made by hand

{table(by_hand)}
"""
    path.write_text(page)
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main()
