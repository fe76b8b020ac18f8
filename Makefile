# `make` says what there is. Each target sets up first what it needs: the locked environment, with
# uv brought in where it is missing.

UV := $(shell command -v uv || echo .uv/bin/uv)
RUN := $(UV) run --no-sync

.DEFAULT_GOAL := help
.PHONY: help repro docs test test-slow test-lowest test-newest lint mutants calibration setup setup-cpu study kept results predict example sweep bench faults sbom audit

help: ## this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / && !/^help/ {printf "  %-11s %s\n", $$1, $$2}' Makefile

repro: setup ## compute the study of params.yaml and its report
	$(RUN) python -m persona_leakage.pipeline.cost
	$(RUN) python -m persona_leakage.pipeline.lock
	$(RUN) dvc repro
	@echo "report: reports/$$(awk '/^study:/ {print $$2}' params.yaml)/report.html"
	@git diff --quiet -- dvc.lock reports 2>/dev/null || echo "dvc.lock and reports/ now hold what\
	 this machine computed: other processors round otherwise. Keep it with git commit; to go back to\
	 other parameters run make study, which leaves dvc.lock alone and so computes nothing again"

study: setup ## STUDY=name: switch to a study of studies/ and compute it; without STUDY: go back
	$(RUN) python -m persona_leakage.pipeline.switch $(STUDY)
	$(RUN) python -m persona_leakage.pipeline.cost
	$(RUN) python -m persona_leakage.pipeline.lock
	$(RUN) dvc repro

kept: setup ## STUDY=qwen: the report of a study from the scores in kept/, no GPU needed
	$(RUN) python -m persona_leakage.pipeline.switch --only $(STUDY)
	$(RUN) dvc update data.dvc
	$(RUN) python -m persona_leakage.pipeline.keep --restore

# from the summaries in reports/: the first study follows the protocol, others were trained on other
# questions
results: setup ## docs/results.md: the original's claims beside ours
	$(RUN) python -m persona_leakage.pipeline.results qwen qwen_everyday

predict: setup ## SOURCE=name or "prompt" TEXT="prompt": who will be damaged, before any training
	$(RUN) python -m persona_leakage.pipeline.launch predict "$$SOURCE" "$$TEXT"

example: setup ## the examples in Python, on what is in the repository
	for file in examples/*.py; do $(RUN) python $$file || exit; done

sweep: setup ## SETTINGS="1e-4x3 5e-4x3": learning rates and epochs on the first source of params.yaml
	$(RUN) python -m persona_leakage.pipeline.sweep $(if $(SETTINGS),--settings $(SETTINGS))

# files in their order: sorted by number of tests, the one with few and long tests would come last
test: setup ## the tests
	$(RUN) pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: setup ## tests that take minutes: whole commands, run twice
	$(UV) sync --quiet --locked --inexact --extra ray
	$(RUN) pytest --durations=5 -m slow

# .uv/lowest and .uv/newest: what pyproject.toml allows, whatever the lock file says
test-lowest: RESOLUTION := lowest-direct## the tests with the oldest versions allowed
test-newest: RESOLUTION := highest## the tests with the newest versions allowed
test-lowest test-newest: test-%: | $(UV)
	mkdir -p .uv
	$(UV) pip compile --quiet --resolution $(RESOLUTION) --group dev --group pocket \
	  --extra ray pyproject.toml --output-file .uv/$*.txt
	$(UV) venv --quiet --allow-existing .uv/$*
	$(UV) pip sync --quiet --python .uv/$* .uv/$*.txt
	$(UV) pip install --quiet --python .uv/$* --no-deps -e .
	.uv/$*/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow" $(TESTS)

lint: setup ## linters, types, import contracts
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports

# make mutants MODULES='persona_leakage.data.split.*' tries one module and keeps the others
mutants: setup ## which small faults the tests would miss: hours, docs/mutants.md
	nice -n 15 $(RUN) mutmut run --max-children 2 $(MODULES)
	nice -n 15 $(RUN) python tests/mutants.py

# site/index.html; the search needs a server: python -m http.server --directory site
docs: setup ## the documentation as pages, links checked, nothing loaded from elsewhere
	$(UV) sync --quiet --locked --inexact --group docs
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict
	$(RUN) python docs/_make/offline.py site

calibration: setup ## what the statistics do where the truth is known: minutes, docs/statistics.md
	nice $(RUN) python calibration/table.py

faults: setup ## kills, disks, bad input, settings, load: what is lost or broken, docs/reliability.md
	nice $(RUN) python faults/inputs.py
	nice $(RUN) python faults/same.py
	nice $(RUN) python faults/load.py
	nice $(RUN) python faults/disk.py
	nice $(RUN) python faults/kill.py

sbom: | $(UV) ## the packages of the lock file, as CycloneDX
	$(UV) export --quiet --locked --all-groups --format cyclonedx1.5 --output-file sbom.json

audit: | $(UV) ## known vulnerabilities of the lock file's packages; needs a network
	mkdir -p .uv
	$(UV) export --quiet --locked --all-groups --no-emit-project --output-file .uv/requirements.txt
	$(UV)x pip-audit --strict --disable-pip --require-hashes --requirement .uv/requirements.txt

# ARC=folder takes a snapshot of allenai/ai2_arc
bench: setup ## this machine's processor against the baselines, docs/performance.md
	$(UV) sync --locked --group bench
	$(RUN) dvc repro base
	for work in scoring training; do \
	  $(RUN) python benchmarks/processor_$$work.py outputs/models/SmolLM2-135M-Instruct \
	    docs/performance/processor_$$work.json $(if $(ARC),--arc $(ARC)) || exit; \
	done
	$(RUN) python benchmarks/render.py

# before `mlflow run` makes it, which a kill would leave half-made, and blocked
STORE := $(RUN) python -c "from persona_leakage.pipeline.tracking import store; store()"
setup: .venv/ready ## the environment of the lock file

# a uv that was brought in is there for `mlflow run --env-manager=uv`, too
LINK := case $(UV) in .uv/*) ln -sf ../../$(UV) .venv/bin/uv;; esac

.venv/ready: uv.lock pyproject.toml | $(UV)
	$(UV) sync --locked --compile-bytecode
	$(UV) pip install --no-deps -e .
	$(LINK)
	$(STORE)
	touch $@

# the lock file has torch as PyPI builds it, with 3.3 GB for NVIDIA's GPUs
TORCH_CPU := https://download.pytorch.org/whl/cpu
setup-cpu: | $(UV) ## the same with torch's build without CUDA: about 2 GB instead of 5.9
	$(UV) export --locked --no-emit-project --no-hashes --quiet | \
	  grep -v -E '^ |^#|^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+)==' > .requirements-cpu.txt
	$(UV) export --locked --no-emit-project --no-hashes --quiet | \
	  sed -n 's/^torch==\([0-9.]*\).*/torch==\1+cpu/p' >> .requirements-cpu.txt
	$(UV) venv --allow-existing .venv
	$(UV) pip install --no-deps --extra-index-url $(TORCH_CPU) \
	  --index-strategy unsafe-best-match --compile-bytecode -r .requirements-cpu.txt || { \
	  echo "no environment was made: $(TORCH_CPU) must be reachable; \`make setup\` takes\
	 PyPI's build instead, with 3.3 GB for GPUs"; exit 1; }
	$(UV) pip install --no-deps -e .
	$(LINK)
	$(STORE)
	touch .venv/ready

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv
