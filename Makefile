# `make demo` and `make test` do all their own set-up, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := CMakeLists.txt pyproject.toml constraints.txt $(wildcard cmake/*.cmake csrc/*.h csrc/*.cpp csrc/*/*.h csrc/*/*.cpp csrc/*/*.cu csrc/*/*.inl bindings/*.cpp bindings/*.h)

.PHONY: setup test demo docs lint tidy format bench clean
setup: $(VENV)/.done

$(VENV)/.done: $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --config-settings=cmake.define.STYLOGRAM_WERROR=ON --editable '.[dev]'
	touch $@

# Files side by side, one a processor; ARGS="-n 0 ..." for one after the other.
test: setup
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(ARGS)

demo: setup
	$(BIN)/stylogram demo -o demo

# The documentation as a site, in build/site.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup
	$(BIN)/stylogram bench

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.h' '*.cpp' '*.cu' '*.inl' ':!third_party')

# clang-tidy on libstylogram; the compiler's commands are CMake's.
tidy: setup
	cmake -S . -B build/cpp -DSTYLOGRAM_LIBRARY=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
	$(BIN)/clang-tidy -p build/cpp --quiet $$(git ls-files 'csrc/runtime/*.cpp')

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files '*.h' '*.cpp' '*.cu' '*.inl' ':!third_party')

clean:
	rm -rf $(VENV) build demo
