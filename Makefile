# Two commands for a newcomer: `make quickstart` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
RUN    := runs/quickstart
BASE   := sentence-transformers/all-MiniLM-L6-v2

.PHONY: install quickstart test attack shapes check lint types layers tables docs docs-install clean

install: $(STAMP)

# constraints.txt holds the exact versions that continuous integration uses.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "matryoshka-text needs Python 3.11 or later: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $(STAMP)

# Goes on where it was interrupted; remove runs/quickstart to start again.
quickstart: $(STAMP)
	$(BIN)/mtext train recipes/quickstart.yaml --out $(RUN) --resume
	$(BIN)/mtext eval $(RUN)/model --suite quick --against $(BASE) --baselines rotation --dtype auto --out $(RUN)/eval

# Two processes of one thread each; a file's tests stay together, so that what they share is made once.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Bad inputs, kills, small disks, races and signals from seeds, until MINUTES are over. Prints counts by kind; failing
# inputs stay in attack-failures/, each with the command that repeats it. CASE=recipes:17 runs one.
SEED    ?= 0
MINUTES ?= 30
attack: $(STAMP)
	$(BIN)/python -m tests.attack --seed $(SEED) --minutes $(MINUTES) $(if $(CASE),--case $(CASE))

comma := ,
space := $(subst ,, )
# Types and shapes of every call in the rooms of tensors, checked as the tests run (jaxtyping, beartype).
# Not the kernels: Triton compiles their source, which the check would change.
NESTED = chunked cosent cross_entropy distillation loss pair_error prefixes reference targets vector_error
SHAPED = $(addprefix matryoshka_text.nested.,$(NESTED)) matryoshka_text.rotation matryoshka_text.vectors matryoshka_text.data
shapes: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --jaxtyping-packages=$(subst $(space),$(comma),$(SHAPED)),beartype.beartype \
		tests/nested tests/rotation tests/vectors tests/data

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

# The generated pages.
tables: $(STAMP)
	$(BIN)/python -m matryoshka_text.recipe.table
	$(BIN)/python -m tools.pages.page

# The documentation site, in site/; any warning stops it.
docs: docs-install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-install: $(VENV)/.docs

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

check: lint types layers test

clean:
	rm -rf $(VENV) runs dist build site
