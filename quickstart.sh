#!/usr/bin/env bash
# Sets up, builds, and runs the main job on the embedded phantom: a table on the screen, a page in results/quickstart/.
# A second call only reports. Further arguments go to `forty experiment run` (for example --set classifier.steps=400).
set -euo pipefail
cd "$(dirname "$0")"
. ./setup.sh
install_missing
[ -x build/release/forty ] || echo "forty: building ..." >&2
build release -DBUILD_TESTING=OFF
jobs=1
[ "$(nproc)" -lt 2 ] || jobs=2 # its networks are small: two of them beside each other take less than one after the other on all cores
exec build/release/forty experiment run experiments/quickstart.yaml -o results/quickstart -j $jobs "$@"
