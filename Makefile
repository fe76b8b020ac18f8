# `make repro` computes the study of params.yaml; `make test` checks the project.
# Both set everything up first: the locked environment, with uv brought in where it is missing.

UV := $(shell command -v uv || echo .uv/bin/uv)
RUN := $(UV) run --no-sync

.PHONY: repro test test-slow lint mutants setup study kept predict sweep bench

repro: setup
	$(RUN) dvc repro
	@echo "report: reports/$$(awk '/^study:/ {print $$2}' params.yaml)/report.html"

test: setup
	$(RUN) pytest -n auto --dist loadfile -m "not slow"

# what takes minutes: whole commands, run twice
test-slow: setup
	$(RUN) pytest --durations=5 -m slow

lint: setup
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports

# which small faults of the modules that decide numbers the tests notice: hours, docs/mutants.md;
# make mutants MODULES='persona_leakage.data.split.*' tries one module and keeps the others
mutants: setup
	nice -n 15 $(RUN) mutmut run --max-children 2 $(MODULES)
	nice -n 15 $(RUN) python tests/mutants.py

# make study STUDY=paper: switch params.yaml to a study of studies/ and compute it
study: setup
	cp studies/$(STUDY).yaml params.yaml
	$(RUN) dvc repro

# make kept STUDY=qwen: the report of a study from the scores in kept/, no GPU needed
kept: setup
	cp studies/$(STUDY).yaml params.yaml
	$(RUN) dvc update data.dvc
	$(RUN) python -m persona_leakage.pipeline.keep --restore

# make predict SOURCE=pirate TEXT="You are a sailor.": who will be damaged, before any training;
# TEXT may be left out
predict: setup
	$(RUN) dvc repro predictors geometry
	$(RUN) python -m persona_leakage.pipeline.predict --source "$$SOURCE" $(if $(TEXT),--text "$$TEXT")

# five settings of learning rate and epochs on the first source of params.yaml
sweep: setup
	$(RUN) python -m persona_leakage.pipeline.sweep

# this machine's processor against the baselines; ARC=folder takes a snapshot of allenai/ai2_arc
bench: setup
	$(UV) sync --locked --group bench
	$(RUN) dvc repro base
	for work in scoring training; do \
	  $(RUN) python benchmarks/processor_$$work.py outputs/models/SmolLM2-135M-Instruct \
	    docs/performance/processor_$$work.json $(if $(ARC),--arc $(ARC)) || exit; \
	done
	$(RUN) python benchmarks/render.py

setup: .venv/ready

.venv/ready: uv.lock pyproject.toml | $(UV)
	$(UV) sync --locked --compile-bytecode
	touch $@

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv
