"""What a study will cost, said before it starts."""

import copy

import pytest
from conftest import CATALOG, ROOT

from persona_leakage.data.persona_sets import measured_personas
from persona_leakage.pipeline import questions
from persona_leakage.pipeline.cost import adapter_bytes, cost, sentences
from persona_leakage.pipeline.questions import at_hand
from persona_leakage.training.adapter import adapted

RATES = {"train": 500.0, "score": 2000.0}


@pytest.fixture
def pocket(study, personas, monkeypatch):
    """The cost of the pocket study, of which so many cells are finished."""
    monkeypatch.chdir(ROOT)
    asked = at_hand(study.model_copy(update={"study": "not_begun"}))[1]
    everyone = [personas[name] for name in measured_personas(study, personas)]
    return lambda finished=0, of=study: cost(of, everyone, asked, finished)


def test_it_counts_what_the_parameters_say(pocket):
    counted = pocket()
    assert (counted.cells, counted.personas, counted.questions) == (1, 32, 150)
    # 100 positives, 5 negatives of 40, 50 and 50 anchors, three times
    assert counted.examples == 3 * (100 + 5 * 40 + 50 + 50)


def test_tokens_are_near_those_that_the_pocket_study_took(pocket):
    """Counted by its stages with SmolLM2's tokenizer: 49,506 trained on, 204,150 scored."""
    counted = pocket()
    assert counted.train_tokens == pytest.approx(49_506, rel=0.2)
    assert counted.score_tokens == pytest.approx(204_150, rel=0.2)


def test_minutes_follow_the_cells_that_are_left(pocket, study):
    three = study.model_copy(update={"seeds": [1, 2, 3]})
    none, one, two = (pocket(finished, three).minutes(RATES) for finished in (0, 1, 2))
    assert none > one > two > 0
    assert one == pytest.approx(2 * two)
    assert pocket(3, three).minutes(RATES) == 0


def test_without_a_rate_no_minutes_are_guessed(pocket, study):
    assert pocket().minutes({"train": 1.0}) is None
    assert "How long it takes is known after the first cell" in sentences(study, pocket(), {})
    assert "About " in sentences(study, pocket(), RATES)
    assert "Nothing is left to compute" in sentences(study, pocket(1), RATES)


def test_questions_of_the_hub_are_not_fetched_for_an_estimate(study):
    hub = study.questions.model_copy(update={"evaluate": ["sciq"]})
    assert at_hand(study.model_copy(update={"questions": hub, "study": "nowhere"})) is None


def test_what_was_drawn_is_what_the_stage_draws(study, tmp_path, monkeypatch):
    before = at_hand(study.model_copy(update={"study": "not_begun"}))
    (tmp_path / "data").symlink_to(CATALOG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(questions, "load_study", lambda: study)
    questions.main()
    assert at_hand(study) == before


def test_the_size_of_an_adapter_is_known_without_making_one(llama, model_folder, study, tmp_path):
    adapted(copy.deepcopy(llama), study.train).save_pretrained(tmp_path)
    made = (tmp_path / "adapter_model.safetensors").stat().st_size
    assert adapter_bytes(model_folder, study.train.lora.r) == pytest.approx(made, rel=0.1)
    assert adapter_bytes(tmp_path / "nowhere", 16) is None


def test_disk_grows_with_the_cells_that_are_left(pocket, study):
    three = study.model_copy(update={"seeds": [1, 2, 3]})
    assert pocket(0, three).disk(10**6) > pocket(1, three).disk(10**6) > 3 * 10**6
    assert pocket(3, three).disk(10**6) == 0
