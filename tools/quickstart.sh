#!/usr/bin/env bash
# From a bare checkout to pictures of both pretraining stages.
#
#   bash tools/quickstart.sh [arguments of tools/quickstart.py]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup_env.sh
exec "${VENV:-.venv}/bin/python" tools/quickstart.py "$@"
