# The second script for a GPU (device_second.sh), with programs and a Python that only pretend: what it takes from the first, what it
# reports when all is right, wrong, different between processes or hanging, and what is left when it is killed.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"
mkdir fake bin first
cat >fake/device_ops <<'P'
#!/bin/bash
[ -n "${SHARD:-}" ] || { echo "again: $* ${CUDA_LAUNCH_BLOCKING:-}" >&2; [ "${OPS:-right}" = still ] && { echo "[  FAILED  ] $1" >&2; exit 1; }; }
[ "${OPS:-right}" = hang ] && [ "${SHARD:-}" = 2/8 ] && { trap '' TERM; for i in {1..150}; do sleep 0.2; done; }
[ "${OPS:-right}" = measured ] && [ "${SHARD:-}" = 4/8 ] && { echo "[  FAILED  ] matmul" >&2; exit 1; }
printf '[       OK ] relu\n[       OK ] linear\n' >&2
P
cat >fake/device_models <<'P'
#!/bin/bash
case $1 in
  parity) shift; for m in "$@"; do echo "passed $m"; done ;;
  bench) echo "{\"who\": \"forty\", \"model\": \"$2\", \"batch\": $3, \"ms\": 2.0, \"fastest_ms\": 1.9, \"slowest_ms\": 2.2, \"mib\": 100.0, \"gmac\": 5.0}" ;;
  steps)
    [ -z "${FORTY_DEVICE_CHOICES:-}" ] || printf 'device\tproduct\tengine 1\n' >"$FORTY_DEVICE_CHOICES/gpu-choices.tsv"
    case ${STEPS:-right}-$6 in
      slow-*.c) [ -e "$6" ] || { echo 1 >"$6"; sleep 20; } ;; # killed once, then it goes on
      different-*.b) echo "40 steps: 1234abce"; exit ;;
      different-*.c) sleep 0.1 ;;
      spread-*.on-4) echo "40 steps: 1234abce"; exit ;;
    esac
    echo "40 steps: 1234abcd" ;;
esac
P
cat >bin/ncu <<'P'
#!/bin/bash
case " $* " in
  *" --set full "*) echo "counters of $(sed 's/.*--kernel-name \(regex:[^ ]*\) .*/\1/' <<<"$*")"; [ "${NCU:-right}" != hang ] || sleep 60; exit ;;
esac
[ "${NCU:-right}" = refused ] && { echo "==ERROR== ERR_NVGPUCTRPERM"; exit 1; }
echo '==PROF== Connected to process 1'
echo '"ID","Kernel Name","gpu__time_duration.sum","dram__throughput.avg.pct_of_peak_sustained_elapsed","sm__throughput.avg.pct_of_peak_sustained_elapsed"'
echo '"","","ns","%","%"'
printf '"0","void ssd_chunk_bwd<4, 64>(chunk, chunk_grads)","21,000.5","40.0","12.0"\n"1","ft::combine(float *)","2,000","80.0","2.0"\n"2","void ssd_chunk_bwd<4, 64>(chunk, chunk_grads)","20,000","42.0","12.0"\n'
P
real=$(command -v python3)
cat >bin/python3 <<P
#!/bin/bash
[ "\$1" = - ] && [ \$# = 1 ] && exit 0
case \$2 in
  run) echo '{"who": "pytorch", "model": "endora-b", "batch": 2, "form": "max-autotune", "ms": 3.0, "mib": 200.0}' >>"\$3" ;;
  *) exec $real "\$@" ;;
