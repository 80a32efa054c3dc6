#!/usr/bin/env bash
# Reel: install what is missing, build, and run the demo or the tests. Safe to repeat.
#   ./setup.sh demo    renders experiments/establishing_shot.toml on 2 ranks
#   ./setup.sh test    builds and runs the tests, then the unit tests again under sanitizers
#   ./setup.sh build   only installs and builds
#   ./setup.sh fuzz    libFuzzer on all that reads foreign files (clang; hours)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '\n== %s\n' "$*"; }

# Debian/Ubuntu package | Spack package or module | how to see that it is there
needs='
g++|gcc@12:|command:g++
cmake|cmake@3.25:|command:cmake
ninja-build|ninja|command:ninja
pkg-config|pkgconf|command:pkg-config
libopenmpi-dev|openmpi@4.1:|command:mpicxx
openmpi-bin|openmpi@4.1:|command:mpirun
libtbb-dev|intel-oneapi-tbb|header:tbb/parallel_for.h
libxsimd-dev|xsimd@8:|header:xsimd/xsimd.hpp
libhdf5-dev|hdf5@1.10: +hl|command:h5cc
hdf5-tools|hdf5@1.10: +tools|command:h5dump
libbenchmark-dev|benchmark|header:benchmark/benchmark.h
libgtest-dev|googletest|header:gtest/gtest.h
libcli11-dev|cli11|header:CLI/CLI.hpp
libtomlplusplus-dev|tomlplusplus|header:toml++/toml.h
nlohmann-json3-dev|nlohmann-json|header:nlohmann/json.hpp
libfmt-dev|fmt|header:fmt/format.h
libsentencepiece-dev|sentencepiece|header:sentencepiece_processor.h
libutf8proc-dev|utf8proc|header:utf8proc.h
libavformat-dev|ffmpeg|pkg:libavformat
libavcodec-dev|ffmpeg|pkg:libavcodec
libswscale-dev|ffmpeg|pkg:libswscale
libopencv-core-dev|opencv@4.5:|header:opencv2/core.hpp
libopencv-imgproc-dev|opencv@4.5: +imgproc|header:opencv2/imgproc.hpp
libbox2d-dev|box2d|header:box2d/box2d.h
librandom123-dev|random123|header:Random123/philox.h
libboost-dev|boost|header:boost/math/special_functions/beta.hpp
libssl-dev|openssl|pkg:libcrypto
python3-h5py|py-h5py|python:h5py
python3-pandas|py-pandas|python:pandas
python3-xarray|py-xarray|python:xarray
python3-h5netcdf|py-h5netcdf|python:h5netcdf
'

present() {
  case "$1" in
    command:*) command -v "${1#*:}" >/dev/null 2>&1 ;;
    pkg:*) pkg-config --exists "${1#*:}" 2>/dev/null ;;
    python:*) /usr/bin/env python3 -c "import ${1#*:}" >/dev/null 2>&1 || /usr/bin/python3 -c "import ${1#*:}" >/dev/null 2>&1 ;;
    header:*) printf '#include <%s>\n' "${1#*:}" | "${CXX:-g++}" -std=c++20 -I/usr/include/opencv4 -E -x c++ - >/dev/null 2>&1 ;;
  esac
}

missing() { # column of every need that is not there
  while IFS='|' read -r package spack probe; do
    [ -n "$package" ] || continue
    present "$probe" || printf '%s\n' "$([ "$1" = 1 ] && printf '%s' "$package" || printf '%-24s spack: %s' "$package" "$spack")"
  done <<<"$needs"
}

apt_install() { # packages...
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo -n)
  "${root[@]}" apt-get update -qq &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

install() {
  say "looking for what Reel needs"
  local packages
  packages=$(missing 1)
  if [ -z "$packages" ]; then echo "all there"; return; fi
  if command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then
    echo "installing: $(tr '\n' ' ' <<<"$packages")"
    # shellcheck disable=SC2086
    apt_install $packages
    packages=$(missing 1)
    [ -z "$packages" ] && return
  fi
  echo "missing, and not to be installed from here (Debian package, Spack package or module of that name):" >&2
  missing 2 >&2
  exit 4
}

# What some tests need beside that: a browser for the report, a second opinion on videos, a Slurm of their own.
optional='
chromium|command:chromium
ffmpeg|command:ffprobe
slurm-wlm|command:slurmctld
munge|command:munged
procps|command:pkill
'

install_optional() { # where that is not possible, those tests are skipped and say so
  local package probe packages=()
  while IFS='|' read -r package probe; do
    [ -z "$package" ] || PATH=$PATH:/usr/sbin present "$probe" || packages+=("$package")
  done <<<"$optional"
  [ "${#packages[@]}" = 0 ] && return
  say "for some of the tests: ${packages[*]}"
  apt_install "${packages[@]}" >/dev/null 2>&1 || echo "not to be installed from here; tests that need them are skipped"
}

jobs() { # one compiler per core, and 1.5 GB of memory for each
  local cores memory
  cores=$(nproc)
  memory=$(awk '/MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)
  [ "$memory" -lt 1 ] && memory=1
  echo $((cores < memory ? cores : memory))
}

build() { # preset, targets...
  local preset=$1
  shift
  say "building ($preset)"
  cmake --preset "$preset" -Wno-dev >"build-$preset.log" 2>&1 || { cat "build-$preset.log" >&2; exit 70; }
  rm -f "build-$preset.log"
  cmake --build --preset "$preset" -j "$(jobs)" -- "$@"
}

launch() { # ranks, command...
  local ranks=$1
  shift
  # More ranks than cores is fine here: waiting ranks give way.
  OMPI_MCA_mpi_yield_when_idle=1 mpirun --oversubscribe --bind-to none -n "$ranks" "$@"
}

if [ "$(id -u)" = 0 ]; then # containers and CI: Open MPI wants to hear that this is meant
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

case "${1:-}" in
  build)
    install
    build release reel
    ;;
  demo)
    install
    build release reel
    say "rendering experiments/establishing_shot.toml on 2 ranks"
    launch 2 build/release/reel run experiments/establishing_shot.toml
    ;;
  test)
    install
    install_optional
    build release
    say "tests"
    ctest --preset release -LE long -j "$(nproc)"
    say "unit tests under address and undefined-behaviour sanitizers"
    build asan unit_tests
    ctest --preset asan -L unit -j "$(nproc)"
    ;;
  fuzz)
    install
    command -v clang++ >/dev/null || { echo "fuzzing needs clang++ (Debian: clang)" >&2; exit 4; }
    build fuzz fuzzers
    say "fuzzing"
    [ ! -d /dev/shm ] || export TMPDIR=/dev/shm  # millions of small files, some of them synced
    ctest --preset fuzz -L fuzz -V -j "$(nproc)"
    ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
