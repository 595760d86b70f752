# Every target prints what it does. The work is done by infra/local, in Python.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help tools build up console demo test test-all conformance test-console test-openapi test-dynamodb test-n8n bench down lint clean

# It installs in seconds what takes pip more than a minute. Where only pip knows the way to an index, pip does.
UV = uv==0.13.9
RUN = @exec .venv/bin/python infra/local
# Tools whose needs differ from those of the others, each in a folder of its own.
CHECKOV = .local/tools/checkov-3.3.30
PLAYWRIGHT = .local/tools/playwright-1.65.2
SCHEMATHESIS = .local/tools/schemathesis-4.32.5
PARLIAMENT = .local/tools/parliament-1.6.4
MOTO = .local/tools/moto-5.2.5
ASL_VALIDATOR = .local/tools/asl-validator-4.0.0

help: ## List the targets.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

# Python's tools are installed again only when the list of them has changed.
tools:
	@sh infra/local/prerequisites.sh
	@cmp -s infra/requirements.txt .venv/requirements.txt || { \
	    echo "Installing the Python tools into .venv ..." && \
	    python3 -m venv --clear .venv && \
	    { { .venv/bin/pip install --quiet --disable-pip-version-check $(UV) && \
	        .venv/bin/uv pip install --quiet --python .venv/bin/python -r infra/requirements.txt; } || \
	      .venv/bin/pip install --quiet --disable-pip-version-check -r infra/requirements.txt; } && \
	    cp infra/requirements.txt .venv/requirements.txt; }

build: tools ## Build the Lambda functions.
	$(RUN) build

up: tools ## Start the local stack, or bring it up to date.
	$(RUN) up

console: tools ## Open the console of the local stack in a browser.
	$(RUN) console

demo: tools ## Run two agents on the local stack and show what happens.
	$(RUN) demo

test: tools ## Run all tests on a fresh stack of their own (TEST_ARGS: more arguments for the runner).
	$(RUN) test

test-all: tools $(PLAYWRIGHT)/bin/playwright $(SCHEMATHESIS)/bin/schemathesis $(MOTO)/bin/moto_server ## The same, with what takes longer.
	$(RUN) test-all
	$(RUN) test-openapi $(SCHEMATHESIS)/bin/schemathesis
	$(RUN) test-dynamodb $(MOTO)/bin/python
	$(RUN) test-n8n
	$(RUN) test-console $(PLAYWRIGHT)/bin/python

conformance: tools ## Run the official MCP conformance suite and clients on a fresh stack of their own.
	$(RUN) conformance

test-console: tools $(PLAYWRIGHT)/bin/playwright ## Run the console in a real browser (CONSOLE_BRIEFLY=1: what most visitors do), on a fresh stack of its own.
	$(RUN) test-console $(PLAYWRIGHT)/bin/python

test-openapi: tools $(SCHEMATHESIS)/bin/schemathesis ## Run schemathesis with infra/openapi.json on a fresh stack of its own.
	$(RUN) test-openapi $(SCHEMATHESIS)/bin/schemathesis

test-dynamodb: tools $(MOTO)/bin/moto_server ## Run the tests with the tables in moto, whose DynamoDB checks expressions as AWS does.
	$(RUN) test-dynamodb $(MOTO)/bin/python

test-n8n: tools ## Run the workflows of infra/n8n in the oldest and the newest n8n (N8N_VERSION: in one; N8N_SCENARIOS: only these), each on a fresh stack.
	$(RUN) test-n8n

bench: tools ## Build the release, and measure its size and what it takes (BENCH_ARGS=--check: briefly, and fail if it is too much).
	$(RUN) bench

down: tools ## Stop the local stack.
	$(RUN) down

lint: tools $(CHECKOV)/bin/checkov $(PARLIAMENT)/bin/parliament $(ASL_VALIDATOR)/node_modules/.bin/asl-validator ## Check the CloudFormation template, its policies, and the state machines.
	@echo "Checking infra/template.yaml ..."
	@.venv/bin/cfn-lint infra/template.yaml
	@.venv/bin/python infra/local/privileges.py infra/template.yaml
	@$(PARLIAMENT)/bin/python infra/local/policies.py infra/template.yaml
	@$(CHECKOV)/bin/checkov --quiet --compact --skip-download --framework cloudformation -f infra/template.yaml \
	    && echo "  no findings"
	@echo "Checking the state machines ..."
	@.venv/bin/python infra/local/machines.py $(ASL_VALIDATOR)/node_modules/.bin/asl-validator

$(CHECKOV)/bin/checkov $(SCHEMATHESIS)/bin/schemathesis $(PARLIAMENT)/bin/parliament:
	@echo "Installing $(@F) into $(@D:/bin=) ..."
	@python3 -m venv --clear $(@D:/bin=)
	@$(@D)/pip install --quiet --disable-pip-version-check $(subst -,==,$(notdir $(@D:/bin=)))

$(MOTO)/bin/moto_server:
	@echo "Installing moto into $(MOTO) ..."
	@python3 -m venv --clear $(MOTO)
	@$(MOTO)/bin/pip install --quiet --disable-pip-version-check 'moto[dynamodb,server]==$(MOTO:.local/tools/moto-%=%)'

$(PLAYWRIGHT)/bin/playwright:
	@echo "Installing playwright into $(PLAYWRIGHT) ..."
	@python3 -m venv --clear $(PLAYWRIGHT)
	@$(PLAYWRIGHT)/bin/pip install --quiet --disable-pip-version-check playwright==$(PLAYWRIGHT:.local/tools/playwright-%=%) axe-playwright-python==0.1.8

$(ASL_VALIDATOR)/node_modules/.bin/asl-validator:
	@echo "Installing asl-validator into $(ASL_VALIDATOR) ..."
	@npm install --prefix $(ASL_VALIDATOR) --silent --no-fund --no-audit asl-validator@$(ASL_VALIDATOR:.local/tools/asl-validator-%=%)

clean: down ## Stop the local stack and remove everything that was built.
	@echo "Removing .local, .venv and target ..."
	@rm -rf .local .venv target
