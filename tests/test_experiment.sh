# The main job on a tiny phantom: all arms, caching, cross-validation, other people's clips, and kill -9.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cat >e.yaml <<'Y'
threads: 1
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 48}
positive: polyp
labels: 12
generated: 12
splits: 2
seeds: 1
arms: [supervised, fully-supervised, real-unlabelled, noise, medsora-tiny]
bootstrap: 200
vae: {steps: 6, batch: 2}
generator: {steps: 6, batch: 4, sample_steps: 4}
classifier: {steps: 6, batch: 4}
Y
works "$F" experiment run e.yaml -o a
grep -q "medsora-tiny" out && grep -q "always positive" out || die "the table lacks rows"
for f in results.jsonl runs.csv summary.csv summary.md summary.tex report.html environment.json config.yaml splits/split-0.json clips/medsora-tiny.h5; do
  [ -e a/$f ] || die "a/$f is missing"
done
python3 - <<'P'
import json, csv
lines = [json.loads(l) for l in open("a/results.jsonl")]
assert len(lines) == 10, len(lines)
for l in lines:
    assert set("arm split seed metrics utilisation steps wall_s config_hash scores".split()) <= set(l), l
    rows = list(csv.DictReader(open("a/" + l["scores"])))
    assert len(rows) == 12 and abs(float(rows[0]["p_normal"]) + float(rows[0]["p_polyp"]) - 1) < 1e-5
s = list(csv.DictReader(open("a/summary.csv")))
r = list(csv.DictReader(open("a/runs.csv")))
assert [(x["arm"], int(x["split"]), float(x["f1"])) for x in r] == [(l["arm"], l["split"], round(l["metrics"]["f1"], 6)) for l in lines], r
assert [r["arm"] for r in s] == ["supervised", "fully-supervised", "real-unlabelled", "noise", "medsora-tiny"]
assert s[0]["delta_f1"] == "" and s[4]["delta_ci_low"] != "" and s[4]["p_value"] == "", s  # two pairs cannot reach 0.05
split = json.load(open("a/splits/split-0.json"))
assert len(split["labelled"]) == 12 and not set(split["pool"]) & set(split["test"]) and not set(split["labelled"]) & set(split["validation"])
page = open("a/report.html").read()
assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", ""), "the page asks the network"
assert page.count("data:image/jpeg") >= 4 and "<svg" in page
P
# a second run only reports; a classifier key reruns classifier stages only
works "$F" experiment run e.yaml -o a
grep -q "(0 stages computed" out || die "the second run computed again: $(tail -1 out)"
# without -o the folder has the file's name
mkdir results && mv a results/e
works "$F" experiment run e.yaml
grep -q "^results/e/report.html (0 stages" out || die "without -o: $(tail -1 out)"
mv results/e a && rmdir results
works "$F" experiment run e.yaml -o a --set classifier.lr=0.001
grep -q "(10 stages computed" out || die "a classifier key reran other stages: $(tail -1 out)"
works "$F" experiment run e.yaml -o a --set seed=7
grep -q "(10 stages computed" out || die "another seed took the classifiers of the first: $(tail -1 out)"
works "$F" experiment status e.yaml -o a
works "$F" experiment run e.yaml -o a --json
python3 -c 'import json; o = json.load(open("out")); assert o["computed"] == 0 and len(o["arms"]) == 5 and o["vae_psnr"] > 0, o'
# begun in another precision than this machine would choose: it stays that
other=f32
grep -qw avx512bw /proc/cpuinfo && grep -q '"products": "f32"' a/precision.json && other=bf16
"$F" experiment run e.yaml -o explicit --precision $other >/dev/null 2>&1
mkdir begun; touch begun/.forty
printf '{"products": "%s", "convolutions": "%s", "depthwise": "%s"}' $other $other $other >begun/precision.json
works "$F" experiment run e.yaml -o begun
grep -q "products: $other" begun/config.yaml || die "config.yaml does not say what was chosen"
python3 - <<'P'
import json
f1 = [[json.loads(l)["metrics"] for l in open(d + "/results.jsonl")] for d in ("begun", "explicit")]
assert f1[0] == f1[1], "a folder was not continued in what it was begun with"
P
[ -s a/precision.json ] || die "a results folder does not keep its precision"
# the same from nothing, killed three times: equal numbers
for t in 1 2 3; do
  "$F" experiment run e.yaml -o b >/dev/null 2>&1 &
  pid=$!
  sleep 0.$((t * 3))
  kill -9 $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
