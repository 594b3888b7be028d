# Arms with settings of their own, protocols and their faults, controls on unlabelled clips, samplers from videos to clips.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cat >e.yaml <<'Y'
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 48}
positive: polyp
labels: 12
generated: 12
splits: 2
arms:
  - supervised
  - supervised labels=6
  - supervised labels_from=first name=first of the list
  - real-unlabelled ssl.algorithm=flexmatch name=FlexMatch, a name with "marks"
  - real-unlabelled unlabelled.clips=5
  - real-unlabelled unlabelled.frames=frozen
  - training-clips unlabelled.frames=shuffled
  - noise unlabelled.clips=0.
bootstrap: 200
classifier: {steps: 4, batch: 4}
Y
fails 1 "e.yaml" "unlabelled.clips is '0.'" -- "$F" experiment run e.yaml -o a
sed -i 's/clips=0\./clips=4/' e.yaml
works "$F" experiment run e.yaml -o a
python3 - <<'P'
import csv, json
lines = [json.loads(l) for l in open("a/results.jsonl")]
names = list(dict.fromkeys(l["arm"] for l in lines))
assert names == ["supervised", "supervised labels=6", "first of the list", 'FlexMatch, a name with "marks"',
                 "real-unlabelled clips=5", "real-unlabelled frames=frozen", "training-clips frames=shuffled", "noise clips=4"], names
hashes = {}
for l in lines:
    hashes.setdefault(l["arm"], []).append(l["config_hash"])
assert len({h for v in hashes.values() for h in v}) == 16, "two arms share a run"
rows = list(csv.DictReader(open("a/summary.csv")))
assert [r["arm"] for r in rows] == names and all(None not in r for r in rows), "summary.csv does not hold the names"
split = lambda k, arm="": json.load(open(f"a/splits/split-{k}{arm}.json"))["labelled"]
assert len(split(0)) == 12 and split(0) != split(1)
assert len(split(0, "-supervised-labels=6")) == 6
assert split(0, "-first-of-the-list") == split(1, "-first-of-the-list"), "the first of a list are the same in every split"
assert split(0, "-first-of-the-list") == sorted(split(0, "-first-of-the-list"))
P
[ -e "a/scores/real-unlabelled-frames=frozen-split-1-seed-0.csv" ] || die "an arm's scores have no file of its name"
grep -q "<svg" a/report.html && grep -q "McNemar" a/report.html || die "the report lacks its curves or its differences"
works "$F" experiment run e.yaml -o a
grep -q "(0 stages computed" out || die "arms with settings are computed again"
fails 1 "data.size" "may differ between arms" -- "$F" experiment run e.yaml -o b --set "arms=supervised data.size=16"
fails 1 "stands there twice" -- "$F" experiment run e.yaml -o b --set "arms=supervised,noise,noise"
fails 1 "ssl.algorithm nosuch" -- "$F" experiment run e.yaml -o b --set "arms=supervised,noise ssl.algorithm=nosuch"
fails 1 "baseline" "none of the arms" -- "$F" experiment run e.yaml -o b --set baseline=nosuch
works "$F" experiment run e.yaml -o b --set "arms=noise,supervised" --set baseline=noise
grep -q "^supervised .*+\|^supervised .*-" out || die "the baseline is not noise"

# the test list stays closed outside the published protocols
fails 1 "only the protocol endora-repo" -- "$F" experiment run e.yaml -o b --set "arms=supervised selection=best-on-test"
fails 1 "scores the test list once" -- "$F" experiment run e.yaml -o b --set looks=3
fails 1 "protocol nosuch is not known" "endora-paper" -- "$F" experiment run e.yaml -o b --set protocol=nosuch
cat >repo.yaml <<'Y'
protocol: endora-repo
data: {phantom: true, size: 32, view: centre, clips_per_video: 2}
phantom: {list: polypdiag}
positive: polyp
splits: 2
generated: 8
arms:
  - supervised
  - noise
  - supervised selection=last classifier.evaluate=ema name=last
classifier: {model: timesformer-tiny, steps: 4, epoch: 2, lr: 0.01}
looks: 2
bootstrap: 200
Y
fails 1 "would move the statistics" -- "$F" experiment run repo.yaml -o r --set classifier.model=x3d-tiny
works "$F" experiment run repo.yaml -o r
grep -q "^supervised .*chosen on the test list" out || die "best on test is not marked in the table"
grep -q "^last: the best look at the test list" out || die "the best look of an arm that does not use it is not printed"
grep -q "class=bad" r/report.html && grep -q "scores are too high" r/report.html || die "best on test is not marked in the report"
python3 - <<'P'
import csv, json
lines = [json.loads(l) for l in open("r/results.jsonl")]
for l in lines:
    assert len(l["looks"]) == 2 and l["best_on_test"]["f1"] == max(l["looks"]), l
    if l["arm"] != "last":
        assert abs(l["metrics"]["f1"] - max(l["looks"])) < 1e-6, l
    else:
        assert abs(l["metrics"]["f1"] - l["looks"][-1]) < 1e-6, l
    assert sum(map(sum, l["metrics"]["confusion"])) == 80, "one answer a video"
