# Generators that are told a clip's class: training, resume, clips of a class, errors. In an experiment: full_conditions.sh.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/lib.sh"

works "$F" phantom -o p.h5 --videos 16 --size 32 --frames 8
conf() { printf '%s\n' "$@" >e.yaml; }
conf "task: generator" "data: {clips: p.h5}" "precision: f32" "vae: {steps: 2, batch: 2}" \
  "generator: {model: medsora-tiny, steps: 8, batch: 4, condition: labels, class_drop: 0.3, sheet_every: 4, sample_steps: 3}"
works "$F" train e.yaml -o whole
[ -e whole/samples/000008.png ] || die "no sheet of samples"

# its labels are those of the clips it learned from: no test video's, no validation video's
python3 - <<'P' || die "conditions.csv"
import csv, json
told = {r["video"]: r["label"] for r in csv.DictReader(open("whole/conditions.csv"))}
assert len(told) == 10 and set(told.values()) == {"normal", "polyp"}, told
assert json.load(open("whole/run.json"))["classes"] == "normal\npolyp"
head = open("whole/ema.safetensors", "rb").read()
n = int.from_bytes(head[:8], "little")
table = json.loads(head[8 : 8 + n])
assert table["y_embedder.embedding_table.weight"]["shape"] == [3, 128]
assert table["__metadata__"]["classes"] == "normal\npolyp"
P

# a killed and resumed run is told the same
killed_at "part/state.safetensors" "$F" train e.yaml -o part --set save_every=1
[ -e part/run.json ] || works "$F" train e.yaml -o part --resume
for f in weights.safetensors ema.safetensors weak.safetensors log.csv conditions.csv samples/000008.png; do cmp whole/$f part/$f || die "$f of a resumed run differs"; done

# clips carry their class, in turn or the one that is asked for, and cannot be tested on
works "$F" generate whole -n 3 -o turn.h5
works "$F" generate whole -n 3 -o one.h5 --class polyp --guidance 3 --sampler ddim
works "$F" info turn.h5 --json
python3 -c 'import json; i = json.load(open("out")); assert i["labels"] == {"normal": 2, "polyp": 1} and i["splits"] == {"train": 3}, i'
works "$F" info one.h5 --json
python3 -c 'import json; i = json.load(open("out")); assert i["labels"] == {"polyp": 3}, i'

fails 1 "no class cyst" "normal, polyp" -- "$F" generate whole -n 1 -o x.h5 --class cyst
fails 1 "--guidance" "between 1 and 100" -- "$F" generate whole -n 1 -o x.h5 --guidance 0
fails 1 "generator.class_guidance" "generator.condition: labels" -- "$F" train e.yaml -o no --set generator.condition=none \
  --set generator.class_guidance=2
fails 1 "generator.images" -- "$F" train e.yaml -o no --set generator.images=2
fails 1 "generator.stop" "validation videos" "generator.stop: none" -- "$F" train e.yaml -o no --set generator.stop=memorisation
works "$F" train e.yaml -o plain --set generator.condition=none --set generator.steps=2 --set generator.sheet_every=0
[ ! -e plain/conditions.csv ] || die "a generator that is told nothing has a list of it"
fails 1 "plain" "knows no classes" "generator.condition" -- "$F" generate plain -n 1 -o x.h5 --class polyp
fails 1 "generator.class_guidance" "medsora-tiny" -- "$F" generate plain -n 1 -o x.h5 --guidance 2

# away from the weights of a quarter of the steps
works "$F" generate plain -n 1 -o a.h5
works "$F" generate plain -n 1 -o b.h5 --set generator.autoguidance=2 --set generator.autoguidance_until=0
works "$F" generate plain -n 1 -o c.h5 --set generator.autoguidance=2 --set generator.autoguidance_until=1e-9
python3 - <<'P' || die "autoguidance"
import json

def step(path):
    b = open(path, "rb").read()
    return json.loads(b[8 : 8 + int.from_bytes(b[:8], "little")])["__metadata__"]["step"]

assert (step("whole/weak.safetensors"), step("whole/ema.safetensors")) == ("2", "8")
P
cmp -s a.h5 c.h5 || die "out of the reach of autoguidance clips are others"
cmp -s a.h5 b.h5 && die "autoguidance leads nowhere"
rm plain/weak.safetensors
fails 1 "plain/weak.safetensors" "Train again" -- "$F" generate plain -n 1 -o x.h5 --set generator.autoguidance=2
fails 1 "generator.autoguidance" "generator.class_guidance" -- "$F" generate whole -n 1 -o x.h5 --guidance 2 --set generator.autoguidance=2

# weights are checked, imported, exported and looked through with the table of classes; a file of inputs says which class
works "$F" init medsora-tiny -o fresh.safetensors --classes 2 --set generator.condition=labels
python3 - <<'P'
import json, struct

b = open("fresh.safetensors", "rb").read()
n = int.from_bytes(b[:8], "little")
head = json.loads(b[8 : 8 + n])
assert head["y_embedder.embedding_table.weight"]["shape"] == [3, 128], head["y_embedder.embedding_table.weight"]
data = [(0.05 * (i * 31 % 41 - 20)) if v == 0 else v for i, v in enumerate(struct.unpack(f"<{(len(b) - 8 - n) // 4}f", b[8 + n :]))]
open("w.safetensors", "wb").write(b[: 8 + n] + struct.pack(f"<{len(data)}f", *data))


def write(path, **tensor):
    head, data = {}, b""
    for name, (shape, v) in tensor.items():
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(v)]}
        data += struct.pack(f"<{len(v)}f", *v)
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


x, t = ([1, 4, 16, 8, 8], [i * 37 % 101 / 50 - 1 for i in range(4096)]), ([1], [500.0])
for name, label in ("normal", [1, 0, 0]), ("none", [0, 0, 1]), ("short", [1, 0]):
    write(f"{name}.in.safetensors", x=x, t=t, label=([1, len(label)], label))
write("untold.in.safetensors", x=x, t=t)
P
works "$F" weights check w.safetensors --as medsora-tiny --json
python3 -c 'import json; o = json.load(open("out")); assert o["left_over"] == 0 and not o["notes"], o'
works "$F" weights import w.safetensors --as medsora-tiny -o imported.safetensors
works "$F" weights export w.safetensors -o exported.safetensors
for w in w imported exported; do
  for c in normal none; do works "$F" forward medsora-tiny --weights $w.safetensors --input $c.in.safetensors -o $w-$c.safetensors; done
  cmp w-normal.safetensors $w-normal.safetensors || die "$w is not what it was made from"
  cmp -s $w-normal.safetensors $w-none.safetensors && die "the class changes nothing in $w"
done
fails 1 "short.in" "label has 2 columns" -- "$F" forward medsora-tiny --weights w.safetensors --input short.in.safetensors -o x.safetensors
fails 1 "untold.in" "label is missing" -- "$F" forward medsora-tiny --weights w.safetensors --input untold.in.safetensors -o x.safetensors
done_testing
