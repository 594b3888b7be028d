# Clips that show training videos again: told from new ones of the same kind by `forty copies` and by an experiment's report.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

small="--videos 48 --size 32 --frames 4 --threads 1"
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

# in the report: one arm shows the training pool again, the other is new
cat >e.yaml <<'Y'
threads: 1
data: {phantom: true, size: 32, frames: 4}
phantom: {videos: 48}
positive: polyp
labels: 12
splits: 1
bootstrap: 100
arms: [supervised, "clips: known.h5", "clips: new.h5"]
classifier: {model: x3d-tiny, steps: 2, batch: 4}
Y
works "$F" experiment run e.yaml -o a
grep -q "^known copies its training videos: " out || die "the first line does not name the copies: $(cat out)"
grep -q "^new: copies of training clips" out || die "no passport of the new clips"
grep -q "new copies its training" out && die "new phantoms are called copies: $(cat out)"
grep -q "most like a training clip" a/report.html || die "the page shows no closest pairs"
grep -q "<p class=lead>known copies its training videos" a/report.html || die "the page's first line does not name the copies"
works "$F" experiment report e.yaml -o a --json
python3 - <<'P'
import csv, json
o = json.load(open("out"))
known, new = (next(a for a in o["arms"] if a["arm"] == n) for n in ("known", "new"))
assert o["verdict"].startswith("known copies") and known["memorisation"]["copying"] and not new["memorisation"]["copying"], o
assert o["arms"][0]["memorisation"] is None
row = next(r for r in csv.DictReader(open("a/summary.csv")) if r["arm"] == "known")
assert abs(float(row["copies"]) - known["memorisation"]["copies"][0]) < 1e-5 and float(row["coverage"]) == 1, row
assert next(r for r in csv.DictReader(open("a/summary.csv")) if r["arm"] == "supervised")["copies"] == ""
P
done_testing
