"""The JSON schema of a study says what ``load_study`` says, and is the one in the repository."""

import json

import jsonschema
import pytest
import yaml
from conftest import ROOT

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.errors import InputError
from persona_leakage.pipeline.schema import SCHEMA, schema
from persona_leakage.study.parameters import Study, load_study

STUDIES = [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]


@pytest.fixture(scope="module")
def made():
    return schema()


def described(part):
    """Every property of the schema, with what is said of it."""
    if isinstance(part, dict):
        for name, each in part.get("properties", {}).items():
            yield name, each
        for each in part.values():
            yield from described(each)
    elif isinstance(part, list):
        for each in part:
            yield from described(each)


def test_the_file_in_the_repository_is_what_the_command_writes(made):
    text = (ROOT / SCHEMA).read_text()
    assert json.loads(text) == made, "run python -m persona_leakage.pipeline.schema"


def test_the_schema_is_one(made):
    jsonschema.Draft202012Validator.check_schema(made)
    # bounds by names that a validator would pass over
    assert not {"gt", "ge", "lt", "le"} & {key for _, each in described(made) for key in each}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_names_the_schema_and_fits_it(path, made):
    first, *_ = path.read_text().splitlines()
    name = first.removeprefix("# yaml-language-server: $schema=")
    # beside each of them, so that the line holds in params.yaml and in studies/ alike
    assert (path.parent / name).resolve() == ROOT / SCHEMA
    jsonschema.validate(yaml.safe_load(path.read_text()), made)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["train"].update(learning_rat=1e-3),
        lambda c: c["train"].update(epochs=0),
        lambda c: c["train"].update(epochs=1.5),
        lambda c: c["train"].update(learning_rate=2),
        lambda c: c["train"]["lora"].pop("r"),
        lambda c: c["train"].update(adapters={"x": {"path": "a", "sha256": "0"}}),
        lambda c: c["questions"].update(train_fraction=1),
        lambda c: c["model"]["origin"].update(kind="elsewhere"),
        lambda c: c["model"]["origin"].update(sha="x"),
        lambda c: c["behaviour"].update(name="wrong_answer"),
        lambda c: c["behaviour"].update(scoring="labels"),
        lambda c: c["behaviour"].update(word="x"),
        lambda c: c.update(variants=["contrastiv"]),
        lambda c: c.update(variants=["dose_0"]),
        lambda c: c.update(personas={"neighbours": 0}),
        lambda c: c.update(sources=[]),
        lambda c: c.pop("contrast"),
        lambda c: c.update(learning_rate=1),
    ],
)
def test_what_a_study_may_not_say_the_schema_refuses_as_well(change, made, tmp_path):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(content)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, made)
    with pytest.raises(InputError):
        load_behaviour(load_study(tmp_path / "params.yaml").behaviour)


def test_an_editor_has_something_to_say_of_every_key(made):
    mute = {
        name
        for name, each in described(made)
        if "description" not in each and "$ref" not in each and "const" not in each
    }
    # an extra cell's say what the study's say
    assert mute <= {"name", "source", "seed", "variant"}
    assert set(made["properties"]) == set(Study.model_fields)
