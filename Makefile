# Everything happens in .venv; `make test` and `make demo` need Python 3.11 or newer and make.
PYTHON ?= python3
VENV ?= .venv
REQUIREMENTS ?= requirements/dev.txt
BIN := $(VENV)/bin
ARGS ?=
TESTS ?= tests
WORKERS ?= 2
MINUTES ?= 10
KILLS ?= 100
POINTS ?= 5000

.PHONY: help conformance demo differential test test-compiled test-core test-lowest test-rabbitmq test-uvloop verify-types soak outbox-kills storage-crashes broker-kills check bench changelog docs share wheel-compiled requirements clean

help:
	@echo "make demo   see a bus at work         (ARGS=\"--once\" ends by itself)"
	@echo "make test   checks and the whole suite (TESTS=tests/unit for a part, WORKERS=0 in one process)"
	@echo "make soak   break everything at random (MINUTES=10 BROKER=embedded|rabbitmq|cluster|cluster-ignore SEED=1)"
	@echo "make outbox-kills  kill publishers that share an outbox, and the broker (KILLS=100 BROKER=embedded|rabbitmq SEED=1)"
	@echo "make storage-crashes  crash the broker's storage at every point of what it writes (POINTS=5000 SEED=1)"
	@echo "make broker-kills   kill the broker while other people's clients use it (KILLS=100 SEED=1)"
	@echo "make test-rabbitmq  what needs a RabbitMQ, on another one (FM_TEST_RABBITMQ_SBIN=...)"
	@echo "make wheel-compiled a wheel whose codec is compiled to C (needs a C compiler)"
	@echo "make test-compiled  what is compiled, on that wheel"
	@echo "make test-lowest    what uses a dependency, with the lowest declared versions"
	@echo "make conformance    the suites of foreign clients, on all brokers"
	@echo "make differential   random operations on the embedded broker and RabbitMQ (SEQUENCES=10000 SEED=1)"
	@echo "make check  style, types, layers"
	@echo "make bench  measure speed"
	@echo "make docs   build the documentation"
	@echo "make verify-types  count with pyright how much of the package is typed"
	@echo "make share  write man pages and completions (SHARE=build/share)"

$(VENV)/.installed: pyproject.toml $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS) -e .
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/fedora-messaging demo $(ARGS)

test: check
	$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --dist loadfile --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --skip-covered --fail-under=100 \
	  --include='src/fedora_messaging/wire/*,src/fedora_messaging/protocol/*,src/fedora_messaging/broker/core/*'

# Unit and protocol tests, or CORE_TESTS: what a Python version may break. Those of the web pages take long.
CORE_TESTS ?= tests/unit tests/protocol --ignore=tests/unit/web
test-core: $(VENV)/.installed
	$(BIN)/python -m pytest $(CORE_TESTS) -m "not rabbitmq" $(ARGS)

