#!/usr/bin/env bash
# Makes the environment (.venv) from nothing, or brings it up to date.
#
#   bash tools/setup_env.sh [--check]
#
# --check changes nothing: it says whether the environment is complete.
# Variables: PYTHON (which Python), VENV (where), BIMM_WHEELS (where mmcv's
# compiled wheels are kept), BIMM_CUDA=0|1 (ops without or with CUDA),
# MAX_JOBS (compilers at a time); pip's and torch's own variables work too.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$ROOT/tools/env_lib.sh"
VENV=${VENV:-$ROOT/.venv}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
WHEELS=${BIMM_WHEELS:-${XDG_CACHE_HOME:-$HOME/.cache}/bimm_mm/wheels}
LOG=$VENV/setup.log
REQ=$ROOT/requirements
PINNED=("$REQ/build.txt" "$REQ/runtime.txt" "$REQ/optional.txt" "$REQ/ray.txt" "$REQ/tests.txt")
STEPS=6
# These send packages, or the search for them, outside the environment.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
export PIP_DISABLE_PIP_VERSION_CHECK=1

pin() { sed -n "s/^$1==//p" "${PINNED[@]}"; }

py() { "$VENV/bin/python" "$@"; }

# What the environment was made from; compared on the next run.
fingerprint() {
    local device=cpu
    wants_cuda && device=cuda
    py -c 'import sys; print(sys.version)' 2>/dev/null || true
    say "$ROOT $device"
    cat "$REQ"/*.txt
}

is_complete() {
    [ -x "$VENV/bin/python" ] || { say "there is no environment at $VENV"; return 1; }
    [ "$(fingerprint | sha256sum)" = "$(cat "$VENV/.bimm_setup" 2>/dev/null)" ] ||
        { say "the environment was not finished, or the requirements have changed"; return 1; }
    py "$ROOT/tools/check_env.py" "${PINNED[@]}" 2>&1
}

# Folder name of a wheel: pip's own cache would hand a wheel built for another
# torch to this environment, which then fails with an undefined symbol.
wheel_tag() {
    local device=cpu
    wants_cuda && device=$(py -c 'import torch; print("cu" + (torch.version.cuda or "").replace(".", ""))')
    say "cp${1/./}-torch$(pin torch)-$device"
}

has_wheel() { compgen -G "$WHEELS/cp${1/./}-torch$(pin torch)-$2/mmcv-$(pin mmcv)-*.whl" >/dev/null; }

check_machine() {
    local size=0 device=cpu
    wants_cuda && device='cu[0-9]*'
    check_git
    has_wheel "$VERSION" "$device" || check_compiler "$BASE"
    [ -d "$VENV/lib" ] && size=$(du -sk "$VENV" | awk '{print int($1 / 1048576)}')
    check_space "$VENV" $((size < 7 ? 7 - size : 1)) "${TMPDIR:-/tmp}" 4 "$WHEELS" 1
}

make_venv() {
    [ -x "$VENV/bin/python" ] || run_step 'creating the virtual environment' "$BASE" -m venv "$VENV"
    py "$ROOT/tools/check_env.py" --forget | tee -a "$LOG"
    py -m pip --version >/dev/null 2>&1 || run_step 'installing pip' py -m ensurepip
    run_step 'installing the build tools' py -m pip install -r "$REQ/build.txt"
}

# install LABEL ARGUMENT...: no other package may replace a pinned one.
install() {
    local label=$1 file limits=(-c "$REQ/constraints.txt")
    shift
    for file in "${PINNED[@]}"; do limits+=(-c "$file"); done
    run_step "$label" py -m pip install --progress-bar off "${limits[@]}" "$@"
}

check_cuda() {
    local home nvcc torch
    home=${CUDA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")}
    [ -e "$home/include/cuda_runtime.h" ] || home=/usr/local/cuda
    export CUDA_HOME=$home
    nvcc=$("$home/bin/nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')
    torch=$(py -c 'import torch; print(torch.version.cuda)')
    [ "${nvcc%%.*}" = "${torch%%.*}" ] ||
        die "torch was built for CUDA $torch but nvcc is of CUDA ${nvcc:-unknown}: set CUDA_HOME to CUDA ${torch%%.*}, or BIMM_CUDA=0 to build mmcv's ops for the CPU."
}

build_wheel() {
    local target=$1 jobs
    # MMCV builds for CUDA wherever it sees a GPU, also where nvcc is missing.
    local cuda=(FORCE_CUDA=0 CUDA_VISIBLE_DEVICES=)
    if wants_cuda; then
        check_cuda
        cuda=(FORCE_CUDA=1)
        # Machine code for the GPUs seen, and PTX for later ones.
        [ -n "${TORCH_CUDA_ARCH_LIST:-}" ] || cuda+=(TORCH_CUDA_ARCH_LIST="$(py -c \
            'import torch; print("%d.%d+PTX" % min(torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())))')")
    fi
    jobs=$(awk -v cores="$(nproc)" '/MemAvailable/ {n = int($2 / 2097152); print n < 1 ? 1 : (n < cores ? n : cores)}' /proc/meminfo)
    mkdir -p "$target"
    temporary=$(mktemp -d "$target/.building.XXXXXX")
    trap 'rm -rf "$temporary"' EXIT
    run_step "compiling mmcv's ops" env MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-$jobs}" "${cuda[@]}" \
        "$VENV/bin/python" -m pip wheel -v --no-build-isolation --no-cache-dir --no-deps \
        --no-binary mmcv -w "$temporary" "mmcv==$(pin mmcv)"
    # Renamed when complete, so that no other setup finds half a wheel.
    mv "$temporary"/mmcv-*.whl "$target/"
    rmdir "$temporary"
}

# Only a wheel built for this very torch can be loaded.
ops_load() {
    py -c 'import ctypes, sysconfig, torch; from pathlib import Path
[so] = Path(sysconfig.get_path("platlib"), "mmcv").glob("_ext*.so"); ctypes.CDLL(str(so))' >>"$LOG" 2>&1
}

install_mmcv() {
    local target
    target=$WHEELS/$(wheel_tag "$VERSION")
    if compgen -G "$target/mmcv-$(pin mmcv)-*.whl" >/dev/null; then
        say "  compiled before, kept in $target"
    else
        build_wheel "$target"
    fi
    ops_load || install 'installing mmcv' --no-deps --force-reinstall "$target"/mmcv-"$(pin mmcv)"-*.whl
    ops_load && return
    say '  the wheel kept from before does not fit: compiling it again'
    rm -f "$target"/mmcv-"$(pin mmcv)"-*.whl
    build_wheel "$target"
    install 'installing mmcv' --no-deps --force-reinstall "$target"/mmcv-"$(pin mmcv)"-*.whl
}

step() {
    STEP=$((${STEP:-0} + 1))
    say "[$STEP/$STEPS] $*"
}

main() {
    local why
    if why=$(is_complete); then
        say "environment ready: $VENV"
        return
    fi
    [ "${1:-}" != --check ] || die "$(head -n 1 <<<"$why"): run 'bash tools/setup_env.sh'."
    BASE=$VENV/bin/python
    if ! "$BASE" -c 'import venv' 2>/dev/null || [ -n "${PYTHON:-}" ]; then BASE=$(find_python); fi
    VERSION=$(version_of "$BASE")
    if [ -L "$VENV/bin/python" ] && [ "$(version_of "$VENV/bin/python")" != "$VERSION" ]; then
        die "$VENV was made with another Python than $VERSION: remove that folder, or set VENV to a new one."
    fi
    check_machine
    mkdir -p "$VENV"
    exec 9>"$VENV/.lock"
    if command -v flock >/dev/null && ! flock -n 9; then
        say 'another setup of this environment is running: waiting for it'
        flock 9
    fi
    say "Python $VERSION, environment $VENV, log $LOG"
    step 'virtual environment (10 s)'
    make_venv
    step "torch $(pin torch) (3 GB to download; 2 to 5 minutes)"
    install 'installing torch' "torch==$(pin torch)" "torchvision==$(pin torchvision)"
    step "mmcv $(pin mmcv) with its ops (compiled once: 6 to 10 minutes on 2 cores, longer for CUDA)"
    install_mmcv
    step 'the other libraries (1 to 2 minutes)'
    install 'installing the libraries' -r "$REQ/runtime.txt" -r "$REQ/optional.txt" -r "$REQ/ray.txt" -r "$REQ/tests.txt"
    step 'this package'
    run_step 'installing bimm_mm' py -m pip install --no-deps --no-build-isolation -e "$ROOT"
    step 'check'
    run_step 'the check' py "$ROOT/tools/check_env.py" "${PINNED[@]}"
    fingerprint | sha256sum >"$VENV/.bimm_setup"
    say "environment ready: $VENV"
}

main "$@"
