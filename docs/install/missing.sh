#!/usr/bin/env bash
# Builds libcsv and libmd into the active conda environment (or into PREFIX). Needs curl, a compiler and make.
# Not run where forty is developed, which reaches neither address.
set -euo pipefail
prefix=${PREFIX:-${CONDA_PREFIX:?activate the environment first, or set PREFIX}}
at=$(mktemp -d)
trap 'rm -rf "$at"' EXIT
cd "$at"
get() { # URL SHA256 ("" where none is published)
  curl -fsSLO "$1"
  [ -z "$2" ] || echo "$2  $(basename "$1")" | sha256sum -c - >/dev/null
  tar xf "$(basename "$1")"
}
get https://downloads.sourceforge.net/project/libcsv/libcsv/libcsv-3.0.3/libcsv-3.0.3.tar.gz \
  d9c0431cb803ceb9896ce74f683e6e5a0954e96ae1d9e4028d6e0f967bebd7e4
(cd libcsv-3.0.3 && ./configure --prefix="$prefix" >/dev/null && make -s install >/dev/null)
get https://archive.hadrons.org/software/libmd/libmd-1.1.0.tar.xz ""
(cd libmd-1.1.0 && ./configure --prefix="$prefix" >/dev/null && make -s install >/dev/null)
echo "libcsv and libmd are in $prefix"
