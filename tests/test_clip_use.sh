# Three uses of generated clips in an experiment: unlabelled, their class taught, both; by networks and by probes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

small="--size 32 --frames 8 --threads 1"
works "$F" phantom -o made.h5 --videos 12 --seed 5 $small
cat >e.yaml <<'Y'
threads: 1
precision: f32
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 24}
positive: polyp
labels: 6
generated: 2
splits: 1
bootstrap: 100
rehearse: never
features: {model: vae, frames: 0, views: 1}
vae: {steps: 2, batch: 2}
arms:
  - supervised
  - "clips: made.h5 name=unlabelled"
  - "clips: made.h5 clips.use=labelled name=labelled"
  - "clips: made.h5 clips.use=labelled clips.weight=0 name=nothing"
  - "clips: made.h5 clips.use=labelled clips.weight=0.25 unlabelled.clips=5 unlabelled.frames=frozen name=few"
  - "clips: made.h5 clips.use=both name=both"
  - "vae-roundtrip clips.use=labelled name=rebuilt"
  - "pseudo-labelled clips.use=labelled generated=1000 name=guessed"
  - noise
  - "clips: made.h5 clips.use=both clips.weight=0 name=half"
  - "clips: made.h5 clips.use=labelled clips.filter=agreement clips.agreement=0.6 name=filtered"
ssl: {threshold: 0.4}
classifier: {model: x3d-tiny, steps: 2, batch: 4}
Y
cat >check.py <<'P'
import glob, json, sys
line = {l["arm"]: l for l in map(json.loads, open(sys.argv[1] + "/results.jsonl"))}
said = {a: open(sys.argv[1] + "/" + l["scores"]).read() for a, l in line.items()}
taught = {a: l.get("labelled_clips") for a, l in line.items()}
assert said["nothing"] == said["supervised"] and said["half"] == said["unlabelled"], "a weight of 0 teaches something"
apart = [a for a in said if a not in ("nothing", "half", "filtered")]
assert len({said[a] for a in apart}) == len(apart), "two uses have the same answers"
assert taught["supervised"] is taught["unlabelled"] is None, taught
assert taught["labelled"] == taught["both"] == [{"clips": {"normal": 6, "polyp": 6}, "weight": 1}], taught
pool = json.load(open(sys.argv[1] + "/splits/split-0.json"))["pool"]
assert sum(taught["rebuilt"][0]["clips"].values()) == len(pool) and min(taught["rebuilt"][0]["clips"].values()) > 1, taught["rebuilt"]
guess = [c for _, c, _ in json.load(open(glob.glob(sys.argv[1] + "/runs/pseudo-*/pseudo.json")[0]))]
assert taught["guessed"] == [{"clips": {c: guess.count(c) for c in ("normal", "polyp")}, "weight": 1}], (taught["guessed"], guess)
assert taught["nothing"][0]["weight"] == 0 and line["labelled"]["pseudo_labels"] == [None] and line["both"]["pseudo_labels"] != [None]
left = sum(taught["filtered"][0]["clips"].values()) if taught["filtered"] else 0
assert left == line["filtered"]["filter"][0]["kept"] < 12, line["filtered"]
if "few" in taught: assert sum(taught["few"][0]["clips"].values()) == 5 and taught["few"][0]["weight"] == 0.25, taught
P
works "$F" experiment run e.yaml -o net
python3 check.py net
cat net/runs/classifier-*/log.csv | grep -q "^step,.*,generated" || die "the log does not show the loss of generated clips"
grep -v "name=few" e.yaml >p.yaml # features are of whole clips
works "$F" experiment run p.yaml -o net --set classifier.model=linear-probe
python3 check.py net
# who labels and filters does not depend on the classifier that is asked in the end
[ "$(ls -d net/runs/pseudo-* net/runs/filter-* | wc -l)" = 2 ] || die "another classifier, another probe: $(ls net/runs)"

# clips without a class, or with that of the experiment's own videos, are said before anything runs
use="--set clips.use=labelled"
fails 1 "clips.use" "noise" "no class" -- "$F" experiment run e.yaml -o x $use --set arms=supervised,noise
fails 1 "clips.use" "medsora-tiny" "generator.condition" -- "$F" experiment run e.yaml -o x $use --set arms=supervised,medsora-tiny
fails 1 "clips.use" "real-unlabelled" "not for this split" -- "$F" experiment run e.yaml -o x $use --set arms=supervised,real-unlabelled
fails 1 "clips.use" "vae-prior" -- "$F" experiment run e.yaml -o x $use --set arms=supervised,vae-prior
works "$F" phantom -o v.h5 --videos 2 $small --mp4 v
echo video,label >list.csv
for f in v/*.mp4; do echo "$(basename "$f"),cyst" >>list.csv; done
works "$F" ingest --videos v --labels list.csv --size 32 --frames 8 -o cyst.h5
fails 1 "cyst.h5: video" "cyst is no class" -- "$F" experiment run e.yaml -o x $use --set "arms=supervised,clips: cyst.h5"
cp net/runs/noise-*/clips.h5 bare.h5
fails 1 "bare.h5: video" "no label" -- "$F" experiment run e.yaml -o x $use --set "arms=supervised,clips: bare.h5"
done_testing
