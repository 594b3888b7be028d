# The script for the first minutes on a GPU, with programs and a Python that only pretend, and limits a tenth as long: what it
# reports when all is right, when something is wrong, hangs or is lost, and what is left when it is killed.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"
mkdir fake bin
cat >fake/device_ops <<'P'
#!/bin/bash
echo "[  PLANNED ] 2" >&2
case ${OPS:-right} in
  wrong) [ "${SHARD%/*}" = 3 ] && { echo "[  FAILED  ] conv_3d" >&2; exit 1; } ;;
  refused) echo "    conv_3d: a convolution: own kernel (cuDNN cannot do it)" >&2 ;;
  lost) [ "${SHARD%/*}" = 1 ] && { echo "[   LOST   ] the device takes no work any more" >&2; exit 1; } ;;
  hang) [ "${SHARD%/*}" = 2 ] && { trap '' TERM; echo "[       OK ] relu" >&2; for i in {1..150}; do sleep 0.2; done; } ;;
esac
printf '[       OK ] relu\n[       OK ] linear\n' >&2
P
cat >fake/device_models <<'P'
#!/bin/bash
case $1 in
  doctor) case ${DOCTOR:-right} in
    right) echo "NVIDIA H100, sm_90, 79.1 GiB"; echo "passed doctor f32" ;;
    no) echo "FAILED the device: no GPU"; exit 1 ;;
    esac ;;
  parity) for i in 1 2; do echo "passed $SHARD-$i"; done ;;
  bench) [ "$2" = feat-s ] && { echo 'FAILED feat-s: cannot "be" built'; exit 1; }
    [ "$2" = slow ] && sleep 60
    echo "{\"who\": \"forty\", \"model\": \"$2\", \"batch\": $3, \"ms\": 2.0, \"fastest_ms\": 1.9, \"slowest_ms\": 2.2, \"mib\": 100.0, \"gmac\": 5.0}"
    echo "product: first of 3" >&2 ;;
  profile) echo "$2: where the time goes" >&2 ;;
esac
P
cat >bin/python3 <<P
#!/bin/bash
[ "\$1" = - ] && exit 0
[ "\$1" = -c ] && exit 0
case \$2 in
  run) echo '{"who": "pytorch", "model": "endora-b", "batch": 2, "form": "eager", "ms": 3.0, "mib": 200.0}' >>"\$3" ;;
  table) exec $(command -v python3) "\$@" ;;
  compile) sleep 60 ;;
esac
P
cat >bin/compute-sanitizer <<'P'
#!/bin/bash
echo "========= ERROR SUMMARY: 0 errors"
P
chmod +x fake/* bin/*
export PATH=$PWD/bin:$PATH BINARIES=$PWD/fake REHEARSAL=10 OUT=$PWD/out
(cd "$repository" && . tests/device_lib.sh && sources) >fake/sources 2>/dev/null
first() { "$repository/tests/device_first.sh" >said 2>&1; }
# what may be there after any end: at most eight files of decent names and sizes, every line of JSON whole
valid() {
  python3 -c '
import json, os, re
names = os.listdir("out")
assert len(names) <= 8 and all(re.fullmatch(r"[A-Za-z0-9._-]+", n) for n in names), names
assert all(os.path.getsize("out/" + n) < 16 << 20 for n in names)
for l in open("out/device.jsonl") if "device.jsonl" in names else []: json.loads(l)' || die "what is left is not valid: $(ls -l out)"
  passed=$((passed + 1))
}
PATH=${PATH#*:}:$PWD/bin command -v python3 >/dev/null || die "no Python"
python3() { PATH=${PATH#*:} command python3 "$@"; }

JOBS="endora-b:2 medsora-b:2" first || die "all is right, but: $(cat said)"
valid
for words in "ops: 16 of 16 cases are right, 0 wrong" "models: 16 of 16" "left to our own kernels by a library: 0" "endora-b:2: forty 2.00 ms" \
  "PyTorch 3.00 ms (eager): 1.50x, memory 0.50x" "medsora-b:2: forty 2.00 ms (1.90 to 2.20), 100 MiB; PyTorch not measured" "all: right"; do
  grep -qF "$words" out/summary.txt || die "the summary does not say '$words': $(cat out/summary.txt)"
done
tail -1 said | grep -q "all: right" || die "its last line is not the result"
[ "$(grep -n '"forty"' out/device.jsonl | head -1 | cut -d: -f1)" = 1 ] || die "forty's own number is not the first"

rm -r out
! JOBS="endora-b:2 feat-s:2" OPS=wrong first || die "a wrong case passes"
valid
grep -q "1 wrong: conv_3d" out/summary.txt && grep -q "feat-s:2: forty FAILED feat-s" out/summary.txt || die "wrong: $(cat out/summary.txt)"
rm -r out
! JOBS=endora-b:2 OPS=refused first || die "a library that refuses passes"
grep -q "own kernels by a library: 8" out/summary.txt || die "refused: $(cat out/summary.txt)"
rm -r out
start=$SECONDS
! DOCTOR=no first || die "no device, and it passes"
grep -q "FAILED the device: no GPU" out/summary.txt && [ $((SECONDS - start)) -lt 5 ] || die "no device: $(cat out/summary.txt)"

# a shard that hangs and a model that takes too long are cut; the rest goes on, and what they had written is there
rm -r out
start=$SECONDS
! OPS=hang JOBS="slow:1 endora-b:2" REHEARSAL=40 first || die "what hangs passes"
valid
[ $((SECONDS - start)) -le 12 ] || die "a few seconds were allowed, it took $((SECONDS - start))"
! pgrep -f "^/bin/bash $PWD/fake/device_ops" >/dev/null || die "what hung is still there"
grep -q "^ops: cut at its limit" out/summary.txt && grep -q "endora-b:2: forty 2.00" out/summary.txt || die "cut: $(cat out/summary.txt)"

# killed at any moment
for moment in 0.3 0.9 1.$((RANDOM % 10)); do
  rm -rf out
  setsid "$repository/tests/device_first.sh" >said 2>&1 &
  sleep $moment
  kill -KILL -- -$! 2>/dev/null || true
  pkill -KILL -s $! 2>/dev/null || true
  wait $! 2>/dev/null || true
  [ ! -e out ] || valid
done
done_testing
