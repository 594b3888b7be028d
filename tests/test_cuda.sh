# The program with its CUDA kernels, on a stand-in for CUDA (tests/shim): training, sampling, resume, ranks, errors.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
plugin=$(dirname "$F")/tests/libforty_cuda_shim.so
[ -e "$plugin" ] || { echo "skipped: no C++ compiler"; exit 77; }
printf '#!/bin/sh\nFORTY_CUDA_PLUGIN=%s exec %s "$@"\n' "$plugin" "$F" >with-cuda && chmod +x with-cuda
C=$PWD/with-cuda # the same program with the stand-in as its plugin

# this program has no device here: it starts, says why, and computes on the processor; asked for a GPU it refuses
works "$F" doctor --json
python3 - <<'P' || die "doctor: $(cat out)"
import json
d = json.load(open("out"))
assert d["cuda"]["says"] and d["backend"].startswith("cpu"), d
P
if [ ! -e /dev/nvidia0 ]; then
  works "$F" phantom -o ph.h5 --videos 8 --size 16 --frames 4
  printf 'task: classifier\npositive: polyp\nlabels: 4\nthreads: 1\nprecision: f32\ndata: {clips: ph.h5}\nclassifier: {model: x3d-tiny, steps: 6, batch: 2}\n' >c.yaml
  fails 1 "--device cpu" -- "$F" train c.yaml -o no --device cuda
  fails 1 "auto, cpu, cuda or cuda:N" -- "$F" train c.yaml -o no --device gpu
  fails 1 "GPU 3 of 1" -- "$C" train c.yaml -o no --device cuda:3
fi
works "$C" doctor
grep -q "^GPU  *host shim" out || die "doctor: $(cat out)"

# a classifier: the first step is the processor's, the rest stays near; recorded or op by op, resumed or not: the same bits
works "$F" train c.yaml -o cpu --device cpu
works "$C" train c.yaml -o gpu --device cuda
python3 - <<'P' || die "the device learns something else"
import csv, json
a, b = ([[float(v) for v in r[2:]] for r in list(csv.reader(open(d + "/log.csv")))[1:]] for d in ("cpu", "gpu"))
assert len(a) == len(b) == 6
assert all(abs(x - y) <= 2e-5 * abs(x) for x, y in zip(a[0], b[0])), (a[0], b[0])
assert all(abs(x[0] - y[0]) <= 0.05 * abs(x[0]) for x, y in zip(a, b)), (a, b)
P
grep -q '"gpu": "host shim' gpu/run.json || die "run.json does not say where it ran: $(cat gpu/run.json)"
FORTY_CUDA_GRAPH=0 works "$C" train c.yaml -o listed --device cuda
cmp gpu/log.csv listed/log.csv && cmp gpu/weights.safetensors listed/weights.safetensors || die "a recorded step gives other numbers"
more="--set classifier.steps=24 --device cuda"
works "$C" train c.yaml -o whole $more
"$C" train c.yaml -o stopped $more >out 2>err &
for i in $(seq 100); do [ -d stopped ] && break; sleep 0.05; done
sleep 1
kill -TERM $! 2>/dev/null || true
wait $! 2>/dev/null || true
[ -e stopped/run.json ] || works "$C" train c.yaml -o stopped --resume $more
cmp whole/log.csv stopped/log.csv && cmp whole/weights.safetensors stopped/weights.safetensors || die "a resumed run gives other numbers"
rm gpu/run.json
fails 1 "was begun on a GPU" "--device cuda" -- "$F" train c.yaml -o gpu --resume
works "$C" train c.yaml -o gpu --resume --device cuda
works "$C" evaluate gpu --data ph.h5 --split all --device cuda

# algorithms that sum in different orders, one that fails, and a clock that says anything: by itself it decides about numbers; but a run
# that is stopped and goes on with another clock gives those of the whole run
clock() { local n=$1; shift; FORTY_CUDA_MEASURE=1 FT_SHIM_CLOCK=$n works "$C" "$@" --device cuda; }
clock 1 train c.yaml -o clock-1
different=no
for n in 2 3 4 5 6 7 8; do
  clock $n train c.yaml -o clock-$n
  cmp -s clock-1/weights.safetensors clock-$n/weights.safetensors || { different=$n; break; }
done
[ $different != no ] || die "no clock changes anything: the test sees nothing"
[ "$(cut -f1,2 clock-1/gpu-choices.tsv | sort | uniq -d | wc -l)" = 0 ] && [ "$(wc -l <clock-1/gpu-choices.tsv)" -gt 20 ] || die "choices: $(cat clock-1/gpu-choices.tsv)"
clock 1 train c.yaml -o whole-1 --set classifier.steps=24
FORTY_CUDA_MEASURE=1 FT_SHIM_CLOCK=1 "$C" train c.yaml -o stopped-1 $more >out 2>err &
for i in $(seq 400); do grep -q "^3," stopped-1/log.csv 2>/dev/null && break; sleep 0.05; done # all is planned by then
kill -TERM $! 2>/dev/null || true
wait $! 2>/dev/null || true
[ -e stopped-1/run.json ] || clock $different train c.yaml -o stopped-1 --resume --set classifier.steps=24
cmp whole-1/weights.safetensors stopped-1/weights.safetensors || die "a resumed run chose again"
cmp <(sort whole-1/gpu-choices.tsv) <(sort stopped-1/gpu-choices.tsv) || die "a resumed run has other choices"
works "$C" train c.yaml -o half --device cuda --precision bf16
grep -q "^5," half/log.csv || die "bf16 does not train"

