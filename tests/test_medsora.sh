# Weights and forward passes, and the generator's switches as a user turns them: alignment, images, phases, discriminator, objectives.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"

# weights: made, checked, narrowed, read back
works "$F" init medsora-tiny -o w.safetensors --seed 3
grep -q "1910720 parameters" out || die "$(cat out)"
fails 1 "w.safetensors" "--force" -- "$F" init medsora-tiny -o w.safetensors
works "$F" weights check w.safetensors --as medsora-tiny
fails 1 "missing: feature_encoder.convnormrelu.0.weight [32,3,7,7]" "left over: " "Is it this model" -- "$F" weights check w.safetensors --as raft-small
works "$F" weights export w.safetensors -o half.safetensors --dtype bf16
works "$F" weights import half.safetensors --as medsora-tiny -o back.safetensors --json
python3 -c 'import json; r = json.load(open("out")); assert r["parameters"] == 1910720 and r["left_over"] == 0, r'
works "$F" info back.safetensors
works "$F" init x3d-tiny -o x.safetensors --classes 5
works "$F" weights check x.safetensors --as x3d-tiny
fails 1 "no-such-model" -- "$F" init no-such-model -o y.safetensors
fails 2 "--as" -- "$F" weights import w.safetensors -o y.safetensors
echo "a text that is no weights file" >p.txt
works "$F" info "$root/tests/golden/nested.pth"
grep -q "13 tensors.*in its dict teacher" out || die "info of a .pth: $(cat out)"
fails 1 "not a PyTorch file" -- "$F" weights import p.txt --as medsora-tiny -o y.safetensors

# forward: inputs by the reference's names and axes; a fresh network gives zeros (adaLN-zero), and gradients reach its last layer
python3 - <<'P'
import json, struct
def save(path, tensors):
    head, body = {}, b""
    for name, (shape, values) in tensors.items():
        data = struct.pack(f"<{len(values)}f", *values)
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    h = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(h)) + h + body)
n = 4 * 16 * 8 * 8
save("in.safetensors", {"x": ([1, 4, 16, 8, 8], [i % 7 - 3.0 for i in range(n)]), "t": ([1], [500.0]),
                        "grad_output": ([1, 4, 32, 8, 8], [i % 5 - 2.0 for i in range(2 * n)])})
save("two.safetensors", {"image1": ([1, 3, 64, 64], [0.1 * (i % 13) for i in range(3 * 4096)]), "image2": ([1, 3, 64, 64], [0.1 * (i % 11) for i in range(3 * 4096)])})
P
works "$F" forward medsora-tiny --weights w.safetensors --input in.safetensors -o o.safetensors --grad --set scan=released
python3 - <<'P'
import json, struct
f = open("o.safetensors", "rb").read()
n = struct.unpack("<Q", f[:8])[0]
head = json.loads(f[8 : 8 + n])
def get(k):
    a, b = head[k]["data_offsets"]
    return struct.unpack(f"<{(b - a) // 4}f", f[8 + n + a : 8 + n + b])
assert head["output"]["shape"] == [1, 4, 32, 8, 8] and not any(get("output"))
assert head["grad.x"]["shape"] == [1, 4, 16, 8, 8]
assert any(get("grad.final_layer.linear.weight")) and not any(get("grad.blocks.0.query_matrix.weight"))
P
fails 1 "axes bfchw" -- "$F" forward medsora-tiny --weights w.safetensors --input two.safetensors -o o2.safetensors
fails 1 "Is it the right model" -- "$F" forward raft-small --weights w.safetensors --input two.safetensors -o o2.safetensors
works "$F" init raft-small -o r.safetensors
works "$F" forward raft-small --weights r.safetensors --input two.safetensors -o flow.safetensors --set align.flow_iterations=2
fails 2 "frozen" -- "$F" forward raft-small --weights r.safetensors --input two.safetensors -o o2.safetensors --grad

# training, everything on: a run that was killed and resumed is the run that never stopped
works "$F" phantom -o p.h5 --videos 16 --size 32
conf() { printf '%s\n' "$@" >e.yaml; }
all="generator: {steps: 10, batch: 2, first_steps: 4, first_batch: 4, vlb: true, weighting: min-snr, images: 4, image_mode: pairs, clip_from: 3, schedule: constant, sheet_every: 5}"
conf "task: generator" "data: {clips: p.h5}" "vae: {steps: 6, batch: 2, gan: 0.5, gan_from: 2, perceptual: 1, frequency_compensation: clean}" "$all" \
  "align: {weight: 1, mode: released, margin: 0.001, teacher: vae}"
