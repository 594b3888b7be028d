# In an experiment a generator is told the labels of its split alone, and pseudo-labels of a probe that saw nothing else; one that
# is told nothing is the same for all splits.
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
arms: ["medsora-tiny name=plain", "medsora-tiny generator.condition=labels generator.class_guidance=2 name=told",
       "medsora-tiny generator.autoguidance=2 generator.autoguidance_until=0 name=lean"]
baseline: plain
bootstrap: 100
vae: {steps: 2, batch: 2}
generator: {steps: 2, batch: 2, sample_steps: 2}
align: {weight: 0.1, teacher: vae, input: frames}
classifier: {model: x3d-tiny, steps: 2, batch: 4}
Y
works "$F" experiment run e.yaml -o x
python3 - <<'P' || die "who is told in an experiment"
import csv, glob, json
told = sorted(sorted(csv.reader(open(f)))[:-1] for f in glob.glob("x/runs/generator-*/conditions.csv"))
split = [json.load(open(f"x/splits/split-{i}.json")) for i in range(2)]
assert [sorted(v for v, _ in t) for t in told] == sorted(sorted(s["labelled"]) for s in split), told
assert not {v for t in told for v, _ in t} & set(split[0]["validation"] + split[0]["test"])
assert len(glob.glob("x/runs/generator-*")) == 3 and len(glob.glob("x/runs/samples-*")) == 4  # lean: of the generator of plain
taught = glob.glob("x/runs/*/features.safetensors")  # of the clips alone: one for all splits and conditions
assert len(taught) == 1 and "/teacher-" in taught[0], taught
P

# DPT: a probe's labels for the rest of the pool, then clips of each class, which teach it
sed -i '/name=lean/d; s/^arms:.*/arms: [supervised, "medsora-tiny generator.condition=pseudo-labels clips.use=labelled name=dpt", "medsora-tiny generator.condition=pseudo-labels generator.confidence=0.6 name=sure"]/; s/^baseline:.*/features: {model: vae, frames: 0, views: 1}/' e.yaml
works "$F" experiment run e.yaml -o d
python3 - <<'P' || die "pseudo-labels in an experiment"
import csv, glob, json
split = [json.load(open(f"d/splits/split-{i}.json")) for i in range(2)]
hidden = set(split[0]["validation"] + split[0]["test"])
pseudo = [json.load(open(f)) for f in glob.glob("d/runs/pseudo-*/pseudo.json")]
assert len(pseudo) == 2 and len(glob.glob("d/runs/generator-*")) == 4, glob.glob("d/runs/*")
labelled = [set(s["labelled"]) for s in split]
for p in pseudo:
    assert not {v for v, _, _ in p} & hidden and all(c in ("normal", "polyp") and 0.5 <= q <= 1 for _, c, q in p), p
pool = {v for p in pseudo for v, _, _ in p} | set.union(*labelled)
said = {frozenset(pool - {v for v, _, _ in p}): {v: (c, q) for v, c, q in p} for p in pseudo}
assert set(said) == set(map(frozenset, labelled)), said
sure = 0
for f in glob.glob("d/runs/generator-*/conditions.csv"):
    rows = list(csv.DictReader(open(f)))
    p = said[frozenset(r["video"] for r in rows if r["source"] == "label")]
    guessed = {r["video"]: r["label"] for r in rows if r["source"] == "pseudo-label"}
    assert not {r["video"] for r in rows} & hidden and all(p[v][0] == c for v, c in guessed.items()), rows
    if set(guessed) != set(p):
        assert {v for v, (_, q) in p.items() if q >= 0.6} == set(guessed), (p, guessed)
        sure += 1
assert sure == 2, "the threshold leaves nobody out"
line = [l for l in map(json.loads, open("d/results.jsonl")) if l["arm"] == "dpt"]
assert all(l["labelled_clips"] == [{"clips": {"normal": 2, "polyp": 1}, "weight": 1}] for l in line) and len(line) == 2, line
P
fails 1 "features.model" -- "$F" experiment run e.yaml -o y --set features.model=
# the control: the split's labels, dealt out evenly within each class
sed -i 's/^arms:.*/arms: [supervised, "medsora-tiny generator.condition=shuffled-labels clips.use=labelled"]/; s/^labels:.*/labels: 8/' e.yaml
works "$F" experiment run e.yaml -o c --set phantom.videos=48
works "$F" phantom -o shows.h5 --videos 48 --size 32 --frames 8 --mp4 shows
python3 - <<'P' || die "shuffled labels"
import collections, csv, glob, json
shows = {r["video"].removesuffix(".mp4"): r["label"] for r in csv.DictReader(open("shows/labels.csv"))}
split = [json.load(open(f"c/splits/split-{i}.json")) for i in range(2)]
files = glob.glob("c/runs/generator-*/conditions.csv")
assert len(files) == 2
for name in files:
    told = {r["video"]: r["label"] for r in csv.DictReader(open(name))}
    assert set(told) in [set(s["labelled"]) for s in split] and len(told) == 8
    pairs = collections.Counter((shows[v], c) for v, c in told.items())
    assert sorted(pairs.values()) == [2, 2, 2, 2], pairs
P
cat >g.yaml <<'Y'
task: generator
data: {clips: p.h5}
generator: {model: medsora-tiny, condition: pseudo-labels}
Y
works "$F" phantom -o p.h5 --videos 6 --size 32 --frames 8
fails 1 "pseudo-labels" "in experiments only" -- "$F" train g.yaml -o z
done_testing
