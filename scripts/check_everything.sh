#!/usr/bin/env bash
# Lint, format, types and tests, with the Python environment that is active. Arguments go to pytest.
# Needs the extras `dev` and, for the parity tests, `bench`.
set -euo pipefail
cd "$(dirname "$0")/.."

ruff check .
ruff format --check .
pyright
pytest "$@"
