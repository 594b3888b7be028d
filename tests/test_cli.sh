# The program as a user meets it: help, JSON, every kind of bad input with its message, nothing half-written.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

works "$F" --help
works "$F" --version
for v in ingest phantom info models train generate evaluate predict features experiment bench doctor; do
  works "$F" $v --help
  grep -q "^example: forty $v" out || die "$v --help has no example"
done
fails 2 "not known" -- "$F" nonsense
fails 2 "--nonsense" -- "$F" phantom --nonsense
fails 2 "needs a value" -- "$F" phantom -o
fails 2 "-o" -- "$F" phantom
fails 1 "phantom.videos" "many" -- "$F" phantom -o p.h5 --videos many
for seed in "--seed 3" "--set phantom.seed=3" ""; do # an option is short for the setting
  works "$F" phantom -o "seed$seed.h5" --videos 4 --size 16 --frames 2 $seed
done
cmp -s "seed--seed 3.h5" "seed--set phantom.seed=3.h5" || die "phantom.seed and --seed make different phantoms"
cmp -s "seed--seed 3.h5" seed.h5 && die "phantom --seed changes nothing"
works "$F" models --json
python3 -c 'import json; m = json.load(open("out")); assert any(x["name"] == "medsora-b" and x["parameters"] == 86466304 for x in m)'
works "$F" doctor --json
python3 -c 'import json; json.load(open("out"))'

# videos to work on
works "$F" phantom -o p.h5 --videos 32 --size 32 --mp4 v
fails 1 "p.h5" "--force" -- "$F" phantom -o p.h5 --videos 4 --size 32
works "$F" info p.h5 --json
python3 -c 'import json; i = json.load(open("out")); assert i["clips"] == 32 and i["labels"] == {"normal": 16, "polyp": 16}, i'
works "$F" info v/phantom-00000.mp4
grep -q "32 frames" out || die "a whole video has 32 frames: $(cat out)"
works "$F" ingest --videos v --labels v/labels.csv -o c.h5 --size 32 --clips-per-video 2 --json
python3 -c 'import json; r = json.load(open("out")); assert r["videos"] == 32 and r["clips"] == 64 and r["shortened"] == 32, r'
works "$F" ingest --videos v --labels v/labels.csv -o half.h5 --size 32 --fps 4 --stride 1 --json
python3 -c 'import json; r = json.load(open("out")); assert r["clips"] == 32 and r["shortened"] == 0, r' # 32 frames at 8 a second are 16 at 4
# names are names; what systems leave behind is no video; folders of images are
mkdir -p odd/a odd/b odd/.ipynb_checkpoints odd/b/frames
cp v/phantom-00000.mp4 odd/a/12:30:00.mp4 && cp v/phantom-00001.mp4 odd/b/-x.mp4
touch odd/.DS_Store odd/a/._x.mp4 odd/a/Thumbs.db odd/b/notes.txt
python3 - <<'PY'
import struct, zlib
def png(path, level):
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    rows = (b"\0" + bytes([level]) * 3 * 40) * 32
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 32, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
for i in range(1, 21):
    png(f"odd/b/frames/{i}.png", 10 * i)
