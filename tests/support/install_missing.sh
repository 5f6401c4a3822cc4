#!/usr/bin/env bash
# install_missing.sh <thing>...: installs with apt-get those of the things that this machine lacks.
# Things are compiler, cmake, ninja, boost, catch2, benchmark, qhull, numpy, joblib, zlib, bzip2,
# lzma, lz4, eigen, xtensor, clang-19, libcxx-19, aarch64 and riscv64 (cross-compiler and emulator).
# Prints nothing if none is missing.
set -euo pipefail

have_command() { command -v "$1" >/dev/null; }

# have_header <preprocessor condition>: also finds headers that no package has installed.
have_header() {
  printf '#if !(%s)\n#error missing\n#endif\n' "$1" |
    ${CXX:-c++} -std=c++20 -x c++ -fsyntax-only - 2>/dev/null
}
have_boost() {
  printf '#include <boost/version.hpp>\n#if BOOST_VERSION < 107500\n#error old\n#endif\n' |
    ${CXX:-c++} -x c++ -fsyntax-only - 2>/dev/null
}
# Tries the interpreter that Debian's packages are for, then the one in PATH.
have_module() {
  local python
  for python in /usr/bin/python3 python3; do
    ! "$python" -c "import $1" 2>/dev/null || return 0
  done
  return 1
}
# Prints the package of a recent Boost: Debian 12 has 1.81 beside its default, 1.74.
boost_package() {
  if apt-cache show libboost1.81-dev >/dev/null 2>&1; then
    echo libboost1.81-dev
  else
    echo libboost-dev
  fi
}

missing() {  # prints the package of each thing that is missing
  local thing
  for thing; do
    case $thing in
      compiler) have_command "${CXX:-c++}" || echo g++ ;;
      cmake) have_command cmake || echo cmake ;;
      ninja) have_command ninja || echo ninja-build ;;
      boost) have_boost || boost_package ;;
      catch2)
        have_header '__has_include(<catch2/catch.hpp>) || __has_include(<catch2/catch_all.hpp>)' ||
          echo catch2 ;;
      benchmark) have_header '__has_include(<benchmark/benchmark.h>)' || echo libbenchmark-dev ;;
      numpy | joblib) have_module "$thing" || echo "python3-$thing" ;;
      zlib) have_header '__has_include(<zlib.h>)' || echo zlib1g-dev ;;
      bzip2) have_header '__has_include(<bzlib.h>)' || echo libbz2-dev ;;
      lzma) have_header '__has_include(<lzma.h>)' || echo liblzma-dev ;;
      lz4) have_header '__has_include(<lz4frame.h>)' || echo liblz4-dev ;;
      eigen) have_header '__has_include(<eigen3/Eigen/Core>)' || echo libeigen3-dev ;;
      xtensor) have_header '__has_include(<xtensor/xarray.hpp>)' || echo libxtensor-dev ;;
      qhull) have_header '__has_include(<libqhull/qhull_a.h>)' || echo libqhull-dev ;;
      clang-19) have_command clang++-19 || printf '%s\n' clang-19 libclang-rt-19-dev ;;
      libcxx-19)
        CXX="clang++-19 -stdlib=libc++" have_header '__has_include(<__config>)' ||
          printf '%s\n' libc++-19-dev libc++abi-19-dev ;;
      aarch64 | riscv64)
        have_command "$thing-linux-gnu-g++" ||
          printf '%s\n' "g++-$thing-linux-gnu" "libc6-dev-${thing/aarch64/arm64}-cross"
        have_command "qemu-$thing" || echo qemu-user ;;
      *) echo "install_missing.sh: unknown: $thing" >&2; exit 2 ;;
    esac
  done
}

mapfile -t packages < <(missing "$@")
[ ${#packages[@]} -gt 0 ] || exit 0

sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
if ! have_command apt-get || { [ ${#sudo[@]} -gt 0 ] && ! have_command sudo; }; then
  echo "please install (Debian's names): ${packages[*]}" >&2
  exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing ${packages[*]}" >&2
install() {
  # Computed again after the update: a fresh machine does not know the packages before.
  mapfile -t packages < <(missing "$@")
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${packages[@]}"
}
if ! { "${sudo[@]}" apt-get update -q && install "$@"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  exit 1
fi
