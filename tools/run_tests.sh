#!/usr/bin/env bash
# Environment, lint, types, tests; arguments go to pytest.
#
#   bash tools/run_tests.sh [-k masking] [tests/targets] ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup_env.sh
bin=${VENV:-.venv}/bin
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/codespell" .
"$bin/mypy"
# Threads that spin while they wait cost more than they win wherever anything
# else runs beside them, two test processes for example.
export OMP_WAIT_POLICY=passive
# One process per core; the tests of a file share what the file prepares.
exec "$bin/python" -m pytest -n auto --maxprocesses 8 --dist loadfile "$@"
