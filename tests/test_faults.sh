# Memory refused at the n-th allocation, in turn, of everything that writes: either the command gives what it gives without faults,
# or it ends with 1 and a message, and nothing stands under a final name that is not whole. (Faults of files: test_crash.sh.)
# Memory is refused once at each place in the program (the callers of an allocation), files at each operation. FAULTS: how many of
# these for each command, drawn at random; `all` for every one.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ -z "${ASAN_OPTIONS:-}" ] || { echo "skipped: LD_PRELOAD and AddressSanitizer exclude each other"; exit 77; }
fault=$(dirname "$F")/tests/libfault.so faults=${FAULTS:-6}
export OMP_NUM_THREADS=1 FORTY_THREADS_NOW=1 XDG_CACHE_HOME=$T/cache
"$F" phantom -o p.h5 --videos 12 --size 16 --frames 4 --mp4 v >/dev/null 2>&1
cat >t.yaml <<'Y'
threads: 1
precision: f32
task: classifier
data: {clips: p.h5}
positive: polyp
labels: 4
classifier: {model: x3d-tiny, steps: 2, batch: 2}
Y
cat >e.yaml <<'Y'
threads: 1
precision: f32
data: {clips: p.h5}
positive: polyp
labels: 4
generated: 2
splits: 1
arms: [supervised, noise]
bootstrap: 100
classifier: {model: x3d-tiny, steps: 2, batch: 2}
rehearse: never
Y
# a fingerprint of what stands under final names: numbers of time and machine left out
print_of() {
  python3 - "$1" <<'P'
import hashlib, json, os, re, sys
def files(top):
    if os.path.isfile(top): return [top]
    return sorted(os.path.join(d, f) for d, _, n in os.walk(top) for f in n)
h = hashlib.sha256()
for f in files(sys.argv[1]):
    name = os.path.basename(f)
    if name in (".forty", ".lease", "log.txt", "environment.json", "report.html", "failed.json", "precision.json"): continue # what was measured
    if "/.hold-" in f: continue
    data = open(f, "rb").read()
    if name.endswith((".json", ".jsonl", ".csv", ".md", ".tex")):
        data = re.sub(rb'"(seconds|[a-z_]*seconds|wall_s|memory_mib|joules|unit_seconds|host)": ?("[^"]*"|[-0-9.e+]+),?', b"", data)
        if name == "runs.csv": data = b"\n".join(l.rpartition(b",")[0] for l in data.split(b"\n"))
    h.update(f.encode() + b"\0" + hashlib.sha256(data).digest())
print(h.hexdigest())
P
}
left_over() { find . -name '*.partial' -o -path '*/.hold-*/*' -type f | head -3; }
# in_turn KIND OUTPUT COMMAND...: KIND memory, eio or full; for folders a second call without faults completes it to the same
in_turn() {
  local kind=$1 out=$2 whole n rc all aborted=0 where
  shift 2
  rm -rf "$out"
  unset FORTY_FAULT_MEMORY
  [ "$kind" = memory ] && export FORTY_FAULT_MEMORY=1
  rm -f places
  FORTY_FAULT_PLACES=$T/places FORTY_FAULT_COUNT=$T/count LD_PRELOAD=$fault "$@" >out 2>err || { cat err >&2; die "'$*' fails without faults"; }
  all=$(cat count) whole=$(print_of "$out")
  [ "$kind" = memory ] || seq "$all" >places
  [ "$all" -gt 5 ] || die "only $all operations were seen"
  [ "$faults" = all ] || { shuf -n "$faults" --random-source=<(yes "$kind") places >some; mv some places; }
  for n in $(cat places); do
    rm -rf "$out"
    rc=0 where="'$*', $kind at operation $n of $all"
    FORTY_FAULT=$n:$kind LD_PRELOAD=$fault timeout 60 "$@" >out 2>err || rc=$?
    case $rc in
      0) [ "$(print_of "$out")" = "$whole" ] || die "$where: ends with 0 and another result" ;;
      1) grep -q "forty: error: ." err || { cat err >&2; die "$where: no message"; }
         [ ! -f "$out" ] || die "$where: it failed, and its output is there" ;;
      134) grep -q "internal error" err && { cat err >&2; die "$where: internal error"; }; aborted=$((aborted + 1)) ;; # a library gave up
      *) tail -3 err >&2; die "$where: ends with $rc" ;;
    esac
    [ -z "$(left_over)" ] || [ $rc = 134 ] || [ $kind != memory ] || die "$where: leaves $(left_over)"
    if [ $rc != 0 ] && [ -d "$out" ]; then
      local again=("$@")
      [ "$2" = train ] && again+=(--resume)
      "${again[@]}" >out 2>err || { cat err >&2; die "$where: cannot be completed"; }
      [ "$(print_of "$out")" = "$whole" ] || die "$where: completed, it gives another result"
    fi
    passed=$((passed + 1))
  done
  [ "$aborted" = 0 ] || echo "$aborted of '$2' were ended by a library"
}
"$F" init x3d-tiny -o start.safetensors >/dev/null
for kind in memory eio full; do
  in_turn $kind s.h5 "$F" ingest --videos v --labels v/labels.csv -o s.h5 --size 16 --frames 4 --threads 1
  in_turn $kind w.safetensors "$F" init x3d-tiny -o w.safetensors
  in_turn $kind i.safetensors "$F" weights import start.safetensors --as x3d-tiny -o i.safetensors
  [ $kind != memory ] || in_turn memory m.csv "$F" metrics --real p.h5 --fake v --model x3d-tiny --weights start.safetensors --size 16 --frames 4 --no-cache --halves 2 --csv m.csv
  in_turn $kind run "$F" train t.yaml -o run
  in_turn $kind results "$F" experiment run e.yaml -o results
done
done_testing