PY
works "$F" ingest --videos odd -o odd.h5 --size 32 --stride 1 --fps 4 --checksums odd.sha --json
python3 -c 'import json; r = json.load(open("out")); assert r["videos"] == 3 and r["skipped"] == 0, r'
grep -q "odd: 5 hidden files" err || die "hidden and foreign files are not counted: $(cat err)"
[ "$(wc -l <odd.sha)" = 22 ] && (cd odd && sha256sum --quiet -c ../odd.sha) || die "checksums of a folder of images are not sha256sum's"
works "$F" info odd/a/12:30:00.mp4
works "$F" info -- odd/b/-x.mp4
(cd odd/b && "$F" info -- -x.mp4 >../../out) && grep -q "32 frames" out || die "-- does not end the options"
works "$F" info odd/b/frames
grep -q "20 images of 40x32" out || die "a folder of images: $(cat out)"
fails 1 "b/frames: 20 frames, 30 are needed" -- "$F" ingest --videos odd -o no.h5 --size 32 --frames 30 --sampler uniform
fails 1 "does not lie inside" -- "$F" ingest --videos odd -o no.h5 --size 32 --crop 20,0,40,10
fails 2 "--crop" -- "$F" ingest --videos odd -o no.h5 --crop middle
fails 2 "--overlap" -- "$F" ingest --videos odd -o no.h5 --overlap 0.5
works "$F" ingest --videos odd -o cropped.h5 --size 32 --stride 1 --crop 4,2,24,20
[ -s cropped.crop.png ] || die "no picture of what is kept"
mkdir -p byclass/a byclass/b && cp v/phantom-00000.mp4 byclass/a/ && cp v/phantom-00001.mp4 byclass/b/
works "$F" ingest --videos byclass -o byclass.h5 --size 32 --json
python3 -c 'import json; r = json.load(open("out")); assert r["videos"] == 2, r'

# bad videos
mkdir bad && cp v/phantom-00001.mp4 bad/good.mp4
echo "a text, not a video" >bad/text.mp4
printf 'video,label\ngood.mp4,a\ntext.mp4,b\n' >l.csv
fails 1 "text.mp4" "--on-error skip" -- "$F" ingest --videos bad --labels l.csv -o x.h5
[ ! -e x.h5 ] || die "a failed ingest left its output"
works "$F" ingest --videos bad --labels l.csv -o x.h5 --on-error skip
grep -q "text.mp4" err || die "what was skipped is not said"
head -c 4000 v/phantom-00002.mp4 >bad/text.mp4
fails 1 "text.mp4" -- "$F" ingest --videos bad --labels l.csv -o y.h5
python3 - <<'P' # a file whose index is whole and whose last frames are gone
d = open("v/phantom-00003.mp4", "rb").read()
moov, mdat = d.index(b"moov") - 4, d.index(b"mdat") - 4
if moov > mdat:  # index behind the data: damage the data in the middle instead
    n = (moov - mdat) // 2
    d = d[: mdat + n] + bytes(moov - mdat - n) + d[moov:]
open("bad/text.mp4", "wb").write(d)
P
fails 1 "text.mp4" -- "$F" ingest --videos bad --labels l.csv -o y.h5
fails 1 "good.mp4" "frames" -- "$F" ingest --videos bad --labels l.csv -o y.h5 --frames 60
mkdir empty
fails 1 "empty" -- "$F" ingest --videos empty -o y.h5
fails 1 "nowhere" -- "$F" ingest --videos nowhere --labels l.csv -o y.h5
printf 'video,label\ngood.mp4,a\nmissing.mp4,b\n' >l.csv
fails 1 "missing.mp4" "l.csv:3" -- "$F" ingest --videos bad --labels l.csv -o y.h5
printf 'video,label\ngood.mp4\n' >l.csv
fails 1 "l.csv:2" -- "$F" ingest --videos bad --labels l.csv -o y.h5
[ ! -e y.h5 ] || die "a failed ingest left its output"
fails 1 "/proc/nowhere" -- "$F" phantom -o /proc/nowhere/p.h5 --videos 2 --size 16

