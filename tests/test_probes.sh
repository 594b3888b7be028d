# Probes through whole experiments: features are computed once and shared, every algorithm and arm runs on them, runs predict by themselves.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
works "$F" phantom -o p.h5 --videos 24 --size 32 --frames 8 --mp4 v
works "$F" init x3d-tiny -o x3d.safetensors
cat >e.yaml <<'Y'
threads: 1
data: {clips: p.h5}
positive: polyp
labels: 8
generated: 4
splits: 2
arms:
  - supervised
  - fully-supervised
  - noise
  - real-unlabelled ssl.algorithm=pseudolabel name=pseudolabel
  - real-unlabelled ssl.algorithm=meanteacher name=meanteacher
  - real-unlabelled ssl.algorithm=fixmatch name=fixmatch
  - real-unlabelled ssl.algorithm=flexmatch name=flexmatch
  - real-unlabelled ssl.algorithm=freematch name=freematch
  - real-unlabelled ssl.algorithm=softmatch name=softmatch
bootstrap: 100
features: {model: x3d-tiny, weights: x3d.safetensors, views: 2}
classifier: {model: linear-probe, steps: 8, lr: 0.02}
ssl: {threshold: 0.6}
rehearse: never
Y
works "$F" experiment run e.yaml -o r
[ "$(ls -d r/runs/features-* | wc -l)" = 2 ] || die "features of the videos and of the noise, once each: $(ls -d r/runs/*)"
python3 - <<'P'
import csv, json
f1 = {}
for l in map(json.loads, open("r/results.jsonl")):
    f1.setdefault(l["arm"], []).append(open("r/" + l["scores"]).read())
assert len(f1) == 9, f1.keys()
assert len({tuple(v) for v in f1.values()}) == 9, "two arms have the same answers: their settings were lost"
row = {r["arm"]: r for r in csv.DictReader(open("r/summary.csv"))}
assert row["noise"]["features_network"] == "x3d-tiny" and float(row["noise"]["features_frechet"]) > 0, row["noise"]
assert row["noise"]["features_mmd_ci_low"] and not row["noise"]["features_jedi_ci_low"] and not row["supervised"]["features_mmd"], row
P
grep -q "^noise: how like real clips in x3d-tiny" out || die "distances in the features of the probes are not told: $(cat out)"
grep -q "how like real clips, in x3d-tiny" r/report.html || die "the page does not show them"
before=$(cat r/runs/features-*/done.json | sha256sum)
works "$F" experiment run e.yaml -o r --set classifier.model=attentive-probe --set classifier.lr=0.001
[ "$(cat r/runs/features-*/done.json | sha256sum)" = "$before" ] || die "another probe made the features anew"
# a rehearsal sees one view of each kind, and expects the time of all
works "$F" experiment run e.yaml -o dry --dry-run --set features.views=40
python3 - <<'P' || die "a dry run looks at all views"
import json
s = [r for r in json.load(open("dry/rehearsal.json"))["stages"] if r["stage"] == "features"]
assert len(s) == 2 and all(r["work"] == 3 for r in s), s
P
# a run knows what it looks through
run=$(grep -l '"strength"' r/runs/classifier-*/run.json | head -1)
run=${run%/run.json}
works "$F" predict "$run" v/phantom-00003.mp4
works "$F" evaluate "$run" --data p.h5
works "$F" init x3d-tiny -o x3d.safetensors --seed 5 --force
fails 1 "other weights" -- "$F" predict "$run" v/phantom-00003.mp4
# eyes of one's own
works "$F" experiment run e.yaml -o r2 --set arms=supervised,noise --set features.model=vae --set vae.steps=2 --set vae.batch=2
fails 1 "features.model is missing" -- "$F" experiment run e.yaml -o r3 --set features.model=
fails 1 "features.weights is missing" -- "$F" experiment run e.yaml -o r3 --set features.weights=
fails 1 "unlabelled.frames" -- "$F" experiment run e.yaml -o r3 --set arms=real-unlabelled --set unlabelled.frames=frozen
fails 1 "learns from features" -- "$F" train e.yaml -o t --set task=classifier

# ---- adapters: the backbone stands still, and merged weights are the same network ----
works "$F" init timesformer-tiny -o t.safetensors
cat >l.yaml <<'Y'
task: classifier
threads: 1
precision: f32
data: {clips: p.h5}
positive: polyp
labels: 8
classifier: {model: timesformer-tiny, weights: t.safetensors, lora: 2, lora_alpha: 8, steps: 12, batch: 4, lr: 0.05, ema: 0.5}
Y
works "$F" train l.yaml -o lora
works "$F" weights export lora -o merged.safetensors
cp -r lora merged
cp merged.safetensors merged/ema.safetensors
sed -i '/"lora/d' merged/run.json
"$F" predict lora v/phantom-0000?.mp4 >a.csv 2>/dev/null
"$F" predict merged v/phantom-0000?.mp4 >b.csv 2>/dev/null
python3 - <<'P'
import csv, json, struct
def tensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    return {k: raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]] for k, v in head.items() if k != "__metadata__"}
start, run = tensors("t.safetensors"), tensors("lora/ema.safetensors")
merged = {k.removeprefix("backbone."): v for k, v in tensors("merged.safetensors").items()}  # as Endo-FM's code wants it
changed = {k for k in start if run[k] != start[k]}
assert changed and all(k.startswith("head.") for k in changed), changed
assert any(".lora_A." in k for k in run) and not any(".lora_" in k for k in merged) and set(merged) == set(start)
adapted = {k.replace(".lora_A.weight", ".weight") for k in run if ".lora_A." in k}
moved = {k for k in start if merged[k] != run[k]}
assert moved and moved <= adapted, moved ^ adapted  # of fresh weights temporal_fc is 0: nothing reaches the attention over time
a, b = (list(csv.reader(open(f))) for f in ("a.csv", "b.csv"))
p = [[float(r[-1]) for r in rows[1:]] for rows in (a, b)]
assert len(p[0]) == 10 and max(abs(x - y) for x, y in zip(*p)) < 1e-5 and max(p[0]) - min(p[0]) > 1e-4, p
P
fails 1 "no attention to adapt" -- "$F" train l.yaml -o x --set classifier.model=x3d-tiny
fails 1 "must have learnt" -- "$F" train l.yaml -o x --set classifier.weights=
done_testing
