#!/usr/bin/env bash
# From a bare checkout to pictures of both pretraining stages of BIMM, at toy
# size, on real clips, on the CPU: every command as you would type it. Run
# again, it goes on where it was; to start anew, remove work_dirs/quickstart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup_env.sh
bin=${VENV:-.venv}/bin
export CUDA_VISIBLE_DEVICES=-1
# Threads that wait must sleep: if they spin and another program wants the
# cores, steps this small take ten times as long.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

python() {
    echo "python $*"
    "$bin/python" "$@"
}

home=work_dirs/quickstart
python tools/prepare_quickstart_data.py $home/data
# SAM's weights are 375 MB and more.
python tools/extract_contours.py $home/data --out $home/contours \
    --detector sobel --device cpu
for stage in ventral joint; do
    config=configs/quickstart/pretrain_$stage.py
    run=$home/pretrain_$stage
    python tools/train.py $config --resume
    python tools/visualize.py $config $run --out $run/trained --split train --num 8
    python tools/visualize.py $config $run --out $run/held_out
    "$bin/bimm" report $run
done