# A wheel whose codec and protocol machines are C extensions. It is built from a source distribution: mypyc puts
# its files beside the sources, where Python would take them from then on.
wheel-compiled: $(VENV)/.installed
	rm -rf build/compiled dist/compiled
	$(BIN)/python -m hatchling build -t sdist -d build/compiled
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check \
	  --no-build-isolation --no-deps --wheel-dir dist/compiled build/compiled/*.tar.gz
	@echo "The wheel is dist/compiled/$$(ls dist/compiled)"

# The tests of what is compiled, and of what uses it most, on that wheel.
COMPILED_TESTS ?= tests/unit/wire tests/protocol tests/unit/broker tests/client tests/transport
test-compiled:
	$(MAKE) wheel-compiled VENV=.venv-compiled
	.venv-compiled/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps \
	  dist/compiled/*.whl
	FM_TEST_COMPILED=1 .venv-compiled/bin/python -m pytest $(COMPILED_TESTS) -m "not rabbitmq" $(ARGS)

# How much of the package is typed, as pyright counts it; its exit status tells only whether that is everything.
verify-types:
	$(PYTHON) -m venv .venv-types
	.venv-types/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/types.txt .[web,twisted]
	-PATH="$$PWD/.venv-types/bin:$$PATH" .venv-types/bin/pyright --verifytypes fedora_messaging --ignoreexternal

# What needs a RabbitMQ, on the one whose scripts are in FM_TEST_RABBITMQ_SBIN.
test-rabbitmq: $(VENV)/.installed
	$(BIN)/python -m pytest $(TESTS) -m rabbitmq $(ARGS)

test-uvloop: $(VENV)/.installed
	FM_TEST_LOOP=uvloop $(BIN)/python -m pytest tests/client tests/transport -m "not rabbitmq" $(ARGS)

# The tests that use a dependency, with the lowest versions that pyproject.toml declares, on the embedded broker.
# Twisted 22.4 imports cgi. Old versions of Starlette notice late that the client of a stream has gone.
LOWEST_TESTS ?= tests/unit tests/compat tests/cli tests/twisted tests/transport \
  tests/client/test_monitoring.py tests/client/test_outbox_record.py tests/management/test_http.py \
  tests/management/test_login.py tests/management/test_metrics.py tests/management/test_slow_clients.py
WITHOUT_DEPENDENCIES := tests/unit/broker tests/unit/sync tests/unit/testing tests/unit/wire \
  tests/cli/test_broker_small_disk.py tests/cli/test_broker_storage.py tests/cli/test_broker_unread.py
test-lowest:
	$(MAKE) .venv-lowest/.installed VENV=.venv-lowest REQUIREMENTS=requirements/lowest.txt
	.venv-lowest/bin/python -m pytest $(LOWEST_TESTS) -m "not rabbitmq" \
	  $(WITHOUT_DEPENDENCIES:%=--ignore=%) --ignore=tests/unit/web/dashboard/test_events.py \
	  -W "ignore:'cgi' is deprecated:DeprecationWarning" $(ARGS)

# The suites of foreign clients, on the embedded broker in both profiles, on RabbitMQ, and on another release of it if
# FM_TEST_OTHER_RABBITMQ_SBIN names the directory of its scripts.
conformance: $(VENV)/.installed
	FM_TEST_CONFORMANCE_ALL=1 $(BIN)/python -m pytest tests/conformance -rA $(ARGS)

# The embedded broker, then a cluster of RabbitMQ nodes if that is installed, unless BROKER names one.
soak: $(VENV)/.installed
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) \
	  $(if $(BROKER),--broker $(BROKER)) $(if $(SEED),--seed $(SEED)) $(ARGS)

# Publishers that share an outbox, and their broker: every message that was accepted must arrive.
outbox-kills: $(VENV)/.installed
	$(BIN)/python -m tests.faults.outbox --kills $(KILLS) \
	  $(if $(BROKER),--broker $(BROKER)) $(if $(SEED),--seed $(SEED)) $(ARGS)

# The embedded broker's files as each crash would leave them, and what a restart finds there.
storage-crashes: $(VENV)/.installed
	$(BIN)/python -m tests.faults.storage --points $(POINTS) $(if $(SEED),--seed $(SEED)) $(ARGS)

# The command with --data, killed while clients of other libraries publish and consume.
broker-kills: $(VENV)/.installed
	$(BIN)/python -m tests.faults.kills --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(ARGS)

# Random operations on the embedded broker and on the RabbitMQ that it imitates, side by side.
SEQUENCES ?= 10000
differential: $(VENV)/.installed
	$(BIN)/python -m tests.differential --sequences $(SEQUENCES) $(if $(SEED),--seed $(SEED)) $(ARGS)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/generate_methods.py --check

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.installed
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html"

# For those who make packages of distributions: man pages and completions, made from the commands.
SHARE ?= build/share
share: $(VENV)/.installed
	rm -rf $(SHARE)
	mkdir -p $(SHARE)/man/man1 $(SHARE)/completions
	$(BIN)/click-man fedora-messaging --target $(SHARE)/man/man1
	for shell in bash zsh fish; do \
	  _FEDORA_MESSAGING_COMPLETE=$${shell}_source $(BIN)/fedora-messaging > $(SHARE)/completions/fedora-messaging.$$shell; \
	done

# Writes the fragments in changelog.d into CHANGELOG.md, for the release of the version in the package.
changelog: $(VENV)/.installed
	$(BIN)/towncrier build --version "$$($(BIN)/python -c 'import fedora_messaging; print(fedora_messaging.__version__)')"

# Pins what requirements/dev.in names, in an environment of its own: dev.txt has the newest versions, lowest.txt
# the lowest that pyproject.toml declares, and of everything else the newest that agree with them. No schemathesis
# and no Celery that is new enough agrees with them.
EXTRAS := demo,metrics,sql,twisted,web
requirements:
	$(PYTHON) -m venv .venv-requirements
	.venv-requirements/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.in -e .
	{ echo "# Pinned by \`make requirements\` from dev.in."; \
	  .venv-requirements/bin/python -m pip freeze --exclude-editable; } > requirements/dev.txt
	rm -rf .venv-requirements
	$(PYTHON) -m venv .venv-requirements
	.venv-requirements/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-requirements/bin/uv pip compile --quiet --no-deps --resolution lowest-direct --all-extras \
	  --output-file .venv-requirements/floors.txt pyproject.toml
	.venv-requirements/bin/python -m pip uninstall --quiet --yes uv
	grep -Ev '^(celery|schemathesis)$$' requirements/dev.in > .venv-requirements/lowest.in
	.venv-requirements/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c .venv-requirements/floors.txt -r .venv-requirements/lowest.in -e '.[$(EXTRAS)]'
	{ echo "# Pinned by \`make requirements\` from dev.in and the lower bounds in pyproject.toml."; \
	  .venv-requirements/bin/python -m pip freeze --exclude-editable; } > requirements/lowest.txt
	rm -rf .venv-requirements

clean:
	rm -rf $(VENV) .venv-* docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
