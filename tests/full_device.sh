# The device suite on the stand-in for CUDA: small networks against the CPU, the first script with its programs and limits a tenth as
# long, whole and killed at random moments.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"
B=$repository/build/device-shim
cmake -S "$repository/tests/device" -B "$B" -G Ninja -DSHIM=ON >build.log 2>&1 && cmake --build "$B" >>build.log 2>&1 || { tail -20 build.log >&2; die "it does not build"; }
(cd "$repository" && . tests/device_lib.sh && sources) >"$B/sources"
for model in x3d-tiny r2plus1d-tiny medsora-tiny feat-tiny endora-tiny forty-tiny; do works "$B/device_models" parity $model; done
works "$B/device_models" doctor
grep -q "^passed doctor bf16" out || die "doctor: $(cat out)"
works "$B/device_models" steps x3d-tiny 2 bf16 12 state
export BINARIES=$B REHEARSAL=10 OUT=$PWD/first JOBS=x3d-tiny:1 OPPONENTS=x3d-tiny:1
valid() {
  python3 - "$1" <<'P' || die "what is left is not valid"
import json, os, re, sys
names = os.listdir("first")
assert len(names) <= 8 and all(re.fullmatch(r"[A-Za-z0-9._-]+", n) for n in names), names
lines = [json.loads(l) for l in open("first/device.jsonl")] if "device.jsonl" in names else []
if sys.argv[1] == "whole": # each stage that was cut has left something
    ops = open("first/ops.log").read()
    assert ops.count("[       OK ]") > 20 and "FAILED" not in ops and "PLANNED" in ops
    assert any(l["who"] == "forty" and l["model"] == "x3d-tiny" for l in lines), lines
    assert "own kernels by a library: 0" in open("first/summary.txt").read()
P
  passed=$((passed + 1))
}
start=$SECONDS
"$repository/tests/device_first.sh" >said 2>&1 || true
[ $((SECONDS - start)) -le 58 ] || die "56 seconds were allowed, it took $((SECONDS - start))"
valid whole
for k in 1 2 3 4 5; do
  rm -rf first
  setsid "$repository/tests/device_first.sh" >said 2>&1 &
  sleep $((RANDOM % 30)).$((RANDOM % 10))
  pkill -KILL -s $! 2>/dev/null || true
  wait $! 2>/dev/null || true
  valid killed
done
done_testing
