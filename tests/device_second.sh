#!/usr/bin/env bash
# What is left of a GPU's time after tests/device_first.sh: its failures again, now with algorithms chosen by measurement; the same
# weights in two processes and in one that is killed and goes on, and of steps recorded on several streams; counters of the slowest
# kernels; the opponent with its longest search.
#
#   FIRST=FOLDER OUT=FOLDER LIMIT=SECONDS tests/device_second.sh [STAGE...]     stages: failures ops steps streams counters pytorch
#
# FIRST: what device_first.sh wrote. Needs its programs (BINARIES).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
OUT=${OUT:-build/device-second}
FIRST=${FIRST:-build/device-first}
LIMIT=${LIMIT:-300}
JOBS=${JOBS:-medsora-b:2 endora-b:2 x3d-s:8}
export JOBS FIRST LIMIT
. tests/device_lib.sh

stage_failures() {
  local cases models
  cases=$(sed -n 's/^\[  FAILED  \] //p' "$FIRST/ops.log" | sort -u)
  models=$(sed -n 's/^FAILED \([a-z0-9-]*\):.*/\1/p' "$FIRST/models.log" | sort -u)
  ulimit -f 15000
  # shellcheck disable=SC2086
  [ -z "$cases" ] || CUDA_LAUNCH_BLOCKING=1 "$BINARIES/device_ops" $cases >>"$OUT/ops.log" 2>&1 || bad=1
  # shellcheck disable=SC2086
  [ -z "$models" ] || "$BINARIES/device_models" parity $models >>"$OUT/models.log" 2>&1 || bad=1
  return ${bad:-0}
}

stage_ops() { # all cases, measured
  local i bad=0 pids=""
  ulimit -f 15000
  for i in 0 1 2 3 4 5 6 7; do SHARD=$i/8 "$BINARIES/device_ops" >>"$OUT/ops.log" 2>&1 & pids="$pids $!"; done
  for i in $pids; do wait "$i" || bad=1; done
  return $bad
}

# One set of choices, then the same weights: in a second process, and in one that is killed at random moments and goes on.
stage_steps() {
  local job bad=0 i a b c
  for job in $JOBS; do
    mkdir "$scratch/of-$job"
    steps() { FORTY_DEVICE_CHOICES=$scratch/of-$job "$BINARIES/device_models" steps "${job%:*}" "${job#*:}" bf16 40 "$scratch/$job.$1" 2>>"$OUT/steps.log"; }
    a=$(steps a) b=$(steps b) c=""
    for i in 1 2 3 4 5 6 7 8; do
      c=$(timeout -s KILL $((2 + RANDOM % 4)) env "FORTY_DEVICE_CHOICES=$scratch/of-$job" "$BINARIES/device_models" steps "${job%:*}" "${job#*:}" bf16 40 "$scratch/$job.c" 2>>"$OUT/steps.log") && break
    done
    [ -n "$c" ] || c=$(steps c)
    printf '%s\n%s\n%s\n' "$a" "$b" "$c" >>"$OUT/steps.log"
    cat "$scratch/of-$job/gpu-choices.tsv" >>"$OUT/steps.log"
    [ -n "$a" ] && [ "${a##* }" = "${b##* }" ] && [ "${a##* }" = "${c##* }" ] || { echo "DIFFERENT $job" >>"$OUT/steps.log"; bad=1; }
  done
  return $bad
}

# Weights of a step recorded on several streams beside those of one, and its time.
stage_streams() {
  local job n bad=0 first now
  for job in $JOBS; do
    mkdir "$scratch/on-$job"
    first=""
    for n in 1 2 4; do
      export FORTY_CUDA_STREAMS=$n FORTY_DEVICE_CHOICES=$scratch/on-$job
      now=$("$BINARIES/device_models" steps "${job%:*}" "${job#*:}" bf16 20 "$scratch/$job.on-$n" 2>>"$OUT/steps.log")
      echo "$n streams: $now" >>"$OUT/steps.log"
      "$BINARIES/device_models" bench "${job%:*}" "${job#*:}" bf16 2>>"$OUT/steps.log" | sed "s/^/$n streams: /" >>"$OUT/steps.log"
      first=${first:-$now}
      [ -n "$now" ] && [ "${now##* }" = "${first##* }" ] || { echo "DIFFERENT $job on $n streams" >>"$OUT/steps.log"; bad=1; }
    done
  done
  return $bad
}