esac
P
chmod +x fake/* bin/*
printf '[  FAILED  ] conv_3d\n[       OK ] relu\n[  FAILED  ] conv_3d\n[  FAILED  ] ssd_long\n' >first/ops.log
printf 'passed x3d-tiny\nFAILED feat-tiny: loss\n' >first/models.log
export PATH=$PWD/bin:$PATH BINARIES=$PWD/fake REHEARSAL=10 FIRST=$PWD/first OUT=$PWD/out LIMIT=540 JOBS="endora-b:2 medsora-b:2"
second() { "$repository/tests/device_second.sh" "$@" >said 2>&1; }
valid() {
  "$real" -c '
import json, os, re
names = os.listdir("out")
assert len(names) <= 8 and all(re.fullmatch(r"[A-Za-z0-9._-]+", n) for n in names), names
assert all(os.path.getsize("out/" + n) < 16 << 20 for n in names)
for l in open("out/device.jsonl") if "device.jsonl" in names else []: json.loads(l)' || die "what is left is not valid: $(ls -l out)"
  passed=$((passed + 1))
}

second || die "all is right, but: $(cat said)"
valid
grep -q "^again: conv_3d ssd_long 1$" out/ops.log && grep -q "^passed feat-tiny" out/models.log || die "the failures are not run again: $(cat out/ops.log out/models.log)"
for words in "failures: ended" "steps: ended" "streams: ended" "counters: ended" "ops: ended" "pytorch: ended" "ops: 18 right, 0 wrong" "steps: 0 models differ" "endora-b:2: forty 2.00 ms"; do
  grep -qF "$words" out/summary.txt || die "the summary does not say '$words': $(cat out/summary.txt)"
done
grep -qE "^ +41\.0 +2 +41\.0 +12\.0  void ssd_chunk_bwd" out/counters.txt || die "kernels are not summed: $(cat out/counters.txt)"
[ "$(grep -c 'counters of regex:^ssd_chunk_bwd\$' out/counters.txt)" = 2 ] && grep -q 'counters of regex:^combine\$' out/counters.txt || die "the worst kernels: $(cat out/counters.txt)"
[ "$(grep -c '"forty"' out/device.jsonl)" = 4 ] && [ "$(grep -c '"pytorch"' out/device.jsonl)" = 2 ] || die "in turns: $(cat out/device.jsonl)"

rm -r out
! OPS=still second failures || die "a case that is still wrong passes"
grep -q "failures: failed" out/summary.txt && grep -q "1 wrong" out/summary.txt || die "still wrong: $(cat out/summary.txt)"
rm -r out
! OPS=measured second ops || die "a case that is wrong once algorithms are measured passes"
grep -q "ops: 16 right, 1 wrong" out/summary.txt || grep -q "1 wrong" out/summary.txt || die "measured: $(cat out/summary.txt)"
rm -r out
! STEPS=different second steps || die "other weights in another process pass"
grep -q "^DIFFERENT endora-b:2" out/steps.log && grep -q "steps: 2 models differ" out/summary.txt || die "different: $(cat out/summary.txt out/steps.log)"
rm -r out
! STEPS=spread second streams || die "other weights on four streams pass"
[ "$(grep -c "^DIFFERENT .* on 4 streams" out/steps.log)" = 2 ] || die "streams: $(cat out/steps.log)"
rm -r out
REHEARSAL=1 JOBS=endora-b:2 STEPS=slow second steps || die "killed and gone on: $(cat said out/steps.log)"
rm -r out
! NCU=refused second counters || die "counters that are not allowed pass"
grep -q "ERR_NVGPUCTRPERM" out/counters.txt || die "refused: $(cat out/counters.txt)"

# what hangs is cut; the rest goes on
rm -r out
start=$SECONDS
! OPS=hang second ops steps || die "what hangs passes"
valid
[ $((SECONDS - start)) -le 20 ] || die "a few seconds were allowed, it took $((SECONDS - start))"
grep -q "^ops: cut at its limit" out/summary.txt && grep -q "^steps: ended" out/summary.txt || die "cut: $(cat out/summary.txt)"
! pgrep -f "^/bin/bash $PWD/fake/device_ops" >/dev/null || die "what hung is still there"

# killed at any moment; nothing to go on from
for moment in 0.4 1.$((RANDOM % 10)); do
  rm -rf out
  setsid "$repository/tests/device_second.sh" >said 2>&1 &
  sleep $moment
  kill -KILL -- -$! 2>/dev/null || true
  pkill -KILL -s $! 2>/dev/null || true
  wait $! 2>/dev/null || true
  [ ! -e out ] || valid
done
rm -rf out
FIRST=$PWD/nothing second failures || die "without a first run: $(cat said)"
done_testing
