#!/usr/bin/env bash
# The tests as an older CPU would run them: scripts/check_target.sh sse2|avx2 [arguments of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."

sse2=+cx8,+fxsr,+mmx,+sse,+sse2,+x87
avx2=$sse2,+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave
case ${1:-} in
    sse2) export NUMBA_CPU_NAME=x86-64 NUMBA_CPU_FEATURES=$sse2 ;;
    avx2) export NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=$avx2 ;;
    *) sed -n 2p "$0" >&2; exit 2 ;;
esac
shift
# Beside what is compiled for this CPU, not in its place.
NUMBA_CACHE_DIR=$(mktemp -d)
export NUMBA_CACHE_DIR
trap 'rm -rf "$NUMBA_CACHE_DIR"' EXIT
pytest "$@"