done
works "$F" experiment run e.yaml -o b
works "$F" experiment run e.yaml -o a
cmp a/summary.csv b/summary.csv || die "a killed and resumed experiment gives other numbers"
# many at once: two runners with workers on one folder, killed at some moment or other, and a worker killed beside its parent
for t in 2 4 6 8; do
  "$F" experiment run e.yaml -o c -j 2 >/dev/null 2>&1 &
  pid=$!
  "$F" experiment worker e.yaml -o c >/dev/null 2>&1 &
  other=$!
  sleep 0.$t
  kill -9 $([ $t = 4 ] && echo $other || echo $pid) 2>/dev/null || true
  [ $t = 8 ] || kill -9 $other 2>/dev/null || true
  [ $t = 4 ] && sleep 0.5 && kill -9 $(pgrep -P $pid) 2>/dev/null || true
  [ $t = 4 ] || wait $pid 2>/dev/null || true
done
"$F" experiment run e.yaml -o c -j 2 >second 2>&1 &
works "$F" experiment run e.yaml -o c
wait
cmp a/summary.csv c/summary.csv || die "runners that share a folder give other numbers"
python3 - <<'P'
import json
a, c = ([{k: v for k, v in json.loads(l).items() if k != "wall_s"} for l in open(d + "/results.jsonl")] for d in "ac")
assert a == c
P
works "$F" experiment status e.yaml -o c
grep -q "^19 of 19 stages done" out && ! grep -q "^running" out || die "the status is wrong: $(cat out)"
works "$F" experiment status e.yaml -o c --json
python3 - <<'P'
import json
s = {x["name"]: x for x in json.load(open("out"))}
assert len(s) == 19 and all(x["state"] == "done" and x["seconds"] > 0 for x in s.values()), s
reads = {x["kind"]: {r.split("-")[0] for r in x["reads"]} for x in s.values() if x["arm"] == "medsora-tiny"}
assert reads == {"vae": set(), "generator": {"vae"}, "samples": {"generator", "vae"}, "likeness": {"samples"}, "classifier": {"samples"}}, reads
P
# what no run of the configuration needs goes, what is needed stays
fails 1 "not computed yet" -- "$F" experiment gc e.yaml -o c --set classifier.lr=0.003
mkdir c/runs/classifier-0123456789abcdef; touch c/runs/classifier-0123456789abcdef/.forty
works "$F" experiment gc e.yaml -o c
grep -q "1 of 20 stages removed" out && [ ! -e c/runs/classifier-0123456789abcdef ] || die "gc removed the wrong stages: $(cat out)"
works "$F" experiment run e.yaml -o c
grep -q "(0 stages computed" out || die "gc removed what is needed: $(tail -1 out)"
# a run that fails does not stop the others, and is tried again by the next call
head -c 5000 a/clips/noise.h5 >torn.h5
sed 's|^arms:.*|arms: ["clips: torn.h5", supervised]|' e.yaml >torn.yaml
fails 1 "torn.h5" "3 stages failed" -- "$F" experiment run torn.yaml -o d
grep -q "damaged" d/runs/likeness-*/failed.json && grep -q "torn.h5" d/runs/likeness-*/log.txt || die "a failed stage keeps no error and log"
fails 1 "not computed yet" -- "$F" experiment report torn.yaml -o d
works "$F" experiment status torn.yaml -o d
grep -q "^failed *classifier-.*clips: torn.h5\|^failed *classifier-.*torn" out && grep -q "its log: .*log.txt" out || die "the status does not show failures: $(cat out)"
[ "$(ls d/runs/classifier-*/done.json | wc -l)" = 2 ] || die "a failed run stopped the others"
[ ! -e d/report.html ] || die "there is a report of half an experiment"
cp a/clips/noise.h5 torn.h5
works "$F" experiment run torn.yaml -o d
grep -q "(3 stages computed" out || die "the runs that had not failed were computed again: $(tail -1 out)"
# runners that rehearse at the same time wait for one another; what is left of a sweep is not rehearsed when its kinds are known
for i in 1 2 3; do
  "$F" experiment run e.yaml -o together --set rehearse=always --set splits=1 >/dev/null 2>err-$i &