# bad data for an experiment
conf() { printf '%s\n' "$@" >e.yaml; }
conf "data: {clips: p.h5}" "labels: 40"
fails 1 "40" "labels" "pool has 20" -- "$F" experiment run e.yaml -o r
conf "data: {clips: p.h5}" "lables: 4"
fails 1 "e.yaml:2" "Did you mean labels" -- "$F" experiment run e.yaml -o r
conf "data: {clips: p.h5}" "labels: four"
fails 1 "e.yaml:2" "whole number" -- "$F" experiment run e.yaml -o r
conf "data: {clips: p.h5}" "labels: 4" "arms: [supervised, magic]"
fails 1 "magic" "forty models" -- "$F" experiment run e.yaml -o r
conf "data: {clips: p.h5, map: {normal: polyp}}" "labels: 4"
fails 1 "polyp" "two classes" -- "$F" experiment run e.yaml -o r
conf "data: {clips: p.h5}" "labels: 4" "positive: cancer"
fails 1 "cancer" -- "$F" experiment run e.yaml -o r
head -c $(($(stat -c %s p.h5) / 2)) p.h5 >half.h5
conf "data: {clips: half.h5}" "labels: 4"
fails 1 "half.h5" -- "$F" experiment run e.yaml -o r
fails 1 "none.yaml" -- "$F" experiment run none.yaml -o r
conf "data: {clips: p.h5}" "labels: 4"
works "$F" experiment run e.yaml -o r --print-config --set labels=6
grep -q "^labels: 6  # --set" out || die "--print-config does not tell the origin"

# a classifier from training to raw videos
conf "task: classifier" "data: {clips: p.h5}" "labels: 8" "classifier: {steps: 12, batch: 4}" "save_every: 4"
works "$F" train e.yaml -o run
works "$F" evaluate run --data p.h5 --json
python3 -c 'import json; m = json.load(open("out")); assert m["videos"] == 8 and 0 <= m["f1"] <= 1, m'
works "$F" predict run v/phantom-00001.mp4 odd/b/frames -o pred.csv
python3 -c 'import csv; r = list(csv.DictReader(open("pred.csv"))); assert len(r) == 2 and abs(float(r[0]["p_normal"]) + float(r[0]["p_polyp"]) - 1) < 1e-5, r'
fails 1 "text.mp4" -- "$F" predict run bad/text.mp4
fails 1 "64" -- "$F" evaluate run --data "$( "$F" phantom -o q.h5 --videos 16 --size 64 >/dev/null 2>&1; echo q.h5)"
fails 1 "run" "--force" -- "$F" train e.yaml -o run

# what it sees in snippets, and multiple-instance learning on that, down to frames
works "$F" ingest --videos v --labels v/labels.csv --frames 8 --size 32 --stride 1 --clips-per-video all -o snippets.h5
works "$F" features snippets.h5 --model run -o features.safetensors
# networks of published distances, of pictures and of clips
for m in "clip-tiny 24" "videomae-tiny 48"; do
  read -r model width <<<"$m"
  works "$F" init $model -o judge.safetensors --force
  works "$F" features snippets.h5 --model $model --weights judge.safetensors -o looks.safetensors --force
  grep -q " $width numbers each" out || die "features of $model are not $width wide: $(cat out)"
done
fails 1 "9 frames at least" -- "$F" features snippets.h5 --model i3d --weights judge.safetensors -o no.safetensors
cp e.yaml classifier.yaml
conf "task: mil" "data: {features: features.safetensors, labels: v/labels.csv}" "mil: {model: mil-tiny, steps: 6, batch: 3}"
works "$F" train e.yaml -o mil
echo "video,start,end" >frames.csv && grep ",polyp," v/labels.csv | sed 's/,.*/,4,8/' >>frames.csv
works "$F" evaluate mil --frame-labels frames.csv --snippets scores.csv --json
python3 -c 'import csv, json; m = json.load(open("out")); r = list(csv.DictReader(open("scores.csv"))); n = len(r); assert m["frames"]["frames"] == 8 * n and 0 <= m["frames"]["auroc"] <= 1, (m, n); v = [x["video"] for x in r]; test = json.load(open("mil/split.json"))["test"]; assert sorted(set(v)) == sorted(test) and v == sorted(v, key=test.index), (v, test)'
# snippets that overlap: where they stand travels from the clips to the scores, and every frame is judged once
works "$F" ingest --videos v --labels v/labels.csv --frames 8 --size 32 --stride 1 --clips-per-video all --overlap 0.25 -o apart.h5
works "$F" features apart.h5 --model run -o apart.safetensors
works "$F" evaluate mil --data apart.safetensors --frame-labels frames.csv --snippets apart.csv --json
python3 -c 'import csv, json; m = json.load(open("out")); r = list(csv.DictReader(open("apart.csv"))); v = r[0]["video"]; assert [(x["start"], x["end"]) for x in r if x["video"] == v] == [("0", "8"), ("6", "14"), ("12", "20"), ("18", "26"), ("24", "32")] and m["frames"]["frames"] == 32 * len(r) // 5 and m["frames"]["positive"] > 0, (m, r)'
echo "video,start,end" >none.csv
works "$F" evaluate mil --data apart.safetensors --frame-labels none.csv --json
python3 -c 'import json; m = json.load(open("out")); assert m["frames"]["auroc"] is None and m["frames"]["positive"] == 0, m'
works "$F" evaluate mil --data apart.safetensors --frame-labels none.csv
grep -q "undefined" out || die "no positives is not said to be undefined: $(cat out)"
sed 's/phantom-0000/elsewhere-/' v/labels.csv >others.csv
fails 1 "others.csv:2" "elsewhere-" -- "$F" train e.yaml -o no --set data.labels=others.csv
fails 2 "--weights" -- "$F" features snippets.h5 --model x3d-tiny -o no.safetensors
mv classifier.yaml e.yaml
fails 1 "e.yaml" -- "$F" info e.yaml