s = json.load(open("r/splits/split-0.json"))
assert len(s["test"]) == 80 and len(s["pool"]) == 173 and not s["validation"]
assert s["labelled"] == ["phantom-%05d" % i for i in [*range(20), *range(102, 122)]], "the first 20 of each class"
P
works "$F" experiment run repo.yaml -o r --print-config
grep -q "threshold: 0.95  # protocol endora-repo" out || die "--print-config does not name the protocol as origin"
grep -q "lr: 0.01  # repo.yaml" out || die "the file's value does not win over the protocol's"

# samplers: 16 generated frames become 8 as the released loader takes them; ingest and predict take the same views
works "$F" phantom -o gen.h5 --videos 6 --size 32 --frames 16 --mp4 videos
works "$F" experiment run repo.yaml -o r --set "arms=supervised,clips: gen.h5,clips: gen.h5 unlabelled.sampler=uniform"
fails 1 "Make them alike" -- "$F" experiment run e.yaml -o b --set "arms=supervised,clips: gen.h5"
# the sampler that makes a file's clips alike is in the keys of what saw them, classifier and likeness, and of nothing else
works "$F" phantom -o few.h5 --videos 24 --size 32 --frames 8
few=(--set data.clips=few.h5 --set data.phantom=false --set splits=1 --set labels=4 --set "arms=supervised,clips: gen.h5")
works "$F" experiment run e.yaml -o s "${few[@]}" --set data.sampler=uniform
works "$F" experiment run e.yaml -o s "${few[@]}" --set data.sampler=dense
grep -q "(2 stages computed, 3 from the cache" out || die "clips of another sampler were taken from the cache: $(tail -n 1 out)"
for view in centre left 3crop; do
  works "$F" ingest --videos videos --labels videos/labels.csv -o v-$view.h5 --size 32 --frames 8 --sampler uniform --view $view
done
works "$F" info v-3crop.h5 --json
python3 -c 'import json; o = json.load(open("out")); assert o["clips"] == 18 and o["videos"] == 6, o'
fails 2 "--sampler is nosuch" -- "$F" ingest --videos videos --labels videos/labels.csv -o w.h5 --sampler nosuch
cat >t.yaml <<'Y'
task: classifier
data: {clips: v-3crop.h5, frames: 8, sampler: uniform, view: 3crop}
labels: 4
validation: 0
test_fraction: 0.4
positive: polyp
classifier: {steps: 3, batch: 2}
Y
works "$F" train t.yaml -o run
works "$F" predict run videos/phantom-00000.mp4 --json
python3 -c 'import json; p = json.load(open("out"))[0]["probabilities"]; assert abs(sum(p.values()) - 1) < 1e-5, p'
cp out one.json
works "$F" predict run videos/phantom-00000.mp4 --json
cmp out one.json || die "two predictions differ"
# a class that goes along with the device, and one video on both sides of the split, are said before anything is trained
python3 - <<'P'
import csv
rows = list(csv.DictReader(open("videos/labels.csv")))
with open("list.csv", "w") as f:
    w = csv.writer(f)
    w.writerow(["video", "label", "split", "device", "site", "note"])
    for k, r in enumerate(rows * 3):
        name = "x%d-" % (k // 6) + r["video"] if k > 5 else r["video"]
        w.writerow([name, r["label"], "test" if k % 5 == 0 else "train", "A" if r["label"] == "polyp" else "B", "XYZ"[k % 3], "video %d" % k])
P
for k in 1 2; do for f in videos/phantom-*.mp4; do cp "$f" "videos/x$k-$(basename "$f")"; done; done
cat >c.yaml <<'Y'
data: {videos: videos, labels: list.csv, size: 32, frames: 8, stride: 1}
labels: 4
splits: 1
validation: 0
positive: polyp
classifier: {steps: 2, batch: 2}
bootstrap: 100
Y
works "$F" experiment run c.yaml -o c
grep -q "device alone tells the class (balanced accuracy 1.00" err || die "the device is not said to tell the class"
grep -q "site alone\|note alone\|fps alone" err && die "a fact that tells nothing is blamed"
grep -q "shows the same as" err || die "equal videos on both sides are not found"
grep -q ">device<td[^>]*>2<td[^>]*>balanced accuracy 1.00" c/report.html || die "the report does not show the device"
grep -q "<td[^>]*>note" c/report.html && die "a name is taken for a fact"
# a list that puts one patient on both sides, and arms that would share files, end everything before it begins
sed '1s/note/group/; 2,$s/video [0-9]*/g&/' list.csv | sed '3s/gvideo 1/gvideo 0/' >leak.csv
for how in "run --dry-run" run; do
  fails 1 "group gvideo 0 has videos in two splits" "phantom-00000" "phantom-00001" -- \
    "$F" experiment $how c.yaml -o leak --set data.labels=leak.csv
done
fails 1 "gvideo 0" "phantom-00001" -- "$F" experiment worker c.yaml -o leak --set data.labels=leak.csv
[ ! -e leak/splits ] || die "splits of a list that leaks are written"
fails 1 "'a b' and 'a/b'" "files called a-b" -- \
  "$F" experiment run c.yaml -o leak --set "arms=supervised name=a b,noise name=a/b"
# what an earlier run found names videos by their rows: rows that are not there are not looked up
python3 - <<'P'
import glob, json
for p in glob.glob("c/runs/confounds-*/done.json"):
    json.dump({"confounds": [], "twins": [[999999, 0, 0.0]]}, open(p, "w"))
P
fails 1 "confounds-" "damaged" -- "$F" experiment run c.yaml -o c
done_testing
