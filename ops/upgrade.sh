#!/bin/sh
# Another version in one command, and back in one.
#
#   ops/upgrade.sh REF           backup, check REF out, install it, check the settings with it
#   ops/upgrade.sh --back        the version before, and the data as it was before the last upgrade
#
# Stop the stack first, start it afterwards. Files of older versions are migrated when they are opened; a newer
# file is never opened by an older version, so the way back puts the backup in its place. What was traded since
# then is in DATA_DIR.before-restore, and the exchange knows it.
set -eu
cd "$(dirname "$0")/.."
PY=${PYTHON:-.venv/bin/python}
NOTE=.upgrade

fail() {
    echo "upgrade: $*" >&2
    exit 2
}

[ $# -eq 1 ] || fail "expected a version (git tag, branch or commit), or --back"
[ -z "$(git status --porcelain --untracked-files=no)" ] || fail "files of the project are changed here: commit or undo that first"
before=$(git rev-parse HEAD)

if [ "$1" = --back ]; then
    [ -f "$NOTE" ] || fail "no upgrade was made here"
    read -r target backup <"$NOTE"
    "$PY" -m bus restore "$backup"
    git checkout --quiet "$target"
    make install
    mv "$NOTE" "$NOTE.done"
    echo "upgrade: back at $target, with the data of $backup"
    exit 0
fi

target=$(git rev-parse --verify --quiet "$1^{commit}") || fail "got $1, expected a version that git knows: git fetch --tags"
# Processes that are started again meanwhile would be of two versions.
runs=$("$PY" -c 'import os; from pathlib import Path; from bus.process import locks, settings
print(locks.holder(settings.Settings.load(os.environ, Path.cwd()).run_dir, locks.STACK) or "")' 2>/dev/null || true)
[ -z "$runs" ] || fail "kalshi-bus runs, pid $runs: stop it first"
backup="$(pwd)/.backups/$(date -u +%Y%m%dT%H%M%SZ)-$(git rev-parse --short HEAD)"
mkdir -p -m 700 .backups
"$PY" -m bus backup "$backup"
echo "$before $backup" >"$NOTE"
git checkout --quiet "$target"
make install
"$PY" -m bus config >/dev/null || fail "this version refuses the settings: see above; back with ops/upgrade.sh --back"
echo "upgrade: at $target; back with ops/upgrade.sh --back"