# semi-supervised: views are made there, pseudo-labels are counted steps later
printf '%s\n' 'data: {phantom: true, size: 16, frames: 4}' 'phantom: {videos: 24}' 'labels: 6' 'splits: 1' 'seeds: 1' 'bootstrap: 100' 'threads: 1' \
  'arms: [supervised, real-unlabelled]' 'precision: f32' 'classifier: {model: x3d-tiny, steps: 4, batch: 2}' 'ssl: {threshold: 0.5}' >e.yaml
works "$F" experiment run e.yaml -o e-cpu
export FT_SHIM_DEVICES="2 $PWD/taken" # two GPUs, two workers
works "$C" experiment run e.yaml -o e-gpu --set device=cuda -j 2
unset FT_SHIM_DEVICES
[ "$(sort -u taken | tr '\n' ' ')" = "0 1 " ] || die "two workers took the GPUs $(cat taken)"
[ -s e-gpu/gpu-choices.tsv ] && [ -z "$(cut -f1,2 e-gpu/gpu-choices.tsv | sort | uniq -d)" ] || die "two workers do not agree: $(cat e-gpu/gpu-choices.tsv)"
python3 - <<'P' || die "a semi-supervised run counts something else"
import glob, json, csv
facts = [[json.loads(l) for l in open(d + "/results.jsonl")] for d in ("e-cpu", "e-gpu")]
for a, b in zip(*facts):
    assert abs((a.get("utilisation") or 0) - (b.get("utilisation") or 0)) < 1e-6, (a, b)
logs = [sorted(glob.glob(d + "/runs/classifier-*/log.csv")) for d in ("e-cpu", "e-gpu")]
assert len(logs[0]) == len(logs[1]) == 2
for p, q in zip(*logs):
    a, b = ([[float(v) for v in r[2:]] for r in list(csv.reader(open(f)))[1:]] for f in (p, q))
    assert all(abs(x - y) <= 2e-5 * abs(x) for x, y in zip(a[0], b[0])), (a[0], b[0])
P
# a rehearsal says what a stage needs of the GPU's memory
works "$C" experiment run e.yaml -o e-dry --set device=cuda --dry-run
grep -q "MiB for a stage, and [1-9][0-9]* of the GPU's" err || die "dry run: $(cat err)"
FT_SHIM_MEMORY=1 fails 1 "of the GPU's memory, which has 1. Lower its batch" -- "$C" experiment run e.yaml -o e-dry --set device=cuda --dry-run

# a VAE, a generator, clips
if [ "${ASAN_OPTIONS:-}" = "" ]; then
  works "$F" phantom -o ph32.h5 --videos 4 --size 32 --frames 8
  printf 'task: generator\nthreads: 1\nprecision: f32\ndata: {clips: ph32.h5}\nvae: {steps: 2, batch: 1}\ngenerator: {model: medsora-tiny, steps: 4, batch: 1, images: 1}\n' >g.yaml
  works "$F" train g.yaml -o g-cpu --device cpu
  works "$C" train g.yaml -o g-gpu --device cuda
  python3 - <<'P' || die "the generator learns something else"
import csv
for part in ("/vae", ""):
    a, b = ([[float(v) for v in r[2:]] for r in list(csv.reader(open(d + part + "/log.csv")))[1:]] for d in ("g-cpu", "g-gpu"))
    assert all(abs(x - y) <= 1e-3 * abs(x) for x, y in zip(a[0], b[0])), (part, a[0], b[0])
    assert all(abs(x[0] - y[0]) <= 5e-3 * abs(x[0]) for x, y in zip(a, b)), (part, a, b)
P
  works "$C" generate g-gpu -n 1 -o clips.h5 --steps 2 --device cuda
  works "$F" info clips.h5
fi

# a batch in parts, as one step
sed 's/x3d-tiny, steps: 6, batch: 2/timesformer-tiny, steps: 3, batch: 4, dropout: 0/' c.yaml >t.yaml
works "$C" train t.yaml -o one --device cuda
works "$C" train t.yaml -o parts --device cuda --set classifier.accumulate=2
python3 - <<'P' || die "a batch in parts learns something else"
import csv
a, b = ([[float(v) for v in r[2:]] for r in list(csv.reader(open(d + "/log.csv")))[1:]] for d in ("one", "parts"))
assert all(abs(x - y) <= 2e-5 * abs(x) for x, y in zip(a[0], b[0])), (a[0], b[0])
P

# two ranks, each with a device
if command -v mpirun >/dev/null && [ -e "$(dirname "$F")/libforty_mpi.so" ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 OMPI_COMM_WORLD_LOCAL_RANK=0 works mpirun --oversubscribe -n 2 bash -c "OMPI_COMM_WORLD_LOCAL_RANK=0 exec $C train t.yaml -o both --device cuda --set classifier.batch=2"
  python3 - <<'P' || die "two ranks learn something else"
import csv
a, b = ([[float(v) for v in r[2:]] for r in list(csv.reader(open(d + "/log.csv")))[1:]] for d in ("one", "both"))
assert all(abs(x - y) <= 2e-5 * abs(x) for x, y in zip(a[0], b[0])), (a[0], b[0])
P
fi
done_testing
