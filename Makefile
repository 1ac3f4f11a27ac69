# Everything sets itself up: python3 (>= 3.11, with venv) and make are all a machine needs.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
EXTRAS  = demo,postgres,traces,test,docs
# Where an environment forbids bytecode to be kept, every process compiles all libraries anew: 4 s of work each.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup setup-spark setup-deep setup-voice demo test test-all test-pseudo test-spark test-deep test-voice emulate email-clients monitoring lint bench bench-large bench-queue accuracy faults faults-long faults-ci soak test-slow simulate hillstrom docs notebooks tour messages lock sbom audit clean setup-texts test-texts setup-privacy test-privacy setup-federate test-federate setup-pictures test-pictures setup-service test-service test-s3

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/uv
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

setup: $(VENV)/.installed

# Each extra has tests in an environment of its own, because the other tests must pass without it:
# pyspark is 400 MB, torch 2 GB, the recogniser of voice 56 MB, the weights of texts 72 MB,
# the library of privacy 47 MB, the weights of pictures 17 MB beside torch.
OWN = spark deep voice texts service privacy pictures s3

setup-spark: setup
setup-deep: setup
setup-voice: setup
setup-texts: setup
setup-service: setup
setup-privacy: setup
setup-pictures: setup
$(OWN:%=setup-%): setup-%:
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --editable '.[$*]' --constraint requirements.lock

$(OWN:%=.venv-%/.installed): .venv-%/.installed: requirements.lock pyproject.toml | $(BIN)/uv
	$(PYTHON) -m venv .venv-$*
	VIRTUAL_ENV=.venv-$* $(BIN)/uv pip install --quiet --editable '.[$*,demo,postgres,traces,test]' --constraint requirements.lock
	touch $@

# flwr conflicts with the lock, so only retention/federation/agent.py runs in this environment.
setup-federate: .venv-federate/.installed
.venv-federate/.installed: pyproject.toml | $(BIN)/uv
	$(PYTHON) -m venv .venv-federate
	VIRTUAL_ENV=.venv-federate $(BIN)/uv pip install --quiet --group federate
	touch $@

demo: setup
	exec $(BIN)/retention demo

# Two processes share the cores: more threads in each only wait for each other.
test test-all test-pseudo emulate email-clients: export OMP_NUM_THREADS = 1

# Two files at a time, in random order; then, also two at a time and the longest first, those
# that start the whole desk. The second half runs also where the first fails; either failing fails
# the target. To repeat an order: PYTEST_ADDOPTS=--randomly-seed=N make test
test: setup
	@trap 'exit 130' INT; status=0; set -x; \
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not bench and not nightly and not desk and not federate' || status=1; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'desk and not slow and not nightly' || status=1; \
	{ set +x; } 2>/dev/null; exit $$status

# Also the long trainings and simulations (at most a tenth of the tests); CI runs them.
test-all: test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'nightly and not slow and not desk'
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'nightly and desk and not slow'

# Those of voice also need Debian's espeak-ng and ffmpeg.
test-spark: .venv-spark/.installed
test-deep: .venv-deep/.installed
test-voice: .venv-voice/.installed
test-texts: .venv-texts/.installed
test-service: .venv-service/.installed
test-privacy: .venv-privacy/.installed
test-pictures: .venv-pictures/.installed
test-s3: .venv-s3/.installed
test-s3: FOLDERS += tests/workers
FOLDERS = tests/retention
$(OWN:%=test-%): test-%:
	.venv-$*/bin/python -m pytest -m '$* and not slow' $(FOLDERS)

test-federate: setup setup-federate
	$(BIN)/python -m pytest -n 0 -m federate tests/retention/federation tests/bot/commands/test_federate.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: setup
	$(BIN)/python -m tests.benchmarks

accuracy: setup
	$(BIN)/python -m tests.benchmarks.accuracy

bench-large: setup
	nice $(BIN)/python -m tests.benchmarks large models at_risk
	nice $(BIN)/python -m tests.benchmarks.large $(MILLIONS)

# Do other jobs wait while models are trained? Ten minutes; starts the demo.
bench-queue: setup
	$(BIN)/python -m tests.benchmarks queues

# Breaks everything and counts what is lost or doubled: a part of each row in 15 minutes, all of
# them in about two hours, and the part of CI in 4 minutes with its control.
faults: setup
	$(BIN)/python -m tests.faults

faults-long: setup
	$(BIN)/python -m tests.faults --size long --publish

faults-ci: setup
	$(BIN)/python -m tests.faults.control 15
	$(BIN)/python -m tests.faults --size ci --database sqlite
	$(BIN)/python -m tests.faults --size ci --database postgresql --rows races,step_kills,protocols,versions

# Campaigns with a known truth; writes its table into docs/data_scientist/simulation.md.
simulate: setup
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 nice $(BIN)/python -m tests.benchmarks.simulate

