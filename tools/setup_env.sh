#!/usr/bin/env bash
# bash tools/setup_env.sh: makes the environment (.venv), or brings it up to date.
#
# Variables: PYTHON (which Python), VENV (where); pip's own (PIP_INDEX_URL, ...)
# work too. Every failure ends with one sentence that says what to do.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REQ=$ROOT/requirements GB=10  # free disk
VENV=$(realpath -m "${VENV:-$ROOT/.venv}")
PY=$VENV/bin/python
LOG=$VENV/setup.log
# These send packages, or the search for them, outside the environment.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off

die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
# What the environment is made from; compared on the next run.
made_from() { { "$PY" -VV && echo "$ROOT" && cat "$REQ"/*.txt; } 2>/dev/null | sha256sum; }

# Prints the first usable Python. A shim can exist and still fail: run each.
find_python() {
    local name bare='' # found, but without venv
    local names=(python3.11 python3.12 python3.13 python3.10 python3)
    [ -z "${PYTHON:-}" ] || names=("$PYTHON")
    for name in "${names[@]}"; do
        "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue
        "$name" -c 'import venv, ensurepip' 2>/dev/null && command -v "$name" && return
        bare=$name
    done
    [ -z "$bare" ] || die "$bare lacks its venv module: install it (Debian, Ubuntu: sudo apt-get install python3-venv), then run this again."
    die "${PYTHON:-no installed Python} is not a working Python 3.10 to 3.13: install one, or name it with PYTHON=/path/to/python3.11."
}

# step TITLE COMMAND...: output into the log, a sign of life on the screen.
step() {
    local start=$SECONDS ticks=0 status=0 first child
    echo "$1" && shift
    printf '\n=== %s\n' "$*" >>"$LOG"
    first=$(wc -l <"$LOG")
    "$@" >>"$LOG" 2>&1 </dev/null 9>&- &
    child=$!
    trap 'kill "$child" 2>/dev/null; die "interrupted: run the same command again, pip keeps what it has downloaded."' INT TERM
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.5
        ((++ticks % 30)) || echo "  ... $((SECONDS - start)) s  $(tail -n 1 "$LOG" | cut -c 1-60)"
    done
    wait "$child" || status=$?
    ((status)) || return 0
    tail -n +"$first" "$LOG" | tail -n 15 >&2
    case $(tail -n +"$first" "$LOG") in
        *'No space left'*) die 'the disk ran full: free some space, or set VENV, TMPDIR or PIP_CACHE_DIR to folders on a larger disk.' ;;
        *NewConnectionError* | *'Max retries'* | *'Could not fetch'* | *'name resolution'* | *'Read timed out'* | *'No matching distribution'*) die 'pip could not get a package: check the network (or PIP_INDEX_URL, HTTPS_PROXY), then run this again.' ;;
    esac
    die "this step failed with exit code $status: the reason is above, and in full in $LOG."
}

main() {
    mkdir -p "$VENV"
    exec 9>"$VENV/.lock"
    flock -n 9 || { echo 'another setup of this environment is running: waiting for it'; flock 9; }
    if [ "$(made_from)" = "$(cat "$VENV/.bimm_setup" 2>/dev/null)" ]; then echo "environment ready: $VENV" && exit; fi
    free=$(($(df -Pk "$VENV" | awk 'END {print $4}') / 1048576))
    ((free + $(du -sk "$VENV" | cut -f 1) / 1048576 >= GB)) ||
        die "$VENV has $free GB free but setup needs $GB GB there: free some space, or set VENV to a folder on a larger disk."
    # An interrupted installation leaves packages that pip takes for whole.
    [ ! -e "$VENV/.unfinished" ] || rm -rf "$VENV/lib" "$VENV/bin"
    [ -x "$PY" ] && [ ! -e "$VENV/.bimm_setup" ] || touch "$VENV/.unfinished"
    rm -f "$VENV/.bimm_setup"
    if ! "$PY" -c 'import pip' 2>/dev/null; then
        python=$(find_python)
        step "[1/4] environment $VENV of $("$python" -V)" "$python" -m venv "$VENV"
    fi
    step '[2/4] libraries (3 GB to download, then 2 to 3 minutes)' "$PY" -m pip install -r "$REQ/runtime.txt" -r "$REQ/optional.txt" -r "$REQ/tests.txt" -c "$REQ/constraints.txt"
    step '[3/4] OpenMMLab and this package' "$PY" -m pip install --no-deps --no-build-isolation -r "$REQ/openmmlab.txt" -e "$ROOT"
    step '[4/4] check' "$PY" -m bimm_mm.doctor
    made_from >"$VENV/.bimm_setup" && rm -f "$VENV/.unfinished"
    echo "environment ready: $VENV"
}
main  # in a function: bash reads it whole, and the file may change