done
for i in 1 2 3; do wait -n || die "runners that rehearse together fail: $(cat err-*)"; done
"$F" experiment gc e.yaml -o c >/dev/null
rm -r "$(ls -d c/runs/classifier-* | head -1)"
works "$F" experiment run e.yaml -o c
grep -q rehearsal: err && die "what is known was rehearsed again"
# a dry run: everything is checked, nothing is kept but what it took; the status then knows how long the rest will be
works "$F" experiment run e.yaml -o dry --dry-run
grep -q "of work, at most [0-9]* MiB" err && [ ! -e dry/rehearsal ] && [ "$(ls dry/runs | wc -l)" = 2 ] || die "the dry run is no dry run: $(cat err)"
works "$F" experiment status e.yaml -o dry --set splits=5
grep -q "^all .* s *[0-9:]* \(s\|min\)$" out && ! grep -q "?" out || die "the status knows no times: $(cat out)"
fails 1 "torn2.h5 is not there" -- "$F" experiment run torn.yaml -o dry2 --dry-run --set "arms=supervised,clips: torn2.h5"
head -c 5000 a/clips/noise.h5 >torn2.h5
fails 1 "torn2.h5" "damaged" -- "$F" experiment run torn.yaml -o dry2 --dry-run --set "arms=supervised,clips: torn2.h5"
[ ! -e dry2/runs/classifier-* ] || die "a sweep began that cannot be completed"
# a grid of arms in braces, on top of another file; each is compared with the baseline that has as many labels
cat >grid.yaml <<'Y'
include: e.yaml
splits: 1
arms: [supervised, "supervised labels={6,8}", "real-unlabelled labels={6,8} ssl.algorithm={fixmatch,softmatch}"]
classifier: {steps: 60, batch: 4, lr: 0.005}
Y
works "$F" experiment run grid.yaml -o g
python3 - <<'P'
import csv
f = {r["arm"]: r for r in csv.DictReader(open("g/summary.csv"))}
assert len(f) == 7, list(f)
for labels in "68":
    for a in ("fixmatch", "softmatch"):
        r = f[f"real-unlabelled labels={labels} algorithm={a}"]
        assert abs(float(r["delta_f1"]) - float(r["f1_mean"]) + float(f["supervised labels=" + labels]["f1_mean"])) < 2e-6, r
assert len({r["f1_mean"] for r in f.values()}) > 2, "nothing was learnt, so nothing was compared"
P
echo "include: loop.yaml" >loop.yaml
fails 1 "loop.yaml:1:1" "circle" -- "$F" experiment run loop.yaml
printf 'splits: 1\ninclude: [none.yaml]\n' >lost.yaml
fails 1 "lost.yaml:2:1" "none.yaml" -- "$F" experiment run lost.yaml
fails 1 "without its }" -- "$F" experiment run e.yaml -o no --set "arms=supervised labels={6"
# every algorithm trains, and its pseudo-labels are counted
for a in pseudolabel meanteacher fixmatch flexmatch freematch softmatch; do
  works "$F" experiment run e.yaml -o ssl --set arms=real-unlabelled --set splits=1 --set ssl.algorithm=$a --set ssl.ramp=0.1 --set save_every=2
  python3 - $a <<'P'
