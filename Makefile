PYTHON  ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(shell command -v $(name))))
VENV    ?= .venv
RUN     := $(VENV)/bin
INSTALL ?= $(RUN)/pip install --quiet

.PHONY: demo test test-long test-torch test-cluster test-wheel lint clean

demo: $(VENV)/installed
	$(RUN)/ftray tune demo

test: $(VENV)/installed-test
	$(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not hosts and not long"

test-long: $(VENV)/installed-test
	$(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --hypothesis-profile=many --durations=10 \
		-m "(long or hypothesis) and not hosts"

test-torch: $(VENV)/installed-test
	VENV=$(VENV) .ci/torch_range

test-cluster: $(VENV)/installed-test
	$(RUN)/pytest -n 2 --dist loadfile -m hosts --durations=0 tests/cluster

test-wheel: $(VENV)/installed-test
	VENV=$(VENV) .ci/wheel

lint: $(VENV)/installed-test $(VENV)/installed-lint
	$(RUN)/ruff check . && $(RUN)/ruff format --check .
	$(RUN)/pyright --pythonpath $(RUN)/python
	$(RUN)/lint-imports

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt -e '.[notebook]'
	touch $@

$(VENV)/installed-%: $(VENV)/installed
	$(INSTALL) -c constraints.txt -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
