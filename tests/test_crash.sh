# A small sweep ended at random moments, in the middle of writes as well (tests/fault.c): what is computed after them is, bit for bit,
# what an undisturbed sweep gives, and nothing is read that was not written to its end. CRASHES=10, STOPS=2 by default (full_crash.sh: 30, 5).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ -z "${ASAN_OPTIONS:-}" ] || { echo "skipped: LD_PRELOAD and AddressSanitizer exclude each other"; exit 77; }
crashes=${CRASHES:-10} RANDOM=7
fault=$(dirname "$F")/tests/libfault.so
cat >e.yaml <<'Y'
threads: 1
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 32}
positive: polyp
labels: 8
generated: 8
splits: 2
seeds: 1
arms: [supervised, real-unlabelled ssl.algorithm=flexmatch, medsora-tiny]
bootstrap: 100
vae: {steps: 6, batch: 2}
generator: {steps: 6, batch: 2, sample_steps: 2}
classifier: {steps: 6, batch: 2}
save_every: 2
Y
FORTY_FAULT_COUNT=$T/count LD_PRELOAD=$fault works "$F" experiment run e.yaml -o whole
operations=$(cat count)
[ "$operations" -gt 200 ] || die "only $operations operations were seen: the faults do not reach the program"
same() { # is what is in folder $1 what the undisturbed sweep gave?
  python3 - "$1" <<'P' || die "$2"
import json, os, sys
a, b = "whole", sys.argv[1]
lines = [[{k: v for k, v in json.loads(l).items() if k != "wall_s"} for l in open(d + "/results.jsonl")] for d in (a, b)]
assert lines[0] == lines[1], "results.jsonl"
names = ["summary.csv", "summary.tex"] + ["scores/" + f for f in os.listdir(a + "/scores")] + ["splits/" + f for f in os.listdir(a + "/splits")]
for run in os.listdir(a + "/runs"):
    names += [f"runs/{run}/{f}" for f in os.listdir(f"{a}/runs/{run}") if f.endswith((".safetensors", "log.csv", "test.csv"))]
for n in names:
    assert open(f"{a}/{n}", "rb").read() == open(f"{b}/{n}", "rb").read(), n
P
}
# kills, ten for each sweep: at an operation, within a write, or at a moment of the clock; sometimes with a second process beside it
for k in $(seq "$crashes"); do
  dir=killed-$(((k - 1) / 10))
  { case $((k % 5)) in
    0) "$F" experiment run e.yaml -o $dir >/dev/null 2>&1 & pid=$!; sleep 0.$((RANDOM % 90 + 10)); kill -9 $pid 2>/dev/null || true; wait $pid 2>/dev/null || true ;;
    1) FORTY_FAULT=$((RANDOM % operations / 2 + 1)):torn LD_PRELOAD=$fault "$F" experiment run e.yaml -o $dir >/dev/null 2>&1 || true ;;
    3) # what a run resumes from, and what tells that it is complete: few writes among many
      word=$(echo state.safetensors done.json test.csv latents log.csv clips.h5 | cut -d' ' -f$((RANDOM % 6 + 1)))
      FORTY_FAULT=$((RANDOM % 15 + 1)):torn FORTY_FAULT_FILE=$word LD_PRELOAD=$fault "$F" experiment run e.yaml -o $dir >/dev/null 2>&1 || true ;;
    2) FORTY_FAULT=$((RANDOM % operations / 2 + 1)):kill LD_PRELOAD=$fault "$F" experiment run e.yaml -o $dir >/dev/null 2>&1 || true ;;
    4)
      FORTY_FAULT=$((RANDOM % operations / 4 + 1)):torn LD_PRELOAD=$fault "$F" experiment run e.yaml -o $dir -j 2 >/dev/null 2>&1 || true
      pkill -9 -f "experiment worker e.yaml -o $dir" || true
      ;;
  esac; } 2>/dev/null # the shell tells of each one
  if [ $((k % 10)) = 0 ] || [ "$k" = "$crashes" ]; then
    works "$F" experiment run e.yaml -o $dir
    same $dir "a sweep killed ten times differs"
  fi