# a resumed run is bit-identical to one that never stopped: the state of step 8 of 12, then on
works "$F" train e.yaml -o whole
"$F" train e.yaml -o part --set save_every=1 >/dev/null 2>&1 & # the program itself, not a shell around it: $! is killed
pid=$!
for i in $(seq 600); do [ -e part/state.safetensors ] && break; sleep 0.05; done
kill -STOP $pid 2>/dev/null && fails 1 "part" "another forty" -- "$F" train e.yaml -o part --resume
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
cp part/state.safetensors kept.state
fails 1 "part: begun with other settings: seed is 7, was 0" "--force" -- "$F" train e.yaml -o part --resume --seed 7
cmp part/state.safetensors kept.state || die "a refused resume changed the run"
works "$F" train e.yaml -o part --resume --set save_every=3 # no number hangs on it
cmp whole/weights.safetensors part/weights.safetensors || die "resume is not bit-exact"
cmp whole/ema.safetensors part/ema.safetensors || die "resume is not bit-exact (EMA)"
cmp whole/log.csv part/log.csv || die "the log of a resumed run differs"

# a batch in parts is the same step in less memory, and every loop knows how
conf "task: classifier" "data: {clips: p.h5}" "labels: 4" "precision: f32" "classifier: {model: timesformer-tiny, steps: 2, batch: 4, dropout: 0}"
works "$F" train e.yaml -o one-part
works "$F" train e.yaml -o four-parts --set classifier.accumulate=4
fails 1 "classifier.accumulate" "equal parts" -- "$F" train e.yaml -o unequal --set classifier.accumulate=3
[ ! -e unequal ] || die "a run that never began is left behind, and the corrected command would meet it"
python3 - <<'P' || die "a batch in parts learns something else"
import csv
a, b = ([[float(v) for v in r[2:]] for r in list(csv.reader(open(d + "/log.csv")))[1:]] for d in ("one-part", "four-parts"))
assert len(a) == 2 and all(abs(x - y) <= 2e-5 * abs(x) for p, q in zip(a, b) for x, y in zip(p, q)), (a, b)
P
conf "task: generator" "data: {clips: p.h5}" "vae: {steps: 2, batch: 2, accumulate: 2, gan: 0.5, gan_from: 0}" "generator: {steps: 2, batch: 4, accumulate: 2}"
works "$F" train e.yaml -o gen-parts

# a generator from training to pictures
conf "task: generator" "data: {clips: p.h5}" "vae: {steps: 4, batch: 2}" "generator: {steps: 4, batch: 4}"
works "$F" train e.yaml -o gen
for f in vae/ema.safetensors ema.safetensors weights.safetensors state.safetensors latents.safetensors log.csv run.json config.yaml; do
  [ -e gen/$f ] || die "gen/$f is missing"
