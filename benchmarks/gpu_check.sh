#!/usr/bin/env bash
# What this project does on one GPU: the environment, the tests that compare
# GPU and CPU, a short training, every benchmark. At most 18 minutes.
#
#   bash benchmarks/gpu_check.sh OUT [STEP ...]
#
# Each step ends after a time limit and leaves OUT/STEP.log, a benchmark also
# OUT/STEP.json. BATCH=8 is for a small GPU; the tests need pytest-xdist.
set -u
[[ $# != 0 ]] || { echo 'usage: gpu_check.sh OUT [STEP ...]' >&2; exit 2; }
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift
chosen=" ${*:-all} "
batch=${BATCH:-32} rounds=${ROUNDS:-9} device=${DEVICE:-cuda}
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
failed=0

step() { # NAME SECONDS COMMAND...
    local name=$1 limit=$2 begin=$SECONDS code=0
    shift 2
    [[ $chosen == *" all "* || $chosen == *" $name "* ]] || return 0
    timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1 || code=$?
    [[ $code == 0 ]] || failed=1
    printf '\n== %s: exit code %s after %s s\n' "$name" "$code" \
        $((SECONDS - begin)) | tee -a "$out/summary.txt"
    grep -v -i warn "$out/$name.log" | tail -n 20
}

bench() { # NAME SECONDS BENCHMARK OPTIONS...
    local name=$1 limit=$2 module=$3
    shift 3
    step "$name" "$limit" python3 -m "benchmarks.$module" --device "$device" \
        --rounds "$rounds" --json "$out/$name.json" "$@"
}

train() { # one epoch of the quickstart, without stage 1, and on to a second
    local work=$out/train
    python3 -c 'import sys; sys.path.insert(0, "tools")
from prepare_quickstart_data import prepare
prepare("work_dirs/quickstart/data")' || return
    for epochs in 1 2; do
        python3 tools/train.py configs/quickstart/pretrain_joint.py \
            --contours sobel --amp --resume \
            --work-dir "$work" --cfg-options model.ventral_checkpoint=None \
            train_cfg.max_epochs=$epochs || return
    done
    rm -rf "$work"/*.pth
}
export out
export -f train

{
    date -u
    git rev-parse HEAD
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
} 2>&1 | tee "$out/summary.txt"
step doctor 60 python3 -m bimm_mm.doctor
step tests 200 python3 -m pytest -q -n 8 -p no:cacheprovider tests/golden \
    tests/models tests/targets tests/compat/test_mmcv_ops.py
bench joint_bf16 90 joint_step --batch "$batch" --amp
bench finetune_bf16 60 finetune_step --batch $((batch / 2)) --amp
bench sam_fp16 90 sam --points 16 --frames 4 --dtype fp16
step train 90 bash -c train
bench targets 45 targets --batch "$batch"
bench joint_tf32 90 joint_step --batch "$batch" --tf32
bench finetune_tf32 60 finetune_step --batch $((batch / 2)) --tf32
bench sam_fp32 90 sam --points 16 --frames 4 --points-per-batch 256
bench joint_compiled 150 joint_step --batch "$batch" --amp --compile \
    --warmup 2
cat "$out/summary.txt"
exit $failed
