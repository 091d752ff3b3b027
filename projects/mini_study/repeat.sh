#!/usr/bin/env bash
# Repeat the tables of docs/results.md with two processes of one thread.
#
#   bash projects/mini_study/repeat.sh CLIPS PICTURES OUT
#
# CLIPS has a folder of videos per class, PICTURES has train/CLASS and
# val/CLASS of JPEG files. Stopped, the same command goes on.
set -euo pipefail
: "${3:?give three folders: CLIPS PICTURES OUT}"
clips=$(realpath "$1") pictures=$(realpath "$2") out=$(realpath -m "$3")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
# Whatever runs saves and ends.
trap 'trap "" TERM; kill 0; wait; exit 130' INT TERM

videos() {
    python -m projects.mini_study.run "$out/videos" --pretrain-on all \
        --size cpu --home "$out/home_videos" "$@"
}
images() {
    python -m projects.mini_study.run "$out/images" \
        --size cpu_images --home "$out/home_images" --methods mae bimm_ventral
}
main_methods=(--methods videomae bimm_dorsal bimm)
# All targets behind the last block (Table 7d): for its tuning alone.
late=(--methods separation_12 --pretrain-only --seeds 0)

bimm data scan "$clips" --out "$out/videos" --frames 8 --short-side 96 --every 2
python -m projects.mini_study.pictures "$pictures" --out "$out/pictures"
bimm data scan "$out/pictures" --labels "$out/pictures/labels.csv" \
    --frames 1 --out "$out/images"
(images && videos "${late[@]}" && videos "${main_methods[@]}" --seeds 2 1 0) &
videos "${main_methods[@]}" --seeds 0 1 2 &
wait
# What failed, or one process left to the other.
videos "${main_methods[@]}"
images
for side in videos images; do
    python -m projects.mini_study.report "$out/home_$side" \
        --out "$out/results_$side"
done
runs=$out/home_videos/seed0-all
bimm tuning "$runs"/{bimm,videomae,bimm_dorsal,separation_12} --out "$out/tuning"
