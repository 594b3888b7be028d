# In an experiment a generator is told the labels of its split alone; one that is told nothing is the same for all splits.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/lib.sh"

cat >e.yaml <<'Y'
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 24}
labels: 4
generated: 3
splits: 2
rehearse: never
precision: f32
arms: ["medsora-tiny name=plain", "medsora-tiny generator.condition=labels generator.class_guidance=2 name=told"]
baseline: plain
bootstrap: 100
vae: {steps: 2, batch: 2}
generator: {steps: 2, batch: 2, sample_steps: 2}
classifier: {model: x3d-tiny, steps: 2, batch: 4}
Y
works "$F" experiment run e.yaml -o x
python3 - <<'P' || die "who is told in an experiment"
import csv, glob, json
told = sorted(sorted(csv.reader(open(f)))[:-1] for f in glob.glob("x/runs/generator-*/conditions.csv"))
split = [json.load(open(f"x/splits/split-{i}.json")) for i in range(2)]
assert [sorted(v for v, _ in t) for t in told] == sorted(sorted(s["labelled"]) for s in split), told
assert not {v for t in told for v, _ in t} & set(split[0]["validation"] + split[0]["test"])
assert len(glob.glob("x/runs/generator-*")) == 3 and len(glob.glob("x/runs/samples-*")) == 3
P
done_testing
