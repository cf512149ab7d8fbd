#!/usr/bin/env bash
# What is published, as a user meets it: metadata, sizes, and a wheel made from the sdist that works without a network.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export NUMBA_CACHE_DIR=$folder/numba PIPX_HOME=$folder/pipx
python=${PYTHON:-python3}

at_most() { # MEGABYTES WHAT PATH...
    local size
    size=$(du -sck "${@:3}" | tail -n 1 | cut -f 1)
    echo "$2: $size KB"
    ((size <= $1 * 1024)) || { echo "$2 may have $1 MB" >&2; exit 1; }
}

"$python" -m venv "$folder/tools"
"$folder/tools/bin/pip" install --quiet build twine pipx
# The wheel is made from the sdist, not from this folder.
"$folder/tools/bin/python" -m build --outdir "$folder/dist" . >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
"$folder/tools/bin/twine" check --strict "$folder"/dist/*
at_most 1 'The wheel' "$folder"/dist/*.whl
at_most 2 'The sdist' "$folder"/dist/*.tar.gz
"$folder/tools/bin/pipx" run --spec . fastlstm --help | head -n 1

# All that a user downloads; the largest part, LLVM, is three times as large when it is unpacked.
"$folder/tools/bin/pip" download --quiet --dest "$folder/wheels" "$folder"/dist/*.whl
at_most 150 'All wheels together' "$folder/wheels"
"$python" -m venv --without-pip "$folder/user"
"$folder/tools/bin/pip" --python "$folder/user" install --quiet --no-index --find-links "$folder/wheels" fastlstm
echo "Installed: $(du -sk "$folder/user" | cut -f 1) KB"

# Neither a network nor the sources are in reach from here.
cd "$folder"
PATH=$folder/user/bin:$PATH
unshare --map-root-user --net bash -euc '
    fastlstm train --steps 60 --hidden 32 --embedding 16 --out run
    fastlstm sample run -n 5 --novel --seed 1
    fastlstm eval run --name anna
    fastlstm info run
    fastlstm export run page.html --with-index'
