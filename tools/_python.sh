# Sourced by the launchers. Sets PYTHON: the active environment's, or .venv's
# where none is active, and makes this checkout importable.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" && -x "$ROOT/.venv/bin/python" ]]
then
    PYTHON=$ROOT/.venv/bin/python
else
    PYTHON=python
fi
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"

# torchrun's own choices, and OpenMMLab's names for them.
torchrun_flags() {
    echo --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" --nproc_per_node="$1"
}