done
# a worker that is stopped before one of its writes, taken for dead by another machine, and goes on when that one has finished: it
# writes nothing more
for k in $(seq "${STOPS:-2}"); do
  FORTY_FAULT=$((RANDOM % operations + 1)):stop LD_PRELOAD=$fault "$F" experiment run e.yaml -o stopped-$k >out-1 2>err-1 &
  pid=$!
  for i in $(seq 600); do
    state=$(cut -d' ' -f3 /proc/$pid/stat 2>/dev/null || echo gone)
    [ "$state" = T ] || [ "$state" = gone ] || [ "$state" = Z ] && break
    sleep 0.1
  done
  [ "$state" = T ] || { wait $pid || die "a sweep that nobody stopped ended with $?"; continue; }
  python3 - stopped-$k <<'P' # as if its leases were of another machine, untouched for two minutes
import glob, json, os, sys, time
for f in glob.glob(sys.argv[1] + "/.lease") + glob.glob(sys.argv[1] + "/runs/*/.lease"):
    o = json.load(open(f))
    o["machine"] = "node7 boot"
    with open(f, "r+") as g:
        g.write(json.dumps(o)), g.truncate()
    os.utime(f, (time.time() - 120,) * 2)
P
  works "$F" experiment run e.yaml -o stopped-$k
  # (a lease that is left is its own, of a stage that it had just finished: it may take it away)
  files_of() { find stopped-$k/runs -type f ! -name log.txt ! -name .lease -printf '%p %i %T@\n' | sort; }
  files_of >before
  kill -CONT $pid
  rc=0
  wait $pid || rc=$?
  [ $rc -le 1 ] || die "a worker that was replaced ends with $rc"
  same stopped-$k "a worker that was replaced went on writing"
  files_of >after
  diff before after >&2 || die "a worker that was replaced wrote into a stage"
done
# a full disk, a failing one: an error that names a file, no torn result, and the next call completes it
for k in $(seq 8); do
  rc=0
  FORTY_FAULT=$((RANDOM % operations + 1)):$([ $((k % 2)) = 0 ] && echo full || echo eio) LD_PRELOAD=$fault "$F" experiment run e.yaml -o full-$k >out 2>err || rc=$?
  [ $rc -le 1 ] || { cat err >&2; die "a write that fails ends with $rc"; }
  [ $rc = 0 ] || grep -q "forty: error: .*full-$k" err || { cat err >&2; die "the error names no file"; }
  works "$F" experiment run e.yaml -o full-$k
  same full-$k "a sweep on a full disk differs"
done
# the folder goes away and comes back
"$F" experiment run e.yaml -o lost --set vae.steps=300 >out 2>err &
pid=$!
for i in $(seq 100); do ls lost/runs/vae-*/.lease >/dev/null 2>&1 && break; sleep 0.05; done
sleep 0.3
mv lost away
rc=0
wait $pid || rc=$?
[ $rc = 1 ] && grep -q "went away" err || { cat err >&2; die "a lost folder ends with $rc"; }
rm -rf lost
mv away lost
works "$F" experiment run e.yaml -o lost
same lost "a sweep whose folder was lost differs"
# SIGINT and SIGTERM save and end with 130
for s in INT TERM; do
  "$F" experiment run e.yaml -o signal --set generator.steps=3000 >out 2>err &
  pid=$!
  touch mark
  for i in $(seq 1200); do [ -n "$(find signal/runs -path '*generator-*/state.safetensors' -newer mark 2>/dev/null)" ] && break; sleep 0.05; done
  kill -$s $pid
  rc=0
  wait $pid || rc=$?
  [ $rc = 130 ] && grep -q "the state is saved" err || { cat err >&2; die "SIG$s ends with $rc"; }
done
done_testing
