#!/usr/bin/env bash
# The tests as another CPU would run them: scripts/check_target.sh sse2|avx2|portable|avx512|amx [arguments of pytest]
# The last three are ways to multiply in precision bf16: the second needs the CPU, and AMX is done in software.
set -euo pipefail
cd "$(dirname "$0")/.."

sse2=+cx8,+fxsr,+mmx,+sse,+sse2,+x87
avx2=$sse2,+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave
case ${1:-} in
    sse2) export NUMBA_CPU_NAME=x86-64 NUMBA_CPU_FEATURES=$sse2 ;;
    avx2) export NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=$avx2 ;;
    portable | avx512) export FASTLSTM_BF16=$1 ;;
    amx) set -- "$1" -p software_amx "${@:2}" ; export PYTHONPATH=tests${PYTHONPATH:+:$PYTHONPATH} ;;
    *) sed -n 2,3p "$0" >&2; exit 2 ;;
esac
shift
# Beside what is compiled for this CPU, not in its place.
NUMBA_CACHE_DIR=$(mktemp -d)
export NUMBA_CACHE_DIR
trap 'rm -rf "$NUMBA_CACHE_DIR"' EXIT
pytest "$@"
