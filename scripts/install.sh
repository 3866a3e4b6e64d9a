#!/usr/bin/env bash
# Build .venv and install one requirements file into it, or say in a sentence what is in the way.
# usage: PYTHON=python3 install.sh requirements.txt .venv/run.stamp
set -u
requirements=$1 stamp=$2 python=${PYTHON:-python3}

say() { echo "vitrine: $*"; }
stop() { say "$*" >&2; exit 1; }

command -v "$python" >/dev/null || stop "there is no $python. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12 …"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "$("$python" --version) is too old; Python 3.11 or newer is needed. Name one: make PYTHON=python3.12 …"
free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
[ "$free_mb" -ge 3000 ] || [ -d .venv ] || stop "only $free_mb MB are free here; the installation needs about 3,000 MB."

if [ ! -x .venv/bin/python ]; then
    say "building .venv with $("$python" --version)"
    "$python" -m venv .venv || stop "the virtual environment could not be built. On Debian: apt-get install python3-venv"
fi
say "installing $requirements (a few minutes the first time)"
log=.venv/install.log
if ! .venv/bin/python -m pip install --disable-pip-version-check -q -r "$requirements" >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    if grep -qiE 'No space left' "$log"; then stop "the disk is full. Free about 3,000 MB and run make again."; fi
    if grep -qiE 'resolve|connection|timed out|unreachable' "$log"; then
        stop "the packages could not be fetched. Installing needs a network once; afterwards none. Log: $log"
    fi
    stop "the installation failed. Log: $log"
fi
touch "$stamp"
[ "$requirements" = requirements-dev.txt ] && touch .venv/run.stamp
say "installed"