works "$F" train e.yaml -o whole
grep -q "perceptual term is left out" err || die "nothing says that LPIPS has no weights"
for f in samples/000005.png samples/000010.gif features.safetensors vae/log.csv; do [ -e whole/$f ] || die "whole/$f is missing"; done
head -1 whole/log.csv | grep -q "loss,eps_mse,vlb,align,align_distance" || die "$(head -1 whole/log.csv)"
grep -q "released, weight 1, teacher the run's own VAE on flow of lucas-kanade" whole/run.json || die "run.json does not name the teacher"
head -1 whole/vae/log.csv | grep -q "gan,gan_weight" || die "$(head -1 whole/vae/log.csv)"
for stage in vae/state.safetensors state.safetensors; do # killed in the VAE's stage, and in the generator's
  rm -rf part
  killed_at "part/$stage" "$F" train e.yaml -o part --set save_every=1
  works "$F" train e.yaml -o part --resume
  for f in vae/ema.safetensors vae/state.safetensors weights.safetensors ema.safetensors log.csv samples/000010.png; do
    cmp whole/$f part/$f || die "$f of a run killed at $stage differs"
  done
done
works "$F" generate whole -n 2 -o s.h5 --sampler ddpm --steps 4

# alignment whose hinge never fires is no alignment, bit for bit
conf "task: generator" "data: {clips: p.h5}" "vae: {steps: 2, batch: 2}" "generator: {steps: 5, batch: 2}"
works "$F" train e.yaml -o off
works "$F" train e.yaml -o never --set align.weight=1 --set align.margin=2 --set align.teacher=vae --set align.mode=spatial
cmp off/state.safetensors never/state.safetensors || die "a hinge that never fires changed the weights"
works "$F" train e.yaml -o moved --set align.weight=1 --set align.margin=0 --set align.teacher=vae --set align.mode=spatial
! cmp -s off/state.safetensors moved/state.safetensors || die "the alignment did not reach the weights"
# what is computed again in the backward pass gives the same gradients (the order of a sum may differ: 256 terms of f32), in less memory
python3 - <<'P'
import array, math, struct
f = open("w.safetensors", "rb").read()
n = 8 + struct.unpack("<Q", f[:8])[0]
w = array.array("f", f[n:])
for i in range(len(w)):
    w[i] += 0.05 * math.sin(i)  # adaLN-zero would compare zeros
open("full.safetensors", "wb").write(f[:n] + w.tobytes())
P
for r in none mixers; do works "$F" forward medsora-tiny --weights full.safetensors --input in.safetensors -o $r.safetensors --grad --set generator.recompute=$r; done
python3 - <<'P'
import array, json, struct
def load(path):
    f = open(path, "rb").read()
    n = 8 + struct.unpack("<Q", f[:8])[0]
    return {k: array.array("f", f[n + v["data_offsets"][0] : n + v["data_offsets"][1]]) for k, v in json.loads(f[8:n]).items() if k[0] != "_"}
a, b = load("none.safetensors"), load("mixers.safetensors")
assert a.keys() == b.keys() and len(a) > 100
for k in a:
    most = max(map(abs, a[k]))
    assert most > 0 and max(abs(x - y) for x, y in zip(a[k], b[k])) <= 256 * 2**-24 * most, k
P
slab() { works "$F" bench train-step --model medsora-tiny --batch 2 --runs 1 --set generator.recompute=$1; sed 's/.*slab \([0-9]*\).*/\1/' out; }
[ $(($(slab mixers) * 3)) -lt $(($(slab none) * 2)) ] || die "recompute saves no memory: $(cat out)"

# the other switches run, and those that do not go together say so
for o in "generator.objective=flow" "generator.mixer=attention" "generator.scan=raster" "generator.images=3" "align.weight=1 align.mode=trd align.teacher=vae" \
  "align.weight=1 align.mode=paper align.teacher=vae align.colors=hsv align.input=frames"; do
  set -- ; for x in $o; do set -- "$@" --set "$x"; done
  works "$F" train e.yaml -o other --force "$@"
done
fails 1 "vlb" "flow" -- "$F" train e.yaml -o other --force --set generator.objective=flow --set generator.vlb=true
fails 1 "at least 64 pixels" -- "$F" train e.yaml -o other --force --set align.weight=1 --set align.teacher=vae --set align.flow=raft-small
fails 1 "first_steps" -- "$F" train e.yaml -o other --force --set generator.first_steps=5
fails 1 "nobody" "dino-vits8" -- "$F" train e.yaml -o other --force --set align.weight=1 --set align.teacher=nobody
fails 1 "multiple of 8" -- "$F" train e.yaml -o other --force --set vae.model=medsora-vae --set data.clips="$("$F" phantom -o odd.h5 --videos 4 --size 32 --frames 12 >/dev/null 2>&1; echo odd.h5)"
# another family, on a VAE of its own, with images beside the clip; all of them: full_families.sh
printf '%s\n' "task: generator" "data: {clips: p.h5}" "vae: {model: image-vae-tiny, steps: 2, batch: 2}" "generator: {model: feat-tiny, steps: 3, batch: 2, images: 2}" >e.yaml
works "$F" train e.yaml -o family
works "$F" generate family -n 1 -o s2.h5 --steps 2

# the published presets are read whole
for f in generator medsora-paper medsora-released endora-paper feat-paper lvdm-paper; do
  works "$F" experiment run "$root/experiments/$f.yaml" --print-config
done
done_testing