# A table of kernels by time, then everything ncu knows of the three that take most of it.
stage_counters() {
  local job kernel step bad=0
  command -v ncu >/dev/null || { echo "ncu is not here" >>"$OUT/counters.txt"; return 1; }
  for job in $JOBS; do
    step=(env FORTY_CUDA_GRAPH=0 FORTY_CUDA_MEASURE=0 FORTY_DEVICE_RECOMPUTE=none)
    "${step[@]}" timeout -k 1 60 ncu --csv --page raw --print-units base --launch-skip 60 --launch-count 600 \
      --metrics gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed,sm__throughput.avg.pct_of_peak_sustained_elapsed \
      "$BINARIES/device_models" steps "${job%:*}" "${job#*:}" bf16 1 "$scratch/none" >"$scratch/raw.csv" 2>>"$OUT/counters.txt"
    echo "$job" >>"$OUT/counters.txt"
    grep -m 5 '^==\(ERROR\|WARNING\)==' "$scratch/raw.csv" >>"$OUT/counters.txt" # why there are none
    rm -f "$scratch/worst"
    "$PYTHON" - "$scratch/raw.csv" "$scratch/worst" >>"$OUT/counters.txt" <<'P'
import collections, csv, re, sys
rows = list(csv.reader(l for l in open(sys.argv[1]) if l.startswith('"')))
if len(rows) < 3: sys.exit("no kernel was counted")
head, of = rows[0], collections.defaultdict(lambda: [0, 0.0, 0.0, 0.0])
at = lambda word: next(i for i, h in enumerate(head) if word in h)
name, t, dram, sm = at("Kernel Name"), at("gpu__time"), at("dram__"), at("sm__throughput")
for r in rows[2:]:
    k = of[r[name]]
    us = float(r[t].replace(",", "")) / 1000
    k[0] += 1; k[1] += us; k[2] += us * float(r[dram]); k[3] += us * float(r[sm])
worst = sorted(of.items(), key=lambda i: -i[1][1])
print(f"{'us':>9} {'launches':>8} {'memory %':>9} {'sm %':>6}  kernel")
for n, (count, us, d, s) in worst[:25]:
    print(f"{us:9.1f} {count:8d} {d / us:9.1f} {s / us:6.1f}  {n[:110]}")
open(sys.argv[2], "w").write("".join(re.sub(r"[<(].*", "", n.replace("void ", "")).split("::")[-1].strip() + "\n" for n, _ in worst[:3]))
P
    [ -e "$scratch/worst" ] || { bad=1; continue; }
    while read -r kernel; do
      "${step[@]}" timeout -k 1 40 ncu --set full --kernel-name "regex:^$kernel\$" --launch-skip 2 --launch-count 1 \
        "$BINARIES/device_models" steps "${job%:*}" "${job#*:}" bf16 1 "$scratch/none" >>"$OUT/counters.txt" 2>&1
    done <"$scratch/worst"
  done
  return $bad
}

stage_pytorch() {
  local job
  for job in $JOBS; do # in turns
    "$BINARIES/device_models" bench "${job%:*}" "${job#*:}" bf16 2>>"$OUT/torch.log" | grep '^{' >>"$OUT/device.jsonl"
    OPPONENT_MODE=max-autotune-no-cudagraphs "$PYTHON" tests/device/opponent.py run "$OUT/device.jsonl" "$(($1 / $(wc -w <<<"$JOBS")))" "$job" 2>>"$OUT/torch.log"
    "$BINARIES/device_models" bench "${job%:*}" "${job#*:}" bf16 2>>"$OUT/torch.log" | grep '^{' >>"$OUT/device.jsonl"
  done
}

stage_alone "$@"

mkdir -p "$OUT"
for f in summary.txt ops.log models.log steps.log counters.txt device.jsonl torch.log; do rm -f "$OUT/$f"; done
library_paths
bad=0
[ $# -gt 0 ] || set -- failures steps streams counters ops pytorch
for s in "$@"; do
  case $s in failures) each=40 ;; ops) each=60 ;; steps) each=90 ;; streams) each=60 ;; counters) each=150 ;; *) each=200 ;; esac
  stage "$s" $each || bad=1
done
say "ops: $(cat "$OUT/ops.log" 2>/dev/null | grep -c '^\[       OK') right, $(cat "$OUT/ops.log" 2>/dev/null | grep -c '^\[  FAILED') wrong"
[ ! -e "$OUT/steps.log" ] || say "steps: $(grep -c '^DIFFERENT' "$OUT/steps.log") models differ between processes"
timeout -k 1 5 "$PYTHON" tests/device/opponent.py table "$OUT/device.jsonl" | tee -a "$OUT/summary.txt"
exit $bad
