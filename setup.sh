# Sourced by quickstart.sh and test.sh: installs what is missing from the distribution, then configures and builds.
# Debian and Ubuntu packages; elsewhere it says what is needed. Nothing is installed when everything is there.

packages="gcc libc6-dev make cmake ninja-build pkg-config libdnnl-dev libavformat-dev libavcodec-dev libswscale-dev libavutil-dev
libhdf5-dev libcsv-dev libyaml-dev libpng-dev libjansson-dev libmd-dev libfftw3-dev liblapacke-dev"

# what a built program needs (docs/install/Dockerfile): the libraries behind the -dev packages, by their own dependencies
run_packages() {
  local p
  for p in $packages; do
    case $p in lib*-dev) [ "$p" = libc6-dev ] || apt-cache depends "$p" | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p' | grep -v -e '-dev$' ;; esac
  done
  echo libgomp1
}

install_missing() {
  local missing="" p sudo=""
  if [ -e "${CONDA_PREFIX:-/none}/include/oneapi/dnnl/dnnl.h" ]; then # docs/install/environment.yml has brought everything
    export PKG_CONFIG_PATH="$CONDA_PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}" CMAKE_PREFIX_PATH="$CONDA_PREFIX${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}" DNNL_ROOT="$CONDA_PREFIX"
    return 0
  fi
  if ! command -v dpkg-query >/dev/null; then
    echo "forty: not a Debian system: if the build fails, see docs/install, or install what corresponds to: $packages $*" >&2
    return 0
  fi
  for p in $packages "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "forty: error: these packages are missing:$missing. Ask an administrator to install them" >&2; exit 1; }
    sudo=sudo
  fi
  echo "forty: installing from the distribution:$missing" >&2
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } >/tmp/forty-apt.$$.log 2>&1 || {
    tail -5 /tmp/forty-apt.$$.log >&2
    echo "forty: error: the packages could not be installed (log above). Check the network and the package sources" >&2
    exit 1
  }
  rm -f /tmp/forty-apt.$$.log
}

# build PRESET [CMAKE OPTION...]
build() {
  local preset=$1
  shift
  cmake --preset "$preset" "$@" >build-"$preset".log 2>&1 && cmake --build --preset "$preset" >>build-"$preset".log 2>&1 || {
    tail -30 build-"$preset".log >&2
    echo "forty: error: the build failed; the whole log is in build-$preset.log" >&2
    exit 1
  }
  rm -f build-"$preset".log
}
