# Sourced by setup_env.sh: messages, progress and the checks made beforehand.
# Every failure ends with one sentence that says what to do.

say() { printf '%s\n' "$*"; }

die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

elapsed() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# Compiling shows [done/all] of ninja, pip the package at hand.
activity() {
    tail -n +"$1" "$LOG" | tr '\r' '\n' |
        grep -oE '^ *\[[0-9]+/[0-9]+\]|^(Collecting|Downloading|Building|Installing)[^(]*' |
        tail -n 1 | sed 's/^ *//' | cut -c 1-50 || true
}

# run_step LABEL COMMAND...: output into the log, a sign of life on the screen.
run_step() {
    local label=$1 started=$SECONDS status=0 first child shown=0 every=30
    shift
    [ -t 1 ] && every=1
    printf '\n=== %s: %s\n' "$label" "$*" >>"$LOG"
    first=$(($(wc -l <"$LOG") + 1))
    # In a process group of its own, so that Ctrl-C can end its children too.
    set -m
    "$@" >>"$LOG" 2>&1 </dev/null 9>&- &
    child=$!
    set +m
    trap 'kill -TERM -- "-$child" 2>/dev/null
          die "interrupted: run the same command again, what is done is kept."' INT TERM
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.5
        if ((SECONDS - started >= shown + every)); then
            shown=$((SECONDS - started))
            if [ -t 1 ]; then
                printf '\r\033[K  %s  %s' "$(elapsed $shown)" "$(activity "$first")"
            else
                say "  ... $(elapsed $shown)  $(activity "$first")"
            fi
        fi
    done
    wait "$child" || status=$?
    trap - INT TERM
    [ -t 1 ] && printf '\r\033[K'
    if ((status != 0)); then
        tail -n +"$first" "$LOG" | grep -v 'WARNING: Location' | tail -n 15 >&2
        die "$(remedy "$label" "$first" $status)"
    fi
    say "  done in $(elapsed $((SECONDS - started)))"
}

# remedy LABEL FIRST_LINE STATUS: the sentence for what stands in the log.
remedy() {
    local log
    log=$(tail -n +"$2" "$LOG")
    case $log in
        *'No space left on device'*)
            say "the disk ran full: free some space, or set VENV, TMPDIR or BIMM_WHEELS to folders on a larger disk, then run this again." ;;
        *'NewConnectionError'* | *'Max retries exceeded'* | *'Could not fetch URL'* | \
            *'name resolution'* | *'Read timed out'* | *'No matching distribution'*)
            say "pip could not get a package: check the network (or PIP_INDEX_URL, HTTPS_PROXY), then run this again; what is done is kept." ;;
        *'Python.h: No such file'*)
            say "Python's C headers are missing: install them (Debian, Ubuntu: sudo apt-get install python3-dev), then run this again." ;;
        *'Killed signal'* | *'out of memory'*)
            say "the compiler ran out of memory: run this again with MAX_JOBS=1." ;;
        *)
            (($3 <= 128)) || { say "$1 was ended from outside (signal $(($3 - 128))): run the same command again, what is done is kept."; return; }
            say "$1 failed: the reason is above, and in full in $LOG." ;;
    esac
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Prints the first usable Python: PYTHON=, then those in PATH. A pyenv shim
# can exist and still fail, so each is run.
find_python() {
    local name version bare=''
    for name in ${PYTHON:-python3.11 python3.12 python3.10 python3 python}; do
        version=$(version_of "$name") || continue
        case $version in 3.10 | 3.11 | 3.12) ;; *) continue ;; esac
        if "$name" -c 'import venv, ensurepip' 2>/dev/null; then
            command -v "$name"
            return
        fi
        bare=$version
    done
    if [ -n "$bare" ]; then
        die "Python $bare lacks its venv module: install it (Debian, Ubuntu: sudo apt-get install python$bare-venv), then run this again."
    elif [ -n "${PYTHON:-}" ]; then
        die "PYTHON=$PYTHON is not a working Python 3.10, 3.11 or 3.12: name one that is."
    fi
    die "no Python 3.10, 3.11 or 3.12 was found: install one, or run this again with PYTHON=/path/to/python3.11."
}

check_git() {
    command -v git >/dev/null ||
        die "git was not found: install it (Debian, Ubuntu: sudo apt-get install git), then run this again."
}

# check_compiler PYTHON: only needed where mmcv is not compiled yet.
check_compiler() {
    "${CXX:-c++}" --version >/dev/null 2>&1 ||
        die "no C++ compiler was found and mmcv has to be compiled once: install one (Debian, Ubuntu: sudo apt-get install g++), then run this again."
    "$1" -c 'import os, sysconfig; open(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null ||
        die "Python's C headers are missing and mmcv has to be compiled once: install them (Debian, Ubuntu: sudo apt-get install python3-dev), then run this again."
}

# check_space DIR GB DIR GB ...: needs on one file system add up.
check_space() {
    local -A need=() free=() at=()
    local dir line device
    while (($#)); do
        dir=$1
        while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
        line=$(df -Pk "$dir" | tail -n 1)
        device=${line%% *}
        free[$device]=$(awk '{print int($4 / 1048576)}' <<<"$line")
        need[$device]=$((${need[$device]:-0} + $2))
        at[$device]=${at[$device]:-$1}
        shift 2
    done
    for device in "${!need[@]}"; do
        ((free[$device] >= need[$device])) ||
            die "${at[$device]} has ${free[$device]} GB free but setup needs ${need[$device]} GB there: free some space, or set VENV, TMPDIR or BIMM_WHEELS to folders on a larger disk."
    done
}

# True where mmcv's ops are to be built for CUDA; BIMM_CUDA=0 or 1 decides.
wants_cuda() {
    case ${BIMM_CUDA:-} in 0) return 1 ;; 1) return 0 ;; esac
    command -v nvcc >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'
}
