#!/usr/bin/env bash
# Test with several processes: one per GPU, or over gloo without a GPU.
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Environment: PORT, NNODES, NODE_RANK, MASTER_ADDR.
set -euo pipefail
if (($# < 3)); then
    sed -n '2,4p' "$0" >&2
    exit 2
fi
source "$(dirname "$0")/_python.sh"
# shellcheck disable=SC2046  # the flags hold no spaces
exec "$PYTHON" -m torch.distributed.run $(torchrun_flags "$3") \
    "$ROOT/tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"
