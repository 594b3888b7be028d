# generator.stop: memorisation.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# while a generator trains: both numbers in its log, weights kept before it copies, and the same after kill -9
cat >g.yaml <<'Y'
threads: 1
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 24}
labels: 4
splits: 1
generated: 8
bootstrap: 100
vae: {steps: 2, batch: 2}
generator: {steps: 8, batch: 2, sample_steps: 2, stop: memorisation, stop_every: 3}
save_every: 2
arms: [supervised, medsora-tiny]
classifier: {model: x3d-tiny, steps: 2, batch: 4}
Y
works "$F" experiment run g.yaml -o g
killed_at "h/runs/generator-*/state.safetensors" "$F" experiment run g.yaml -o h
works "$F" experiment run g.yaml -o h
for f in log.csv ema.safetensors kept.safetensors weak.safetensors; do
  cmp g/runs/generator-*/$f h/runs/generator-*/$f || die "killed while it looked for copies, $f is another"
done
python3 - <<'P'
import csv, glob
rows = list(csv.DictReader(open(glob.glob("g/runs/generator-*/log.csv")[0])))
assert len(rows) == 8 and rows[1]["copies"] == "" and 0 <= float(rows[7]["copies"]) <= 1 and 0 <= float(rows[7]["coverage"]) <= 1, rows
P
works "$F" experiment gc g.yaml -o g --set arms=supervised # its folder may be removed, with all that it holds
ls g/runs | grep -q "^generator-" && die "a generator that was watched is not collected: $(ls g/runs/generator-*)"
done_testing
