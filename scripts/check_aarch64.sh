#!/usr/bin/env bash
# The tests as an AArch64 CPU runs them, emulated: scripts/check_aarch64.sh FOLDER [arguments of pytest]
# FOLDER keeps the emulator, a Python and its packages (700 MB) for the next time. Needs Debian's or Ubuntu's apt, and pip.
# CPU=neoverse-n1, cortex-a72, max… names the CPU that is emulated.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { sed -n 2p "$0" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
root=$folder/root site=$folder/site

set_up() {
    mkdir -p "$folder"/apt/lists/partial "$folder"/debs/partial
    touch "$folder/apt/status"
    # A package list and a status file of its own: nothing of the system's is read or changed.
    local apt=(-qq -o APT::Sandbox::User=root -o Dir::State="$folder/apt" -o Dir::State::lists="$folder/apt/lists"
        -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt" -o Dir::Cache::archives="$folder/debs")
    local arm=("${apt[@]}" -o APT::Architecture=arm64 -o APT::Architectures=arm64)
    apt-get "${apt[@]}" update
    (cd "$folder/debs" && apt-get "${apt[@]}" download qemu-user-static)
    dpkg --fsys-tarfile "$folder"/debs/qemu-user-static_*.deb | tar -x -C "$folder" ./usr/bin/qemu-aarch64-static
    rm "$folder"/debs/*.deb
    apt-get "${arm[@]}" update
    apt-get "${arm[@]}" -y --no-install-recommends --download-only install python3 libstdc++6 libatomic1
    for deb in "$folder"/debs/*.deb; do dpkg -x "$deb" "$root"; done

    local python packages
    python=$(cd "$root/usr/bin" && ls python3.*[0-9])
    mapfile -t packages < <("${PYTHON:-python3}" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["test"], sep="\n")')
    "${PYTHON:-python3}" -m pip install --quiet --target "$site" --only-binary=:all: --implementation cp \
        --python-version "${python#python}" --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 \
        --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 "${packages[@]}"
    # Children too are started by the wrapper: this machine cannot execute AArch64 by itself.
    printf 'import sys\nsys.executable = "%s/python"\n' "$folder" >"$site/sitecustomize.py"
    cat >"$folder/python" <<END
#!/bin/bash
export PYTHONPATH=\${PYTHONPATH:+\$PYTHONPATH:}$site PYTHONHOME=$root/usr
exec $folder/usr/bin/qemu-aarch64-static -L $root \${CPU:+-cpu \$CPU} $root/usr/bin/$python "\$@"
END
    chmod +x "$folder/python"
}

[ -x "$folder/python" ] || set_up
export PYTHONPATH=$PWD NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$folder/numba}
"$folder/python" -c '
import platform, sys
from fastlstm.engine.simd.target import compiled_for, target
print(platform.machine(), "Python", sys.version.split()[0], *compiled_for(), target(32))'
"$folder/python" -m pytest -p no:cacheprovider "$@"
