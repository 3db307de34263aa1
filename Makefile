# make run: environment, then the centre.  make test: the same environment, then every test.
# Needs Python 3.11 or newer with venv; nothing else. PYTHON=… chooses one. Without make: ./run.

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
.DEFAULT_GOAL := help
.PHONY: help run test bench soak fuzz pictures lint lock clean

help:
	@echo "make run    make the environment and start the centre (data in ./data, Ctrl-C stops it)"
	@echo "make test   run every test"
	@echo "make lint   ruff, mypy, import layers"
	@echo "make bench  speed and size;  make soak: a thousand kills (KILLS=1000);  make fuzz: random input (MINUTES=10)"
	@echo "make pictures   the pictures of the docs, taken from the running product"

run: $(VENV)/run.stamp
	@SOC_STARTED_AS="make run" exec $(BIN)/soc --config "$${SOC_CONFIG:-config.yaml}" serve --demo $(ARGS)

test: $(VENV)/dev.stamp
	@$(PYTEST) -q $(ARGS)

bench: $(VENV)/dev.stamp
	@for script in tests/bench/bench_*.py; do echo "$$script" && $(BIN)/python "$$script" $(ARGS) || exit 1; done

soak: $(VENV)/dev.stamp
	@SOC_TEST_KILLS=$${KILLS:-1000} SOC_TEST_SEED=$${SEED:-$$(date +%s)} $(PYTEST) -q -s tests/e2e/test_kill.py $(ARGS)

fuzz: $(VENV)/dev.stamp
	@end=$$(( $$(date +%s) + 60 * $${MINUTES:-10} )); while [ "$$(date +%s)" -lt "$$end" ]; do \
	    seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "hypothesis seed $$seed"; \
	    $(PYTEST) -q tests/property --hypothesis-seed="$$seed" $(ARGS) || exit 1; \
	done

pictures: $(VENV)/dev.stamp
	@$(BIN)/python scripts/pictures.py

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

# Locks: exact versions with hashes, for Python 3.11 to 3.13 on Linux; made with pip-tools under the oldest of them.
LOCK := pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	--strip-extras --allow-unsafe --no-header --no-annotate
lock:
	$(LOCK) --extra build --output-file requirements.lock pyproject.toml
	$(LOCK) --extra build --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

$(VENV)/run.stamp: requirements.lock pyproject.toml scripts/environment.sh
	@sh scripts/environment.sh $(VENV)
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@echo "Adding what the tests need …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