done
works "$F" generate gen -n 3 -o fake.h5 --steps 3 --mp4 fake-mp4 --gif fake-gif
works "$F" generate gen -n 3 -o again.h5 --steps 3 --sampler ddim
works "$F" info fake.h5
grep -q "3 clips" out || die "three clips were asked: $(cat out)"
works "$F" info fake-gif/medsora-tiny-00002.gif
works "$F" info fake-mp4/medsora-tiny-00002.mp4
grep -q "16 frames" out || die "an exported clip has 16 frames: $(cat out)"
fails 1 "no-such-run" -- "$F" generate no-such-run -n 3 -o x2.h5
head -c 3000 gen/ema.safetensors >gen/half && mv gen/half gen/ema.safetensors
fails 1 "ema.safetensors" -- "$F" generate gen -n 3 -o x3.h5
[ ! -e x3.h5 ] || die "a failed generate left its output"
# an image ViT and a headless video backbone become a TimeSformer: attention over time begins as attention over space
works "$F" init timesformer-tiny -o ts.safetensors
python3 - <<'P'
import json, struct
raw = open("ts.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, data = json.loads(raw[8 : 8 + n]), raw[8 + n :]
head.pop("__metadata__", None)
def write(path, keep, prefix):
    out, body = {}, b""
    for name, t in head.items():
        if keep(name):
            a, b = t["data_offsets"]
            out[prefix + name] = {**t, "data_offsets": [len(body), len(body) + b - a]}
            body += data[a:b]
    text = json.dumps(out).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)