import json, sys
l = [json.loads(x) for x in open("ssl/results.jsonl")][-1]
p = l["pseudo_labels"][0]
assert abs(sum(p["share"].values()) - (0 if sys.argv[1] == "meanteacher" else 1)) < 1e-9 or l["utilisation"] == 0, l
assert (p["accuracy"] is None) == (l["utilisation"] == 0 or sys.argv[1] == "meanteacher"), l
P
done
# states of an algorithm are part of what a killed run resumes from
for a in flexmatch softmatch; do
  set -- --set arms=real-unlabelled --set splits=1 --set ssl.algorithm=$a --set ssl.threshold=0.5 --set classifier.steps=40
  works "$F" experiment run e.yaml -o ssl "$@" --set save_every=7
  for t in 5 8; do
    "$F" experiment run e.yaml -o killed "$@" --set save_every=1 >/dev/null 2>&1 &
    pid=$!
    sleep 0.$t
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
  done
  works "$F" experiment run e.yaml -o killed "$@" --set save_every=1
  cmp ssl/summary.csv killed/summary.csv || die "$a: a killed and resumed run gives other numbers"
  cmp ssl/scores/real-unlabelled-split-0-seed-0.csv killed/scores/real-unlabelled-split-0-seed-0.csv || die "$a: other probabilities"
done
fails 1 "nosuch" "forty models" -- "$F" experiment run e.yaml -o ssl --set ssl.algorithm=nosuch
# clips of any origin
works "$F" experiment run e.yaml -o a --set "arms=supervised,clips: a/clips/medsora-tiny.h5"
grep -q "^medsora-tiny" out || die "the arm of a file is not in the table"
works "$F" phantom -o other.h5 --videos 4 --size 64 --frames 8
fails 1 "other.h5" "Make them alike" -- "$F" experiment run e.yaml -o a --set "arms=supervised,clips: other.h5"
# cross-validation: everything is retrained inside each fold
works "$F" experiment run e.yaml -o cv --set evaluation=cross-validation --set folds=2 --set splits=1 --set "arms=supervised,medsora-tiny" --set labels=8
python3 - <<'P'
import json, csv
lines = [json.loads(l) for l in open("cv/results.jsonl")]
assert len(lines) == 2
rows = list(csv.DictReader(open("cv/" + lines[0]["scores"])))
assert len({r["video"] for r in rows}) == 48, "every video is tested once"
f = [json.load(open(f"cv/splits/split-0-fold-{k}.json")) for k in (0, 1)]
assert not set(f[0]["test"]) & set(f[1]["test"]) and not set(f[0]["test"]) & set(f[0]["pool"])
import os
assert sum(d.startswith("vae-") for d in os.listdir("cv/runs")) == 2, "one VAE a fold"
P
# worth in labels: the curve shares its stages with arms, is no arm itself, and leaves out what the pool does not have
set -- --set "arms=supervised,fully-supervised,more-labels 18,duplicate-labelled,duplicate-labelled generated=30,vae-roundtrip" --set "curve=18,900,4,all,12"
works "$F" experiment run e.yaml -o w "$@"
grep -q "curve: 900 labels are left out, the pool has 30" err || die "a point beyond the pool is not said to be left out"
grep -q "^labels alone: 4 videos .*, 12 videos .*, 18 videos .*, 30 videos " out || die "the curve is not printed: $(cat out)"
grep -q "^Positive control not seen: all labels add " out || die "no verdict of the run: $(cat out)"
works "$F" experiment run e.yaml -o w "$@" --json
python3 - <<'P'
import csv, json
o = json.load(open("out"))
assert o["computed"] == 0 and [p["labels"] for p in o["curve"]] == [4, 12, 18, 30], o["curve"]
f1 = [p["f1_monotone"] for p in o["curve"]]
assert f1 == sorted(f1) and o["margin"] == 0.02 and o["positive_control"] == {"arm": "fully-supervised", "seen": False}, o
lines = [json.loads(l) for l in open("w/results.jsonl")]
of = {(l["arm"], l["split"]): l for l in lines}
assert len(lines) == 2 * (6 + 3), "18 and all labels are arms, 4 are not, 12 are the baseline"
for k in 0, 1:
    assert of["more-labels 18", k]["config_hash"] == of["curve 18 labels", k]["config_hash"]
    assert of["fully-supervised", k]["config_hash"] == of["curve 30 labels", k]["config_hash"]
    assert of["duplicate-labelled", k]["pseudo_labels"][0] and not of["more-labels 18", k]["pseudo_labels"][0]
