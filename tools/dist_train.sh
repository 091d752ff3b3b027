#!/usr/bin/env bash
# Train with several processes: one per GPU, or over gloo without a GPU.
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Environment: PORT, NNODES, NODE_RANK, MASTER_ADDR.
set -euo pipefail
if (($# < 2)); then
    sed -n '2,4p' "$0" >&2
    exit 2
fi
source "$(dirname "$0")/_python.sh"
# shellcheck disable=SC2046  # the flags hold no spaces
exec "$PYTHON" -m torch.distributed.run $(torchrun_flags "$2") \
    "$ROOT/tools/train.py" "$1" --launcher pytorch "${@:3}"
