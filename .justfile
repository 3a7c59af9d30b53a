# What a change must pass on your machine. `.ci/run` does the same in a clean clone, with `bare` first, then browsers and clients.
check: lint types layers coverage

# Format, then fix what can be fixed.
fix:
    uv run ruff format
    uv run ruff check --fix

lint:
    uv run ruff format --check
    uv run ruff check

types:
    uv run mypy

layers:
    uv run lint-imports

# Extra arguments go to pytest: `just test -k resume`.
test *args:
    uv run pytest {{args}}

# All tests, with the lines and branches they miss; below 99 % it fails.
coverage: && gate
    uv run coverage erase
    COVERAGE_PROCESS_START=pyproject.toml uv run pytest

# Judge what a run of the tests under coverage has left.
gate:
    uv run coverage combine -q
    uv run coverage report

# The README's commands, on what is committed, where there is nothing but Python.
bare:
    bash .ci/bare

# Build the files of a release into dist/, and check them: contents, page, installation, every Python, lowest versions.
release-check:
    rm -rf dist
    uv build --quiet
    uv run twine check --strict dist/*
    DIST_FILES=dist uv run pytest -n 0 tests/package
    bash .ci/pythons

# The service on every Python that is installed, and with the lowest versions of its dependencies.
pythons *versions:
    bash .ci/pythons {{versions}}

# Write what docs/ has from the code: tables, the OpenAPI document, and deployment files.
tables:
    PYTHONPATH=tests uv run python -m support.tables

# Run a service with troubles under a real Prometheus, and draw the dashboard into docs/operate/watch/; about two minutes.
# `just picture 120 -` draws nothing, and leaves both running, to try docs/operate/watch.md.
picture seconds="100" file="docs/operate/watch/dashboard.png":
    PYTHONPATH=tests uv run python -m support.watching.trial {{seconds}} {{file}}

# Take the README's moving picture of the playground from Chromium, into docs/.
film:
    PYTHONPATH=tests uv run python -m browser.film

# Let everything fail between workers and Redis, and write what viewers notice into docs/operate/scale.md; it takes minutes.
chaos: && tables
    WRITE_CHAOS=1 uv run pytest -n 0 tests/scale/test_chaos.py tests/scale/test_rolling_restart.py

# Ask a service for all that docs/reference/openapi.json offers, and for what it rules out; it takes minutes.
conformance examples="200":
    OPENAPI_EXAMPLES={{examples}} uv run pytest -n 0 -o faulthandler_timeout=3600 tests/serve/test_every_documented_answer.py

# Send random requests, raw over sockets; a million take about ten minutes.
fuzz *args:
    PYTHONPATH=tests uv run python -m support.fuzz {{args}}

# What keys and limits cost a request and a token; see docs/performance.md.
guard *args:
    uv run python -m bench --only guard --targets streamsvc {{args}}

# What a token costs; see docs/performance.md. `just bench --quick` takes about a minute.
bench *args:
    uv run python -m bench {{args}}
