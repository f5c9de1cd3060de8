# Every target sets itself up: the first makes .venv, with the packages of setup.py. Those that test
# add what only tests need.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo "$$python" && break; done)
BIN = .venv/bin
RUNS ?= runs

.PHONY: quickstart test test-slow test-hf lint format clean

quickstart: .venv/ready  ## train, export and try a small model on the Python standard library
	$(BIN)/python -m trainers.run --gin_file=configs/recipes/quickstart.gin \
		--model_dir=$(RUNS)/quickstart
	@echo
	$(BIN)/python scripts/generate.py --model=$(RUNS)/quickstart --max_new_tokens=80 \
		--prompt="def " --prompt="class " --prompt="import " --num_return_sequences=1 --seed=1
	@echo
	@echo "Next: your own text:  $(BIN)/python -m trainers.run --model_dir=$(RUNS)/mine \\"
	@echo "    --gin_file=configs/recipes/lm_files.gin --gin_param='TRAIN_FILES = \"my/*.txt\"'"

test: .venv/dev  ## run the tests, but for the slow ones
	$(BIN)/python -m pytest -n 2 --dist=loadfile -m "not slow and not hf"

test-slow: .venv/dev  ## run those that train over and over
	$(BIN)/python -m pytest -n 2 --dist=loadfile -m "slow and not hf"

test-hf: .venv/dev  ## compare with Transformers, which it installs
	$(BIN)/python -m pip install --quiet --use-pep517 --editable '.[test-hf]'
	$(BIN)/python -m pytest -n 2 --dist=loadgroup -m hf

lint: .venv/dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build *.egg-info

.venv/ready: setup.py
	@test -n "$(PYTHON)" || { \
		echo "error: Python 3.11, 3.12 or 3.13 is needed, as TensorFlow has it, and none is on the PATH;" \
			"install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --use-pep517 --editable .
	touch .venv/ready

.venv/dev: .venv/ready
	$(BIN)/python -m pip install --quiet --use-pep517 --editable '.[dev]'
	touch .venv/dev
