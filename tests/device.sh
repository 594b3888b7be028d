#!/usr/bin/env bash
# The device suite, on a machine with an NVIDIA GPU, nvcc, cuDNN and PyTorch, and nothing else of ours (no network, FFmpeg, HDF5):
#
#   tests/device.sh parity      builds; every op against its double-precision reference, every network against the CPU
#   tests/device.sh sanitizer   compute-sanitizer (memcheck, racecheck, initcheck, synccheck) on small sizes
#   tests/device.sh bench       training and sampling steps against torch.compile(max-autotune) on the same card
#   tests/device.sh             all three
#
# Each stage can be run alone and again, and stays under 8 minutes. Results: $OUT (default results/cuda)/device.json.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-results/cuda}
B=${BUILD:-build/device}
mkdir -p "$OUT" "$B"

build() {
  local hints
  hints=$(python3 - <<'P'
import importlib.util as u, os
for name, var in (("nvidia.cudnn", "CUDNN_DIR"), ("nvidia.nccl", "NCCL_DIR")):
    try:
        s = u.find_spec(name)
        if s: print(f"-D{var}={list(s.submodule_search_locations)[0]}")
    except ModuleNotFoundError:
        pass
P
)
  # shellcheck disable=SC2086
  cmake -S tests/device -B "$B" $(command -v ninja >/dev/null && echo -G Ninja) $hints ${DEVICE_OPTIONS:-} >"$B/build.log" 2>&1 &&
    cmake --build "$B" -j "$(nproc)" >>"$B/build.log" 2>&1 || { tail -30 "$B/build.log" >&2; return 1; }
  local d
  for d in $hints; do export LD_LIBRARY_PATH="${d#*=}/lib:${LD_LIBRARY_PATH:-}"; done
}
note() { python3 tests/device/note.py "$OUT/device.json" "$@"; } # stage key value...

parity() {
  local rc=0
  timeout 200 "$B/device_ops" >"$OUT/ops.log" 2>&1 || rc=1
  note parity ops "$(tail -1 "$OUT/ops.log")" ops_failed "$(grep '^\[  FAILED' "$OUT/ops.log" | tr '\n' ' ')"
  timeout 240 "$B/device_models" parity >"$OUT/models.log" 2>&1 || rc=1
  note parity models "$(tail -1 "$OUT/models.log")" models_log "@$OUT/models.log" ok $((1 - rc))
  grep -h "FAILED\|ERROR" "$OUT/ops.log" "$OUT/models.log"
  return $rc
}

sanitizer() {
  local rc=0 tool one cases
  command -v compute-sanitizer >/dev/null || { note sanitizer ok 0 why "compute-sanitizer is not on this machine"; return 1; }
  cases="relu linear conv_3d dw_cube layernorm_both groupnorm batchnorm sdpa_64 attention_local ssd_chunked wkv focal_frequency softmax reduce_all augment_equalize"
  for tool in memcheck racecheck initcheck synccheck; do
    one=0
    for c in $cases; do
      timeout 60 compute-sanitizer --tool $tool --error-exitcode 9 "$B/device_ops" "$c" >"$OUT/$tool.log" 2>&1 || { one=1; echo "$tool: $c"; grep -m3 "=========" "$OUT/$tool.log"; cp "$OUT/$tool.log" "$OUT/$tool-$c.log"; }
    done
    [ $tool = memcheck ] && { timeout 120 compute-sanitizer --tool memcheck --error-exitcode 9 "$B/device_models" small x3d-tiny >"$OUT/$tool.log" 2>&1 || one=1; }
    note sanitizer $tool "$([ $one = 0 ] && echo clean || echo faults)"
    [ $one = 0 ] || rc=1
  done
  note sanitizer ok $((1 - rc))
  return $rc
}

bench() { timeout 470 python3 tests/device/bench.py "$B/device_models" "$OUT/device.json"; }

build || { note build ok 0; exit 1; }
note build ok 1
bad=0
for stage in ${*:-parity sanitizer bench}; do
  echo "stage $stage"
  $stage || bad=1
done
exit $bad