write("vit.safetensors", lambda n: "temporal" not in n and n != "time_embed" and not n.startswith("head."), "module.")
write("body.safetensors", lambda n: not n.startswith("head."), "backbone.")
write("broken.safetensors", lambda n: ".attn." not in n, "")
P
works "$F" weights import vit.safetensors --as timesformer-tiny -o from-vit.safetensors
grep -q "start anew" out || die "what a ViT lacks is not said"
works "$F" weights import body.safetensors --as timesformer-tiny -o from-body.safetensors
fails 1 "missing" "Is it this model?" -- "$F" weights import broken.safetensors --as timesformer-tiny -o no.safetensors
python3 - <<'P'
import json, struct
def read(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    return {k: raw[8 + n + t["data_offsets"][0] : 8 + n + t["data_offsets"][1]] for k, t in json.loads(raw[8 : 8 + n]).items() if k != "__metadata__"}
a, v, b = read("ts.safetensors"), read("from-vit.safetensors"), read("from-body.safetensors")
assert set(a) == set(v) == set(b)
for k in a:
    if k.startswith("head."):
        continue
    assert b[k] == a[k], k
    if ".temporal_attn." in k or ".temporal_norm1." in k:
        assert v[k] == a[k.replace("temporal_", "")], k
    elif "temporal_fc" in k or k == "time_embed":
        assert not any(v[k]), k
    else:
        assert v[k] == a[k], k
P
# lists as PolypDiag has them, and checksums that are written once and verified from then on
works "$F" phantom -o pd.h5 --videos 8 --size 32 --frames 8 --mp4 pd
mkdir splits
tail -n +2 pd/labels.csv | tr -d '\r' | awk -F, '{print $1 "," ($2 == "polyp")}' >all.txt
head -5 all.txt >splits/train.txt
tail -3 all.txt >splits/val.txt
works "$F" ingest --videos pd --labels splits -o pd1.h5 --size 32 --frames 8 --stride 1 --checksums pd.sha256
works "$F" info pd1.h5
grep -q '"train":5' out && grep -q '"test":3' out || die "the folder of lists is read wrongly: $(cat out)"
(cd pd && sha256sum --quiet -c ../pd.sha256) || die "sha256sum does not take the list"
works "$F" ingest --videos pd --labels splits -o pd2.h5 --size 32 --frames 8 --stride 1 --checksums pd.sha256
name=$(head -1 splits/val.txt | cut -d, -f1)
cp pd/"$(head -1 splits/train.txt | cut -d, -f1)" pd/"$name"
fails 1 "$name" "SHA-256" "Fetch it again" -- "$F" ingest --videos pd --labels splits -o pd3.h5 --size 32 --frames 8 --stride 1 --checksums pd.sha256
echo "nonsense" >bad.sha256
fails 1 "bad.sha256:1" "sha256sum" -- "$F" ingest --videos pd --labels splits -o pd3.h5 --size 32 --frames 8 --stride 1 --checksums bad.sha256
cat splits/train.txt >>splits/val.txt
fails 1 "val.txt:" "another list" -- "$F" ingest --videos pd --labels splits -o pd3.h5 --size 32 --frames 8 --stride 1
rm splits/train.txt
fails 1 "train.txt" -- "$F" ingest --videos pd --labels splits -o pd3.h5 --size 32 --frames 8 --stride 1
# TensorBoard event files: framing, checksums and values (read once by TensorBoard itself as well)
works "$F" phantom -o tb.h5 --videos 8 --size 32 --frames 8
printf 'task: vae\nthreads: 1\ndata: {clips: tb.h5}\nvae: {steps: 6, batch: 2}\nlog: {tensorboard: true}\n' >tb.yaml
works "$F" train tb.yaml -o tb
python3 - <<'P' || die "the event file is wrong"
import csv, glob, struct
def crc(data):
    c = 0xFFFFFFFF
    for b in data:
        c ^= b
        for _ in range(8): c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    c ^= 0xFFFFFFFF
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF
def fields(raw):
    at = 0
    def varint():
        nonlocal at
        v = shift = 0
        while True:
            b = raw[at]; at += 1; v |= (b & 127) << shift; shift += 7
            if b < 128: return v
    while at < len(raw):
        key = varint()
        if key & 7 == 0: yield key >> 3, varint(); continue
        n = varint() if key & 7 == 2 else 8 if key & 7 == 1 else 4
        at += n
        yield key >> 3, raw[at - n : at]
assert crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
raw, at, seen, others = open(glob.glob("tb/events.out.tfevents.*")[0], "rb").read(), 0, {}, []
while at < len(raw):
    n, head = struct.unpack("<QI", raw[at : at + 12])
    data, tail = raw[at + 12 : at + 12 + n], struct.unpack("<I", raw[at + 12 + n : at + 16 + n])[0]
    assert head == crc(raw[at : at + 8]) and tail == crc(data)
    at += 16 + n
    event = dict(fields(data))
    if 5 in event:
        value = dict(fields(dict(fields(event[5]))[1]))
        seen[event[2], value[1].decode()] = struct.unpack("<f", value[2])[0]
    else: others.append(event.get(3) or event[7])
assert others == [b"brain.Event:2", b"\x08\x01"], others
rows = list(csv.DictReader(open("tb/log.csv")))
assert len(seen) == len(rows) * (len(rows[0]) - 1)
for r in rows:
    for name, text in r.items():
        if name != "step": assert abs(seen[int(r["step"]), name] - float(text)) <= 6e-6 * max(1, abs(float(text))), (name, r)
P

# two threads on one core wait for nobody who spins: they need the time of one
seconds_of_cpu() { local TIMEFORMAT=%U; { time "$@" >out 2>err; } 2>&1; }
core=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
for p in f32 bf16; do
  step=("$F" bench train-step --model lvdm-tiny --batch 1 --runs 3 --precision $p)
  "${step[@]}" --threads 1 >out 2>err || { grep -q "no bf16" err && continue; die "no step in $p: $(cat err)"; }
  one=$(FORTY_THREADS_NOW=2 seconds_of_cpu taskset -c "$core" "${step[@]}" --threads 1)
  two=$(FORTY_THREADS_NOW=2 seconds_of_cpu taskset -c "$core" "${step[@]}" --threads 2)
  awk "BEGIN { exit !($two < 2 * $one + 0.1) }" || die "two threads on one core need $two s in $p, one needs $one"
done
done_testing
