# Data-parallel training: two ranks take the steps of one process with the summed batch, stop together, and resume.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
command -v mpirun >/dev/null && [ -e "$(dirname "$F")/libforty_mpi.so" ] || { echo "skipped: no MPI"; exit 77; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ASAN_OPTIONS=detect_leaks=0 # MPI_Init leaks
two() { mpirun --oversubscribe -n 2 "$@"; }
works "$F" phantom -o ph.h5 --videos 24 --size 32 --frames 8
cat >gen.yaml <<'Y'
task: generator
threads: 1
precision: f32
data: {clips: ph.h5}
vae: {steps: 10, batch: 2}
generator: {model: medsora-tiny, steps: 20, batch: 4, images: 2}
Y
half="--set vae.batch=1 --set generator.batch=2"
works "$F" train gen.yaml -o one
works two "$F" train gen.yaml -o both $half
grep -q "2 ranks train together" err || die "nothing says that there are two"
works "$F" train gen.yaml -o less $half # the control: one process that sees half of it
cat >compare.py <<'P'
import csv
def curve(run): return [[float(v) for v in r[2:]] for r in list(csv.reader(open(run + "/log.csv")))[1:]]
def far(a, b, rows): return max(abs(x - y) / abs(x) for p, q in list(zip(a, b))[rows] for x, y in zip(p, q))
for part, length in (("/vae", 10), ("", 20)):
    one, both, less = (curve(r + part) for r in ("one", "both", "less"))
    assert len(one) == len(both) == length
    # the same numbers, summed in another order: f32 rounding in the first step, which training then lets grow slowly
    assert far(one, both, slice(0, 1)) < 2e-5, (part, one[0], both[0])
    assert far(one, both, slice(0, 10)) < 2e-2, part
    assert far(one, less, slice(0, 1)) > 1e-2, "the control is no control"
P
python3 compare.py || die "two ranks learn something else"
# random numbers of the network itself (drop path, dropout): a rank draws those of its part
cat >cls.yaml <<'Y'
task: classifier
threads: 1
precision: f32
positive: polyp
labels: 12
data: {clips: ph.h5}
classifier: {model: timesformer-tiny, steps: 4, batch: 4}
Y
works "$F" train cls.yaml -o one-c
works two "$F" train cls.yaml -o both-c --set classifier.batch=2
python3 - <<'P' || die "a classifier without BatchNorm learns something else"
import csv
a, b = ([[float(v) for v in r[2:]] for r in list(csv.reader(open(d + "/log.csv")))[1:]] for d in ("one-c", "both-c"))
assert len(a) == 4 and max(abs(x - y) / max(abs(x), 1e-3) for p, q in zip(a, b) for x, y in zip(p, q)) < 2e-2, (a, b)
P
# interrupted: all ranks stop at one step, and a resumed run is bit for bit that of two ranks without a pause
mpirun --oversubscribe -n 2 "$F" train gen.yaml -o stopped $half --set generator.steps=400 >out 2>err & # not a shell: it gets the signal
for i in $(seq 100); do [ -e stopped/latents.safetensors ] && break; sleep 0.1; done
sleep 1
kill -TERM $!
wait $! 2>/dev/null || true
[ -e stopped/state.safetensors ] && [ ! -e stopped/run.json ] || die "the state was not saved: $(cat err)"
works two "$F" train gen.yaml -o stopped --resume $half --set generator.steps=400
works two "$F" train gen.yaml -o whole $half --set generator.steps=400
cmp stopped/log.csv whole/log.csv || die "a resumed run of two ranks gives other numbers"
cmp stopped/weights.safetensors whole/weights.safetensors || die "a resumed run of two ranks gives other weights"
# one that fails ends all
rc=0
two "$F" train gen.yaml -o one $half >out 2>err || rc=$?
[ $rc != 0 ] && grep -q "exists already" err || die "an existing run is not refused: $(cat err)"
done_testing
