#!/usr/bin/env bash
# The tests under another Python, in a fresh environment with the newest packages or the oldest that pyproject.toml admits:
# scripts/check_python.sh PYTHON newest|oldest [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-} packages=${2:-}
[[ $python && $packages =~ ^(newest|oldest)$ ]] || { sed -n 2,3p "$0" >&2; exit 2; }
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
touch "$folder/newest"
grep -oE '"[a-z]+>=[0-9.]+"' pyproject.toml | sort -u | tr -d '"' | sed 's/>=/==/' >"$folder/oldest"
# Of the oldest matplotlib's age: newer ones warn of how it calls them.
echo 'pyparsing<3.2' >>"$folder/oldest"

"$python" -m venv "$folder/venv"
PATH=$folder/venv/bin:$PATH
export NUMBA_CACHE_DIR=$folder/numba
pip install --quiet --constraint "$folder/$packages" '.[test]'
python --version
pip list --format freeze | grep -E '^(numpy|numba|llvmlite|click|safetensors|tqdm)=' | paste -sd ' '
pytest -p no:cacheprovider "$@"
