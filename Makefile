# Every target prints what it does. The work is done by infra/local, in Python.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help tools build up demo test test-all conformance test-n8n bench down lint clean

RUN = @exec .venv/bin/python infra/local
# It needs another boto3 than the other tools do, and so a folder of its own.
CHECKOV = .local/tools/checkov-3.3.30

help: ## List the targets.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

# Python's tools are installed again only when the list of them has changed.
tools:
	@sh infra/local/prerequisites.sh
	@cmp -s infra/requirements.txt .venv/requirements.txt || { \
	    echo "Installing the Python tools into .venv ..." && \
	    python3 -m venv --clear .venv && \
	    .venv/bin/pip install --quiet --disable-pip-version-check -r infra/requirements.txt && \
	    cp infra/requirements.txt .venv/requirements.txt; }

build: tools ## Build the Lambda functions.
	$(RUN) build

up: tools ## Start the local stack, or bring it up to date.
	$(RUN) up

demo: tools ## Run two agents on the local stack and show what happens.
	$(RUN) demo

test: tools ## Run all tests on a fresh stack of their own (TEST_ARGS: more arguments for the runner).
	$(RUN) test

test-all: tools ## The same, with what takes longer.
	$(RUN) test-all
	$(RUN) test-n8n

conformance: tools ## Run the official MCP conformance suite and clients on a fresh stack of their own.
	$(RUN) conformance

test-n8n: tools ## Run the workflows of infra/n8n in the real n8n, on a fresh stack of their own.
	$(RUN) test-n8n

bench: tools ## Build the release, and measure its size and what it takes (BENCH_ARGS=--quick: less of it).
	$(RUN) bench

down: tools ## Stop the local stack.
	$(RUN) down

lint: tools $(CHECKOV)/bin/checkov ## Check the CloudFormation template.
	@echo "Checking infra/template.yaml ..."
	@.venv/bin/cfn-lint infra/template.yaml
	@.venv/bin/python infra/local/privileges.py infra/template.yaml
	@$(CHECKOV)/bin/checkov --quiet --compact --skip-download --framework cloudformation -f infra/template.yaml \
	    && echo "  no findings"

$(CHECKOV)/bin/checkov:
	@echo "Installing checkov into $(CHECKOV) ..."
	@python3 -m venv --clear $(CHECKOV)
	@$(CHECKOV)/bin/pip install --quiet --disable-pip-version-check checkov==$(CHECKOV:.local/tools/checkov-%=%)

clean: down ## Stop the local stack and remove everything that was built.
	@echo "Removing .local, .venv and target ..."
	@rm -rf .local .venv target
