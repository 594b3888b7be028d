# Clips that show training videos again: told from new ones of the same kind by `forty copies` and by an experiment's report.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

small="--videos 48 --size 32 --frames 8 --threads 1"
works "$F" phantom -o known.h5 $small
works "$F" phantom -o held.h5 $small --seed 3
works "$F" phantom -o new.h5 $small --seed 5
works "$F" copies --train known.h5 --held-out held.h5 known.h5 -o pairs.png
grep -q "^known.h5: copies its training videos: 100 %" out || die "the training clips are no copies of themselves: $(cat out)"
[ -s pairs.png ] || die "no picture of the pairs"
works "$F" copies --train known.h5 --held-out held.h5 new.h5
grep -q "copies its training" out && die "new phantoms are called copies: $(cat out)"
works "$F" copies --train known.h5 --held-out held.h5 new.h5 --json
python3 - <<'P'
import json
o = json.load(open("out"))
m = o["memorisation"]
assert o["clips"] == o["training_clips"] == 48 and len(o["pairs"]) == 4 and not m["copying"] and m["ratio"][0] == 0, o
assert 0 <= m["copies"][1] <= m["copies"][0] <= m["copies"][2] <= 1 and m["tau"] < 1 and m["coverage"][0] < 0.5, o
P
works "$F" copies --train known.h5 new.h5
grep -q "cannot be told without held-out" out || die "copies without held-out clips: $(cat out)"
fails 2 "same clips" -- "$F" copies --train known.h5 --held-out known.h5 new.h5
fails 2 "TRAIN.h5" -- "$F" copies new.h5

# in the report: one arm shows the training pool again, others are new; filters leave what breaks no rule, or nothing
cat >e.yaml <<'Y'
threads: 1
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 48}
positive: polyp
labels: 12
splits: 1
generated: 8
bootstrap: 100
features: {model: vae, frames: 0, views: 1}
vae: {steps: 4, batch: 2}
arms:
  - supervised
  - "clips: known.h5"
  - "clips: new.h5"
  - "clips: known.h5 clips.filter=likeness,copies unlabelled.clips=5 name=left"
  - "clips: new.h5 clips.filter=agreement name=half"
  - "clips: new.h5 clips.filter=agreement clips.agreement=1 name=sure"
  - "noise clips.filter=agreement,likeness name=none"
classifier: {model: x3d-tiny, steps: 2, batch: 4}
Y
works "$F" experiment run e.yaml -o a
grep -q "^known copies its training videos: " out || die "the first line does not name the copies: $(cat out)"
grep -q "^new: copies of training clips" out || die "no passport of the new clips"
grep -q "new copies its training" out && die "new phantoms are called copies: $(cat out)"
grep -q "^none: no clip passed its filter" out || die "an arm without clips is not called so: $(cat out)"
grep -q "^none: 8 clips drawn, 0 dropped by agreement, 8 by likeness; none is left" out || die "the filter does not count: $(cat out)"
grep -q "most like a training clip" a/report.html || die "the page shows no closest pairs"
grep -q "none is left" a/report.html || die "the page does not say what the filter left"
grep -q "<p class=lead>known copies its training videos" a/report.html || die "the page's first line does not name the copies"
grep -q "Clips are compared as thumbnails" a/report.html || die "the page does not say what clips are compared as"
grep -q "MMD, squared and unbiased" a/report.html || die "the page shows no distances"
[ "$(grep -c "how like real clips (held-out real clips): frechet" out)" = 3 ] || die "distances are not told once for all arms of the same clips: $(cat out)"
works "$F" experiment report e.yaml -o a --json
python3 - <<'P'
import csv, json
o = json.load(open("out"))
arm = {a["arm"]: a for a in o["arms"]}
known, new = (arm[n]["memorisation"] for n in ("known", "new"))
assert o["verdict"].startswith("known copies") and known["copying"] and not new["copying"], o
assert arm["supervised"]["memorisation"] is arm["known"]["filter"] is None
row = next(r for r in csv.DictReader(open("a/summary.csv")) if r["arm"] == "known")
assert abs(float(row["copies"]) - known["copies"][0]) < 1e-5 and float(row["coverage"]) == 1, row
assert next(r for r in csv.DictReader(open("a/summary.csv")) if r["arm"] == "supervised")["copies"] == ""
near, far = (arm[n]["distances"] for n in ("new", "none"))
for name, d in near.items():
    assert name in ("frechet", "jedi") or d["ci_low"] <= d["value"] <= d["ci_high"], (name, d)
    assert d["floor"] == far[name]["floor"], name  # of the same held-out clips
    assert float(row["real_%s_floor" % name]) == float("%.6g" % d["floor"]), name
assert near["mmd"]["value"] < far["mmd"]["ci_low"] and near["precision"]["value"] > 0.9 > far["precision"]["ci_high"], (near, far)
assert near["frechet"]["alike"] < far["frechet"]["alike"] and arm["new"]["alike_clips"] == 6 and arm["supervised"]["alike_clips"] == 0, o
for a in o["arms"]:
    f = a["filter"]
    if f: assert f["drawn"] == f["kept"] + sum(f["dropped"].values()) and f["used"] <= f["kept"], a
f = arm["left"]["filter"]
assert f["dropped"]["copies"] + f["dropped"]["likeness"] >= round(48 * known["copies"][0]) and f["used"] == 5, f
assert 0 < arm["half"]["filter"]["kept"] < 48 and arm["sure"]["filter"]["kept"] == 0, o
assert arm["none"]["delta_f1"] == 0  # from labels alone: the same classifier as the baseline's
line = [l for l in map(json.loads, open("a/results.jsonl")) if l["arm"] == "left"][0]
assert line["filter"] == [{**line["filter"][0], "drawn": 48, "used": 5}], line
P
fails 1 "similar is no rule" -- "$F" experiment run e.yaml -o b --set clips.filter=similar
fails 1 features.model -- "$F" experiment run e.yaml -o b --set features.model=
done_testing