# Whoever has the file of Hillstrom's e-mail experiment: make hillstrom FILE=path
hillstrom: setup
	$(BIN)/python -m tests.benchmarks.hillstrom $(FILE)

# 20 commands a second for half an hour, then 200 for two minutes; writes docs/operator/load.md. In
# all 45 minutes, on a machine that does nothing else. A short run: python -m tests.load --size short
soak: setup
	$(BIN)/python -m tests.load --publish

# The tests that take hours.
test-slow: setup .venv-s3/.installed
	$(BIN)/python -m pytest -m slow --timeout 3600
	.venv-s3/bin/python -m pytest -m 's3 and slow' tests/retention tests/workers

# The generated pages, then the site in build/site; a broken link or anchor fails it.
# With --quiet, mkdocs counts no warnings, so that nothing is strict.
docs: export NO_MKDOCS_2_WARNING = 1
docs: setup
	$(BIN)/python -m tests.make_docs
	$(BIN)/python -m mkdocs build --strict

# Films the guided path into docs/tour and takes the pictures of docs/pictures; needs chromium.
tour: setup
	$(BIN)/python -m tests.make_tour
	$(BIN)/python -m tests.make_email_pictures

# Executes the notebooks of docs/ and stores their outputs.
notebooks: setup
	$(BIN)/python -m tests.notebooks

# Whether a test depends on an English sentence: each sentence shows as ⟦sentence⟧.
test-pseudo: setup
	RETENTION_LANGUAGE=en-XA $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not bench and not nightly and not desk and not federate' tests/bot tests/workers
	RETENTION_LANGUAGE=en-XA $(BIN)/python -m pytest -n 2 --dist loadfile -m 'desk and not slow and not nightly' tests/bot tests/workers tests/end_to_end

# Slack's Web API as others wrote it: npm's emulate, which the wheel of node runs. Prints the calls.
# Exactly the version in the lock: newer releases of that name are another package.
EMULATE = tests/emulate/node_modules
$(EMULATE)/.installed: tests/emulate/package-lock.json $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" npm ci --prefix tests/emulate --ignore-scripts --no-audit --no-fund --loglevel error
	touch $@

emulate: setup $(EMULATE)/.installed
	RETENTION_REQUIRE_EMULATE=1 $(BIN)/python -m pytest -s tests/emulate

# The alert rules, by promtool of Debian's package prometheus.
monitoring:
	promtool check rules deploy/monitoring/alerts.yml
	promtool test rules deploy/monitoring/alerts_test.yml
	promtool check config deploy/monitoring/prometheus.yml

# What mail programs drop of our e-mails, by npm's doiuse-email and the data of Can I email.
EMAIL_CLIENTS = tests/email_clients/node_modules
$(EMAIL_CLIENTS)/.installed: tests/email_clients/package-lock.json $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" npm ci --prefix tests/email_clients --ignore-scripts --no-audit --no-fund --loglevel error
	touch $@

email-clients: setup $(EMAIL_CLIENTS)/.installed
	RETENTION_REQUIRE_EMAIL_CLIENTS=1 $(BIN)/python -m pytest -s tests/email_clients

# The sentences in code and templates, for translators; brings the catalogues of all languages up to date.
messages: setup
	$(BIN)/pybabel extract --mapping babel.cfg --keywords gettext --keywords marked --keywords phrase --no-location --sort-output \
	  --project retention --output-file retention/locale/retention.pot .
	@for file in retention/locale/*/LC_MESSAGES/retention.po; do [ ! -f "$$file" ] || \
	  $(BIN)/pybabel update --no-fuzzy-matching --domain retention --output-dir retention/locale \
	  --input-file retention/locale/retention.pot || exit; break; done
	@for file in retention/locale/*/LC_MESSAGES/retention.po; do [ ! -f "$$file" ] || \
	  $(BIN)/pybabel compile --domain retention --directory retention/locale || exit; break; done

lock: | $(BIN)/uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  $(foreach extra,demo postgres traces test docs,--extra $(extra)) pyproject.toml --output-file requirements.lock

# Tools of their own environment: nothing of the product needs them.
.venv-supply/.installed: requirements.lock pyproject.toml | $(BIN)/uv
	$(PYTHON) -m venv .venv-supply
	VIRTUAL_ENV=.venv-supply $(BIN)/uv pip install --quiet --group supply
	touch $@

# All parts of the product, in CycloneDX's format.
sbom: .venv-supply/.installed
	mkdir -p build
	.venv-supply/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
	  --output-reproducible --of JSON --output-file build/sbom.json

# Known vulnerabilities of the locked versions; says "skipped" where the package index names none.
audit: .venv-supply/.installed
	.venv-supply/bin/python -m tests.audit

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
