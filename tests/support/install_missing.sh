#!/usr/bin/env bash
# install_missing.sh <thing>...: installs with apt-get what this machine lacks of compiler, cmake,
# ninja, boost, catch2, benchmark, qhull, clang-19. Says nothing when all is there.
set -euo pipefail

have_command() { command -v "$1" >/dev/null; }

# have_header <preprocessor condition>: also finds what was not installed by a package.
have_header() {
  printf '#if !(%s)\n#error missing\n#endif\n' "$1" |
    ${CXX:-c++} -std=c++20 -x c++ -fsyntax-only - 2>/dev/null
}
have_boost() {
  printf '#include <boost/version.hpp>\n#if BOOST_VERSION < 107500\n#error old\n#endif\n' |
    ${CXX:-c++} -x c++ -fsyntax-only - 2>/dev/null
}
# Which Boost a Debian or Ubuntu offers: version 1.81 beside Debian 12's default, 1.74.
boost_package() {
  if apt-cache show libboost1.81-dev >/dev/null 2>&1; then
    echo libboost1.81-dev
  else
    echo libboost-dev
  fi
}

missing() {  # prints the package for each thing that is not there
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
      qhull) have_header '__has_include(<libqhull/qhull_a.h>)' || echo libqhull-dev ;;
      clang-19) have_command clang++-19 || printf '%s\n' clang-19 libclang-rt-19-dev ;;
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
  # Once more after the update: only then are the packages known on a fresh machine.
  mapfile -t packages < <(missing "$@")
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${packages[@]}"
}
if ! { "${sudo[@]}" apt-get update -q && install "$@"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  exit 1
fi
