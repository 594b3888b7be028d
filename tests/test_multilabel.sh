# Several labels a video: lists of names and columns of 0 and 1, a sigmoid for each label in training, evaluation, prediction and
# experiments; what gives a clip one class alone is refused before anything runs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
works "$F" phantom -o p.h5 --videos 48 --size 32 --frames 8 --mp4 v
python3 - <<'P'
import csv
rows = list(csv.DictReader(open("v/labels.csv", newline="")))
sets = [{"polyp"} & {r["label"]} | ({"odd"} if i // 2 % 2 else set()) for i, r in enumerate(rows)]
with open("names.csv", "w") as names, open("columns.csv", "w") as columns:
    names.write("video,machine,finding\n"), columns.write("video,polyp,odd,side\n")
    for r, s in zip(rows, sets):
        names.write(f"{r['video']},{'A' if 'odd' in s else 'B'},{' | '.join(sorted(s, reverse=True))}\n")
        columns.write(f"{r['video']},{int('polyp' in s)},{'yes' if 'odd' in s else 'no'},left\n")
P
ingest() { "$F" ingest --videos v --labels "$1" -o "$2" --force --size 32 --frames 8 --stride 1 "${@:3}"; }
fails 1 "names.csv:2: the label is empty" -- ingest names.csv x.h5
works ingest names.csv m.h5 --multilabel
works ingest columns.csv k.h5 --multilabel --columns label=polyp+odd
for s in m k; do "$F" info $s.h5 --json | python3 -c 'import json,sys; l = json.load(sys.stdin)["labels"]; assert l == {"none": 12, "odd": 12, "polyp": 12, "odd|polyp": 12}, l'; done
python3 - <<'P'
t = open("columns.csv").read().split("\n")
t[3] = t[3].rsplit(",", 3)[0] + ",-1,no,left"
open("unsure.csv", "w").write("\n".join(t))
P
fails 1 "unsure.csv:4: the column polyp is '-1' here; 0 or 1 is needed" -- ingest unsure.csv x.h5 --multilabel --columns label=polyp+odd
fails 1 "no column is called odds" -- ingest columns.csv x.h5 --multilabel --columns label=polyp+odds
fails 2 "not both" -- ingest names.csv x.h5 --multilabel --threshold 3
sed 's/polyp | odd/none|odd/' names.csv >none.csv
fails 1 "the label 'none|odd' is none and others" -- ingest none.csv x.h5 --multilabel
sed 's/,$/,healthy/' names.csv >healthy.csv
works ingest healthy.csv x.h5 # without the word each set is a class, and that is said
grep -q "counts as one class. If it names several: --multilabel" err || die "a list of several labels passes in silence"

cat >t.yaml <<'Y'
task: classifier
data: {clips: m.h5, multilabel: true}
labels: 16
validation: 8
classifier: {steps: 30, batch: 8}
Y
works "$F" train t.yaml -o run
works "$F" evaluate run --data m.h5 --split all
grep -q "^polyp  *24 videos  F1" out || die "evaluate does not show each label: $(cat out)"
works "$F" evaluate run --data m.h5 --split all --json
cp out scores.json
works "$F" predict run v/phantom-0000[0-9].mp4 v/phantom-000[1-4][0-9].mp4 -o pred.csv
python3 - <<'P' || die "evaluate and predict do not agree"
import csv, json
rows = {r["video"]: r["finding"] for r in csv.DictReader(open("names.csv", newline=""))}
pred = list(csv.DictReader(open("pred.csv", newline="")))
names = ["odd", "polyp"]
s = json.load(open("scores.json"))
assert s["classes"] == names and len(pred) == 48
said = [{k for k in names if float(r["p_" + k]) > 0.5} for r in pred]
true = [{k for k in names if k in rows[r["video"].split("/")[-1]]} for r in pred]
assert all(r["predicted"] == ("|".join(sorted(a)) or "none") for r, a in zip(pred, said))
f1 = [2 * sum(k in a and k in b for a, b in zip(said, true)) / max(1, sum((k in a) + (k in b) for a, b in zip(said, true))) for k in names]
assert all(abs(a - c["f1"]) < 1e-9 for a, c in zip(f1, s["of_class"])) and abs(sum(f1) / 2 - s["f1"]) < 1e-9, (f1, s)
assert abs(sum(a == b for a, b in zip(said, true)) / 48 - s["accuracy"]) < 1e-9
assert any(float(r["p_odd"]) + float(r["p_polyp"]) > 1.1 or float(r["p_odd"]) + float(r["p_polyp"]) < 0.9 for r in pred) # no softmax
P
fails 1 "gives an unlabelled clip one class" "positive: NAME" -- "$F" train t.yaml -o semi --set data.unlabelled=p.h5

cat >e.yaml <<'Y'
data: {clips: m.h5, multilabel: true}
labels: 12
validation: 8
splits: 2
seeds: 1
arms: [supervised, fully-supervised]
bootstrap: 200
selection: validation
rehearse: never
classifier: {steps: 10, batch: 4}
Y
works "$F" experiment run e.yaml -o ex
grep -q "warning: machine alone tells the class odd (balanced accuracy 1.00" err || die "a machine that tells one label is not said: $(cat err)"
! grep -q "machine alone tells the class polyp" err || die "the machine does not tell the other label"
python3 - <<'P' || die "the tables are not those of the predictions"
import csv, glob, json
lines = [json.loads(l) for l in open("ex/results.jsonl")]
assert len(lines) == 4
per = list(csv.DictReader(open("ex/labels.csv", newline="")))
assert len(per) == 8 and {r["label"] for r in per} == {"odd", "polyp"}
for l in lines:
    rows = list(csv.DictReader(open("ex/" + l["scores"], newline="")))
    f1 = []
    for k in ("odd", "polyp"):
        said, true = [float(r["p_" + k]) > 0.5 for r in rows], [k in r["label"].split("|") for r in rows]
        f1.append(2 * sum(a and b for a, b in zip(said, true)) / max(1, sum(said) + sum(true)))
    assert abs(sum(f1) / 2 - l["metrics"]["f1"]) < 1e-9 and l["metrics"]["classes"] == ["odd", "polyp"]
    mine = {r["label"]: float(r["f1"]) for r in per if (r["arm"], r["split"]) == (l["arm"], str(l["split"]))}
    assert abs(mine["odd"] - f1[0]) < 1e-5 and abs(mine["polyp"] - f1[1]) < 1e-5
s = {r["arm"]: r for r in csv.DictReader(open("ex/summary.csv", newline=""))}
assert float(s["supervised"]["f1_ci_low"]) <= float(s["supervised"]["f1_mean"]) <= float(s["supervised"]["f1_ci_high"])
sets = {r["video"]: {p for p in r["finding"].split(" | ") if p} for r in csv.DictReader(open("names.csv", newline=""))}
for f in glob.glob("ex/splits/split-?.json"): # labelled videos are balanced over the labels and those without
    d = json.load(open(f))
    count = [sum("polyp" in sets[v] for v in d["labelled"]), sum("odd" in sets[v] for v in d["labelled"]), sum(not sets[v] for v in d["labelled"])]
    assert len(d["labelled"]) == 12 and max(count) - min(count) <= 1, count
page = open("ex/report.html").read()
assert "2 labels, several a video" in page and "average precision" in page and "Reliability of each label" in page
P
fails 1 "the arm real-unlabelled has unlabelled clips, to which fixmatch gives one class each" -- "$F" experiment run e.yaml -o no --set arms=supervised,real-unlabelled
[ -z "$(ls no/runs 2>/dev/null | grep classifier)" ] || die "something ran before the arm was refused"
works "$F" experiment run e.yaml -o one --set arms=supervised,real-unlabelled --set positive=polyp --set selection=last --set classifier.steps=2 --set splits=1
head -1 one/scores/supervised-split-0-seed-0.csv | grep -q "p_no polyp,p_polyp" || die "positive does not name one label"
fails 1 "positive is Polyp, which no video" -- "$F" experiment run e.yaml -o two --set positive=Polyp
fails 1 "has the label 'strange', which the classifier does not know" -- "$F" evaluate run --data m.h5 --split all --set 'data.map=odd: strange'
done_testing
