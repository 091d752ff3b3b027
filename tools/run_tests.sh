#!/usr/bin/env bash
# Environment, lint, tests; arguments go to pytest.
#
#   bash tools/run_tests.sh [-k masking] [tests/targets] ...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup_env.sh
bin=${VENV:-.venv}/bin
"$bin/ruff" check .
"$bin/ruff" format --check .
"$bin/codespell" .
exec "$bin/python" -m pytest "$@"
