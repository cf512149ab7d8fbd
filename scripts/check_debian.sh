#!/usr/bin/env bash
# The tests where this machine's own Python does not run them: scripts/check_debian.sh arm64|sid FOLDER [arguments of pytest]
# arm64: as an AArch64 CPU runs them, emulated (CPU=neoverse-n1, cortex-a72, max… names the CPU).
# sid: with the newest Python that Debian has.
# FOLDER keeps a Python and its packages (700 MB) for the next time. Needs Debian's apt (for arm64 Ubuntu's will do), and pip.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $# -ge 2 && $1 =~ ^(arm64|sid)$ ]] || { sed -n 2,5p "$0" >&2; exit 2; }
kind=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2
root=$folder/root site=$folder/site

set_up() {
    mkdir -p "$folder"/apt/lists/partial "$folder"/debs/partial
    touch "$folder/apt/status"
    # A package list and a status file of its own: nothing of the system's is read or changed.
    local apt=(-qq -o APT::Sandbox::User=root -o Dir::State="$folder/apt" -o Dir::State::lists="$folder/apt/lists"
        -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt" -o Dir::Cache::archives="$folder/debs")
    local other=("${apt[@]}") machine start
    if [ "$kind" = arm64 ]; then
        apt-get "${apt[@]}" update
        (cd "$folder/debs" && apt-get "${apt[@]}" download qemu-user-static)
        dpkg --fsys-tarfile "$folder"/debs/qemu-user-static_*.deb | tar -x -C "$folder" ./usr/bin/qemu-aarch64-static
        rm "$folder"/debs/*.deb
        other+=(-o APT::Architecture=arm64 -o APT::Architectures=arm64)
        machine=aarch64 start="$folder/usr/bin/qemu-aarch64-static -L $root \${CPU:+-cpu \$CPU}"
    else
        echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main' \
            >"$folder/sources.list"
        other+=(-o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=-)
        machine=$(uname -m) libraries="$root/usr/lib/$(uname -m)-linux-gnu"
        start="$libraries/ld-linux-${machine/_/-}.so.2 --library-path $libraries"
    fi
    apt-get "${other[@]}" update
    apt-get "${other[@]}" -y --no-install-recommends --download-only install python3 libstdc++6 libatomic1
    for deb in "$folder"/debs/*.deb; do dpkg -x "$deb" "$root"; done

    local python packages platforms
    python=$(cd "$root/usr/bin" && ls python3.*[0-9])
    platforms=(--platform "manylinux2014_$machine")
    for glibc in 17 27 28; do platforms+=(--platform "manylinux_2_${glibc}_$machine"); done
    mapfile -t packages < <("${PYTHON:-python3}" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["test"], sep="\n")')
    "${PYTHON:-python3}" -m pip install --quiet --target "$site" --only-binary=:all: --implementation cp \
        --python-version "${python#python}" "${platforms[@]}" "${packages[@]}"
    # Children too are started by the wrapper: by itself this machine cannot start that Python. A frozen site.py is not read.
    printf '\nsys.executable = "%s/python"\n' "$folder" >>"$root/usr/lib/$python/site.py"
    cat >"$folder/python" <<END
#!/bin/sh
export PYTHONPATH=\${PYTHONPATH:+\$PYTHONPATH:}$site PYTHONHOME=$root/usr
exec $start $root/usr/bin/$python -X frozen_modules=off "\$@"
END
    chmod +x "$folder/python"
}

[ -x "$folder/python" ] || set_up
# Its metadata; the modules are those of this folder, which stands before.
"${PYTHON:-python3}" -m pip install --quiet --no-deps --upgrade --target "$site" .
export PYTHONPATH=$PWD NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$folder/numba}
"$folder/python" -c '
import platform, sys
from fastlstm.engine.simd.target import compiled_for, target
print(platform.machine(), "Python", sys.version.split()[0], *compiled_for(), target(32))'
"$folder/python" -m pytest -p no:cacheprovider "$@"