labelled = lambda arm="": set(json.load(open(f"w/splits/split-0{arm}.json"))["labelled"])
assert len(labelled()) == 12 and len(labelled("-more-labels-18")) == 18 and len(labelled("-fully-supervised")) == 30
assert labelled("-curve-4-labels") < labelled() < labelled("-more-labels-18"), "labels of a split are not among those of more"
assert len({l["config_hash"] for l in lines}) == 2 * (6 + 1)
columns = open("w/summary.csv").readline().strip()
assert ",p_value,p_holm,power_mde,worth_labels,worth_low,worth_high,equivalent,tost_p,tost_p_holm,verdict," in columns + ",", columns
rows = {r["arm"]: r for r in csv.DictReader(open("w/summary.csv"))}
assert set(rows) == {a["arm"] for a in o["arms"]}, "a point of the curve stands among the arms"
for a in o["arms"][1:]:
    r = rows[a["arm"]]
    assert r["power_mde"] == r["equivalent"] == "" and r["worth_labels"] != "" and r["verdict"] == a["verdict"], r
    control = a["arm"] in ("fully-supervised", "more-labels 18")
    assert a["verdict"] == ("no difference shown" if control else "could not have shown it"), a
    assert (a["verdict_text"] == "this run could not have shown it") == (not control), a
    assert not control or r["tost_p_holm"] == "", r
assert rows["supervised"]["verdict"] == rows["supervised"]["worth_labels"] == ""
page = open("w/report.html").read()
assert page.index("Positive control not seen") < page.index("<ul>") and "Worth in labels" in page and "<polyline" in page
for name in "summary.md", "summary.tex":
    assert "Positive control not seen" in open("w/" + name).read() and "worth in labels" in open("w/" + name).read(), name
P
works "$F" info w/clips/vae-roundtrip.h5 --json
python3 -c 'import json; assert json.load(open("out"))["clips"] == len(json.load(open("w/splits/split-0.json"))["pool"]), "not every clip of the pool"'
fails 1 "curve: 4x is neither all nor" -- "$F" experiment run e.yaml -o w --set curve=4x
fails 1 "curve: 1 is neither all nor" -- "$F" experiment run e.yaml -o w --set curve=1
fails 1 "supervised baseline" "Add supervised" -- "$F" experiment run e.yaml -o w --set curve=4 --set arms=noise
fails 1 "'curve-4-labels' is called as a point" -- "$F" experiment run e.yaml -o w --set curve=4 --set "arms=supervised,noise name=curve-4-labels"
fails 1 "more-labels 1 is not known" -- "$F" experiment run e.yaml -o w --set "arms=supervised,more-labels 1"
fails 1 "90 labelled videos asked (labels, more-labels 90)" -- "$F" experiment run e.yaml -o w --set "arms=supervised,more-labels 90"
fails 1 "margin" -- "$F" experiment run e.yaml -o w --set margin=0
# selection by the validation list
works "$F" experiment run e.yaml -o a --set selection=validation --set "arms=supervised"
done_testing
