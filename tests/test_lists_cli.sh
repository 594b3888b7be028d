# Lists as people have them, through the program: what is taken, what is said and with which line, data sets as they come, patients
# in names, folds of the list, predictions beside a bad file.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
says() { for w in "$@"; do grep -qF -- "$w" err || { cat err >&2; die "nothing says '$w'"; }; done; }

works "$F" phantom -o p.h5 --videos 24 --size 32 --frames 8 --mp4 v
python3 - <<'P' # the phantom's list as others write it
import csv
rows = list(csv.DictReader(open("v/labels.csv", newline="")))
assert len(rows) == 24 and set(rows[0]) >= {"video", "label"}
half = ["train" if i < 12 else "test" for i in range(24)]
def write(name, header, line, by=",", encoding="utf-8"):
    with open(name, "w", newline="", encoding=encoding) as f:
        w = csv.writer(f, delimiter=by)
        w.writerow(header)
        for i, r in enumerate(rows): w.writerow(line(i, r))
stem = lambda r: r["video"].removesuffix(".mp4")
write("capital.csv", ["Video", "Label", "Split"], lambda i, r: [r["video"], r["label"], half[i].upper()])
write("semi.csv", ["FileName", "Finding", "Patient ID"], lambda i, r: [stem(r), r["label"], f"p{i // 2}"], by=";")
write("utf16.csv", ["file", "class"], lambda i, r: ["C:\\Users\\me\\v\\" + r["video"], r["label"]], by="\t", encoding="utf-16")
write("forms.csv", ["video", "label"], lambda i, r: [r["video"], ["1", "1.0", "0", "0.0"][2 * (r["label"] == "normal") + i % 4 // 2]])
write("one.csv", ["video", "label", "group"], lambda i, r: [r["video"], r["label"], "P1"])
write("folds.csv", ["video", "label", "fold"], lambda i, r: [r["video"], r["label"], i // 2 % 3 + 1])
write("divided.csv", ["video", "label", "group", "split"], lambda i, r: [r["video"], r["label"], "P" if i in (0, 20) else f"g{i}", half[i]])
write("visits.csv", ["video", "label"], lambda i, r: [f"P{i // 4}_visit{i % 4}.mp4", r["label"]])
write("ef.csv", ["FileName", "EF", "ESV", "EDV", "Split"], lambda i, r: [stem(r), 40.5 if r["label"] == "polyp" else 60, 1, 2, half[i].upper()])
import os, shutil
os.makedirs("visits")
for i, r in enumerate(rows): shutil.copy("v/" + r["video"], f"visits/P{i // 4}_visit{i % 4}.mp4")
os.makedirs("echonet/Videos")
for r in rows: shutil.copy("v/" + r["video"], "echonet/Videos/" + r["video"])
shutil.copy("ef.csv", "echonet/FileList.csv")
P
ingest() { local videos=$1 list=$2; shift 2; "$F" ingest --videos "$videos" ${list:+--labels "$list"} -o o.h5 --force --size 16 --frames 8 --stride 1 "$@"; }
info() { "$F" info o.h5 --json | python3 -c "import json,sys; i = json.load(sys.stdin); $1"; }

works ingest v capital.csv
says "the name of the video is the column Video, the label is the column Label, the split is the column Split"
info 'assert i["splits"] == {"train": 12, "test": 12}, i'
works ingest v semi.csv
says "columns separated by semicolons" "the group is the column Patient ID" "24 videos of 12 groups" "24 of 24 videos are called otherwise"
works ingest v utf16.csv
says "columns separated by tabs, in UTF-16"
works ingest v forms.csv
says "warning" "forms.csv:4: the label '0.0' is taken for '0' of line 2" "forms.csv:5: the label '1.0' is taken for '1' of line 3"
[ "$(grep -c "is taken for" err)" = 2 ] || die "a spelling is said more than once"
info 'assert len(i["labels"]) == 2, i'
works ingest v one.csv
says "warning" "all 24 videos are of one group, P1"
works ingest v divided.csv
says "warning" "divided.csv:22: group P is in the split 'test' here, 'train' in line 2"

# a measurement is no class
fails 1 "ef.csv:3: the label is the number" "--threshold" -- ingest v ef.csv --columns label=EF
works ingest v ef.csv --columns label=EF --bins 50
says "12 videos below 50" "12 videos from 50"
fails 2 "no rising numbers" -- ingest v ef.csv --columns label=EF --bins 50,40
# data sets as they come
fails 2 "echonet: its label is a number" -- ingest echonet "" --as echonet
fails 2 "the data set echo is not known. There are echonet, " -- ingest echonet "" --as echo
works ingest echonet "" --as echonet --threshold 50
info 'assert i["splits"] == {"train": 12, "test": 12} and i["labels"] == {"below 50": 12, "from 50": 12}, i'
# patients in names
works ingest visits visits.csv --group-from '^(P[0-9]+)_'
says "24 videos of 6 groups"
fails 1 "visits.csv:2: group_from" "finds no group in" -- ingest visits visits.csv --group-from '^(X[0-9]+)_'
fails 2 "[0-9]" -- ingest visits visits.csv --group-from '^(P\d+)_'
[ -e o.h5 ] || die "what is refused took the store with it"

cat >e.yaml <<'Y'
data: {videos: v, size: 16, frames: 8, stride: 1}
positive: polyp
labels: 4
validation: 0
splits: 1
seeds: 1
arms: [supervised]
bootstrap: 100
classifier: {steps: 2, batch: 4}
Y
# an experiment reads lists by the same words, and a stage of other words is another stage
works "$F" experiment run e.yaml -o ex --set data.labels=capital.csv
python3 - <<'P' || die "the split of the list is not honoured"
import csv, glob, json
s = json.load(open(glob.glob("ex/splits/*.json")[0]))
want = {r["Video"] for r in csv.DictReader(open("capital.csv", newline="")) if r["Split"] == "TEST"}
assert set(s["test"]) == want, s
P
works "$F" experiment run e.yaml -o ef --set data.labels=ef.csv --set data.columns=label=EF --set data.threshold=50 --set "positive=below 50"
ls ef/runs | grep -c ingest >n1
works "$F" experiment run e.yaml -o ef --set data.labels=ef.csv --set data.columns=label=EF --set data.threshold=45 --set "positive=below 45" --force
[ "$(ls ef/runs | grep -c ingest)" -gt "$(cat n1)" ] || die "another threshold took the clips of the first"
says "ef was computed with other settings: data.threshold is" # a changed key computes anew what hangs on it
fails 1 "ef: holds the results of other videos: data.labels is" "--force" -- "$F" experiment run e.yaml -o ef --set data.labels=capital.csv
works "$F" experiment run e.yaml -o ef --set data.labels=capital.csv --force
fails 1 "all videos are of one group, P1" -- "$F" experiment run e.yaml -o one --set data.labels=one.csv
fails 1 "group P has videos in two splits" -- "$F" experiment run e.yaml -o div --set data.labels=divided.csv
# visits of a patient stay together
works "$F" experiment run e.yaml -o visits-ex --set data.videos=visits --set data.labels=visits.csv --set 'data.group_from=^(P[0-9]+)_'
python3 - <<'P' || die "visits of one patient are divided"
import glob, json
s = json.load(open(glob.glob("visits-ex/splits/*.json")[0]))
patients = lambda part: {v.split("_")[0] for v in s[part]}
assert s["test"] and not patients("test") & (patients("pool") | patients("validation"))
P
# folds of the list: each is the test list once, and nothing else makes a fold of them
fails 1 "evaluation: cross-validation" -- "$F" experiment run e.yaml -o fold --set data.labels=folds.csv
works "$F" experiment run e.yaml -o fold --set data.labels=folds.csv --set evaluation=cross-validation
says "cross-validation over the 3 folds of the list"
python3 - <<'P' || die "the folds are not those of the list"
import csv, glob, json
fold = {r["video"]: r["fold"] for r in csv.DictReader(open("folds.csv", newline=""))}
tests = [json.load(open(f))["test"] for f in glob.glob("fold/splits/*.json")]
assert sorted({fold[v] for v in t}.pop() for t in tests) == ["1", "2", "3"] and all(len(t) == 8 for t in tests), tests
P
works "$F" experiment run e.yaml -o cv --set data.labels=capital.csv --set evaluation=cross-validation --set folds=2
says "are not used by cross-validation"

# clips of somebody else: a folder of videos of any size and length is made like the labelled ones, a store of another size is said first
mkdir clips
cp v/phantom-0000[0-5].mp4 clips/
python3 -c 'open("clips/.DS_Store", "w").write("x")'
works "$F" phantom -o long.h5 --videos 2 --size 48 --frames 24 --mp4 long
cp long/phantom-00000.mp4 clips/long.mp4
works "$F" experiment run e.yaml -o cl --set data.labels=capital.csv --set 'arms=supervised,clips: clips'
store=$(ls cl/runs/clips-*/clips.h5)
"$F" info "$store" --json | python3 -c 'import json,sys; i = json.load(sys.stdin); assert (i["clips"], i["frames"], i["size"]) == (7, 8, 16), i'
cut -d, -f1 cl/summary.csv | grep -qx clips || die "the arm has no results: $(cut -d, -f1 cl/summary.csv)"
works "$F" experiment run e.yaml -o cl --set data.labels=capital.csv --set 'arms=supervised,clips: clips'
grep -q " 0 stages computed\|(0 stages computed" out || die "a second call computes again: $(tail -1 out)"
fails 1 "p.h5: clips of 8 frames and 32 pixels; the labelled videos have 8 and 16" -- "$F" experiment run e.yaml -o wrong --set data.labels=capital.csv --set 'arms=supervised,clips: p.h5'
[ -z "$(ls wrong/runs | grep classifier)" ] || die "something ran before the wrong size was said"

# predict: a bad file is said, the rest is written, the end is 1
run=$(ls -d ex/runs/classifier-* | head -1)
echo text >bad.mp4
fails 1 "bad.mp4" "left out" "1 of 3 videos could not be read" -- "$F" predict "$run" v/phantom-00001.mp4 bad.mp4 v/phantom-00002.mp4 -o pred.csv
python3 - <<'P' || die "the rest is not written"
import csv
assert [r["video"] for r in csv.DictReader(open("pred.csv", newline=""))] == ["v/phantom-00001.mp4", "v/phantom-00002.mp4"]
P
works "$F" predict "$run" v/phantom-00001.mp4 v/phantom-00002.mp4 -o alone.csv
cmp pred.csv alone.csv || die "a bad file changed the predictions of others"
fails 1 "none of the 2 videos" -- "$F" predict "$run" bad.mp4 nowhere.mp4 -o none.csv
[ ! -e none.csv ] || die "no prediction was written as a file"

# predict makes clips as those were made that the run learned from, and says so; an option takes another way, and is said
works "$F" ingest --videos v --labels capital.csv -o crop.h5 --size 16 --frames 8 --stride 1 --fps 4 --crop 4,2,16,16 --clips-per-video all --overlap 0.5
cat >crop.yaml <<'Y'
task: classifier
data: {clips: crop.h5}
labels: 4
validation: 0
classifier: {steps: 2, batch: 4}
Y
works "$F" train crop.yaml -o cropped
works "$F" predict cropped long/phantom-00000.mp4 -o a.csv
says "stride 1, at 4 frames a second, all of a video, overlap 0.5, view centre, crop 4,2,16,16"
works "$F" predict cropped long/phantom-00000.mp4 --crop 4,2,16,16 --fps 4 --stride 1 --clips-per-video all --overlap 0.5 -o b.csv
cmp a.csv b.csv || die "predict does not take the crop and the rate of the run"
! grep -q warning err || die "what the run says itself is warned of: $(cat err)"
for other in "--crop none" "--fps 0" "--sampler uniform --overlap 0" "--clips-per-video 1 --overlap 0"; do
  works "$F" predict cropped long/phantom-00000.mp4 $other -o c.csv --force
  says "warning: ${other%% *}" "the classifier learned from clips made with"
  ! cmp -s a.csv c.csv || die "$other changes nothing"
done
works "$F" ingest --videos v --labels capital.csv -o whole.h5 --size 16 --frames 8 --stride 1
works "$F" evaluate cropped --data whole.h5
says "whole.h5: its clips were made with crop none, those that the classifier learned from with 4,2,16,16" "with fps 0"
done_testing
