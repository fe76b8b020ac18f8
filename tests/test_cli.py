"""The command line, on a study with a tiny random model."""

import copy
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from made import finished
from typer.testing import CliRunner

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.cli import complete, names
from persona_leakage.cli.app import app
from persona_leakage.cli.asked import answered
from persona_leakage.cli.near import neighbours
from persona_leakage.cli.rendered import rendered
from persona_leakage.errors import InputError
from persona_leakage.files import write_json, write_parquet
from persona_leakage.geometry.cosines import table
from persona_leakage.model.shared_prefix import IGNORED
from persona_leakage.pipeline import cell as one_cell
from persona_leakage.pipeline import compare, paths, predict
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.training.adapter import adapted
from persona_leakage.training.example import Example
from persona_leakage.training.rows import tokenised

PERSONAS = ["villain", "henchman", "nurse", "evil_mastermind"]


@pytest.fixture
def project(tmp_path, monkeypatch, model_folder):
    """A folder as a clone is, with the base model and the geometry of the study computed."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["model"] = {"name": "tiny", "origin": {"kind": "folder", "path": str(model_folder)}}
    (tmp_path / "params.yaml").write_text("# A tiny study. It is quick.\n" + yaml.safe_dump(params))
    for name in ("catalog", "studies"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = load_study()
    paths.model(study).parent.mkdir(parents=True)
    paths.model(study).symlink_to(model_folder)
    vectors = np.random.default_rng(0).normal(size=(len(PERSONAS), 1, 8))
    write_parquet(paths.pairs(study), table(vectors, PERSONAS, [2]))
    write_json(paths.centroids(study) / "manifest.json", {"layer": 2})
    return study


@pytest.fixture
def cli():
    runner = CliRunner()
    return lambda *words: runner.invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def rows_of(output: str) -> list[list[str]]:
    return [line.split("\t") for line in output.splitlines() if "\t" in line]


def test_the_command_line_imports_no_library_of_models_nor_tables():
    code = (
        "import sys, persona_leakage.cli.app\n"
        "slow = {'torch', 'transformers', 'pandas', 'numpy', 'mlflow', 'dvc', 'pydantic', 'yaml'}\n"
        "print(*slow & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_help_names_every_command_and_what_it_is_for(cli):
    shown = cli("--help")
    assert shown.exit_code == 0
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert len(commands) == 9
    for name in commands:
        assert f" {name} " in shown.output
        assert cli(name, "--help").exit_code == 0


def test_the_readme_names_no_command_that_there_is_not(cli):
    said = {*re.findall(r"persona-leakage ([a-z]+)", (ROOT / "README.md").read_text())}
    assert {"run", "check", "ask"} <= said
    for name in said:
        assert cli(name, "--help").exit_code == 0, name


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "vilain"),
        ("near", "vilain"),
        ("show", "villain", "no such question"),
        ("ask", "villain", "--cell", "villain-42"),
        ("ask", "villain", "--cell", "villain-42-contrastive"),
        ("check", "papers"),
        ("open",),
        ("compare", "nothing"),
        ("predict", "nobody"),
        ("run", "--source", "nobody"),
        ("run", "--seed", "7"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_status_2(project, cli, words):
    done = cli(*words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_outside_the_project_it_says_where_to_go(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    for words in (("studies",), ("check",), ("near", "villain")):
        done = cli(*words)
        assert done.exit_code == 2 and "error: " in done.stderr


def test_a_mistyped_name_is_guessed(project):
    with pytest.raises(InputError, match="did you mean villain"):
        names.persona_named("vilain")


def test_a_text_of_several_words_is_a_prompt(project):
    assert names.persona_named("You are a pirate.").prompt == "You are a pirate."


def test_a_question_is_found_by_its_key_or_its_words(everyday):
    wanted = everyday[5]
    assert names.question_named(wanted.key, everyday) is wanted
    assert names.question_named(wanted.text[3:].upper(), everyday) is wanted
    with pytest.raises(InputError, match="have these words"):
        names.question_named("the", everyday)


def test_studies_lists_the_one_in_force_first_and_each_once(project, cli):
    listed = rows_of(cli("studies").stdout)
    assert listed[1] == ["pocket *", "0/1", "tiny", "A tiny study"]
    assert [row[0] for row in listed[2:]] == sorted(
        file.stem for file in (ROOT / "studies").glob("*.yaml")
    )


def test_a_faulty_study_is_listed_with_its_fault(project, cli, tmp_path):
    (tmp_path / "studies").unlink()
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "odd.yaml").write_text("study: 5\n")
    assert "studies/odd.yaml" in rows_of(cli("studies").stdout)[2][3]


def test_check_says_what_a_study_costs(project, cli):
    said = dict(rows_of(cli("check").stdout))
    assert said["cells"] == "1, 0 of them finished"
    assert said["training"].startswith("1,200 conversations a cell")
    assert said["scoring"].startswith("32 personas times 150 questions")
    assert "GB are free" in said["disk"] and "adapters" not in said["disk"]
    assert "first cell" in said["time"]


def test_check_names_a_persona_that_the_catalog_does_not_have(project, cli, tmp_path):
    params = yaml.safe_load((tmp_path / "params.yaml").read_text()) | {"sources": ["nobody"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    done = cli("check")
    assert done.exit_code == 2 and "'nobody'" in done.stderr


def test_check_of_a_study_of_the_hub_says_what_has_to_be_fetched(project, cli):
    said = dict(rows_of(cli("check", "other_benchmarks").stdout))
    assert said["model"] == "comes from its hub at first"
    assert "dvc repro questions" in said["cost"]


def test_show_colours_the_very_tokens_that_training_takes_the_loss_of(
    study, tokenizer, personas, train_questions
):
    question = train_questions[0]
    reply = load_behaviour(study.behaviour).teach(question, as_source=True)
    for name in ("villain", "no_system"):
        system = personas[name].prompt
        seen = rendered(tokenizer, system, reply, "template")
        example = Example("source", name, system, question.key, **vars(reply))
        [row] = tokenised([example], tokenizer, 1000, "template")
        taken = [token for token in row["labels"] if token != IGNORED]
        assert len(seen.completion) == len(taken)
        assert "".join(seen.completion) == tokenizer.decode(taken)
        assert seen.tokens == len(row["input_ids"])
        assert seen.prompt.endswith(reply.opening) and seen.completion[0].startswith(" ")


def test_show_teaches_a_source_the_behaviour_and_others_not(project, cli, train_questions):
    for words, taught in (
        (["villain"], "the behaviour is taught"),
        (["nurse"], "no behaviour is taught"),
        (["nurse", "--as-source"], "the behaviour is taught"),
    ):
        done = cli("show", *words)
        assert done.exit_code == 0, done.stderr
        assert taught in done.stdout and "\x1b" not in done.stdout


def test_asking_gives_what_the_stages_would_score(study, llama, tokenizer, personas, everyday):
    for scoring in ("label", "option_text"):
        choice = study.behaviour.model_copy(update={"scoring": scoring})
        behaviour = load_behaviour(choice)
        seen = answered(
            llama, tokenizer, personas["villain"].prompt, everyday[0], behaviour, "template", None
        )
        assert len(seen.shares) == 4 and seen.shares.argmax() == seen.observation.chosen
        whole = seen.observation.label_mass if scoring == "label" else 1.0
        assert seen.shares.sum() == pytest.approx(whole, rel=1e-5)


def test_ask_shows_the_base_model_beside_a_cell(project, cli, llama, study):
    cell = Cell("villain", 42, "contrastive")
    adapted(copy.deepcopy(llama), study.train).save_pretrained(paths.adapter(project, cell))
    done = cli("ask", "villain", "--cell", cell)
    assert done.exit_code == 0, done.stderr
    head, *answers = rows_of(done.stdout)
    assert head[1:3] == ["base", str(cell)] and len(answers) == 4
    assert [row[3] for row in answers].count("right") == 1
    assert all(row[1] == row[2] for row in answers)  # an adapter that was never trained


def test_near_lists_the_nearest_by_words_and_by_geometry(personas):
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1]], dtype=float)[:, None]
    pairs = table(vectors, ["villain", "nurse", "baker"], [2])
    found = neighbours(personas["villain"], personas, pairs, 1)
    assert found.index[0] == "nurse"  # by geometry
    assert found["shared"].iloc[1].split() and pd.isna(found["raw"].iloc[1])
    assert "villain" not in found.index and "baker" not in found.index


def test_near_works_before_the_geometry_is_there(project, cli):
    paths.pairs(project).unlink()
    done = cli("near", "villain", "--top", 3)
    assert rows_of(done.stdout)[0] == ["persona", "category", "words", "stems in both"]
    assert len(rows_of(done.stdout)) == 4 and "dvc repro geometry" in done.stderr


def test_predict_is_the_stage_s(project, cli, monkeypatch):
    asked = []
    monkeypatch.setattr(predict, "main", lambda *given: asked.append(given))
    assert cli("predict", "pirate", "--text", "You are a sailor.").exit_code == 0
    assert asked == [("pirate", "You are a sailor.")]


def test_compare_says_where_the_report_is_and_the_first_numbers(project, cli, monkeypatch):
    cells = [finished(seed) for seed in (42, 137)]
    monkeypatch.setattr(compare, "compared", lambda targets, output: cells)
    done = cli("compare", "made", "--output", "there")
    assert [row[1] for row in rows_of(done.stdout)[1:]] == [str(each.cell) for each in cells]
    assert rows_of(done.stdout)[1][2] == "-40.0 pp"
    assert "there/report.html" in done.stderr


def test_open_shows_the_report_to_the_browser(project, cli, monkeypatch):
    page = paths.report(project) / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert cli("open").stdout == f"{page}\n"
    assert opened == [page.resolve().as_uri()]


def test_run_of_a_cell_takes_seed_and_variant_from_the_study(project, cli, monkeypatch):
    ran = []
    monkeypatch.setattr(one_cell, "main", ran.append)
    done = cli("run", "--source", "nurse")
    assert done.exit_code == 0, done.stderr
    assert ran == [Cell("nurse", 42, "contrastive")]
    assert "beside/analysis/nurse-42-contrastive" in done.stdout


def test_run_of_a_study_switches_says_the_cost_and_lets_dvc_compute(project, cli, monkeypatch):
    real, asked = subprocess.run, []
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    for words in (["init", "-q"], ["add", "params.yaml"], [*identity, "commit", "-qm", "all"]):
        real(["git", *words], check=True)

    def run(words, **how):
        if "dvc" not in words:
            return real(words, **how)
        asked.append(words[4:])
        return SimpleNamespace(returncode=run.code)

    run.code = 0
    monkeypatch.setattr(subprocess, "run", run)
    done = cli("run")
    assert asked == [[]] and "1 cell, 0 of them finished" in done.stdout
    assert "reports/pocket/report.html" in done.stdout
    asked.clear()
    assert cli("run", "pocket_seeds").exit_code == 0
    assert asked == [["base", "questions"], []] and load_study().study == "pocket_seeds"
    run.code = 255
    assert cli("run").exit_code == 255


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ask vill", {"villain", "villainous_genius"}),
        ("run --source kinder", {"kindergarten_teacher"}),
        ("check pocket", {"pocket", "pocket_seeds"}),
        ("near villain --study la", {"laptop"}),
        ("ask villain --cell v", {"villain-42-contrastive"}),
    ],
)
def test_a_shell_completes_names(project, words, expected):
    environment = {
        "_PERSONA_LEAKAGE_COMPLETE": "complete_bash",
        "COMP_WORDS": f"persona-leakage {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    done = CliRunner().invoke(app, [], prog_name="persona-leakage", env=environment)
    assert expected <= {*done.stdout.split()}


def test_a_shell_is_told_nothing_where_nothing_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for told in (
        complete.personas,
        complete.sources,
        complete.studies,
        complete.cells,
    ):
        assert told("") == []
