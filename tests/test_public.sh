# Weights of public code, as a user gives and takes them: LVDM's checkpoint with its moving average, exports that come back whole,
# files of earlier versions, axes in the order of the public code.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cat >st.py <<'P'
import json, struct
def read(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + n])
    meta = head.pop("__metadata__", {})
    return {k: (t["dtype"], t["shape"], raw[8 + n + t["data_offsets"][0] : 8 + n + t["data_offsets"][1]]) for k, t in head.items()}, meta
def write(path, tensors, meta=None):
    head, at = {"__metadata__": meta} if meta else {}, 0
    for k, (dtype, shape, data) in tensors.items():
        head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(d for _, _, d in tensors.values()))
def floats(shape, step):
    n = 1
    for d in shape:
        n *= d
    return "F32", shape, struct.pack(f"<{n}f", *(0.05 * ((i * step) % 29 - 14) for i in range(n)))
P

# ---- LVDM: what it samples with is its moving average ----
works "$F" init lvdm-tiny -o init.safetensors
python3 - <<'P'
from st import *
ours, _ = read("init.safetensors")
ours = {k: floats(t[1], 7 + i) for i, (k, t) in enumerate(ours.items())}
write("plain.safetensors", ours)
raw = {"model.diffusion_model." + k: floats(t[1], 3) for k, t in ours.items()}
ema = {"model_ema.diffusion_model" + k.replace(".", ""): t for k, t in ours.items()}
rest = {"model_ema.decay": floats([], 1), "model_ema.num_updates": ("I32", [], b"\1\0\0\0"), "betas": floats([10], 1)}
write("whole.safetensors", raw | ema | rest)
write("torn.safetensors", raw | {k: t for k, t in ema.items() if not k.endswith("out2weight")})
write("in.safetensors", {"x": floats([1, 16, 4, 8, 8], 5), "t": floats([1], 5)})
write("turned.safetensors", {"x": floats([1, 4, 16, 8, 8], 5), "t": floats([1], 5)})
P
works "$F" weights import whole.safetensors --as lvdm-tiny -o taken.safetensors
grep -q "the moving average (model_ema)" out && grep -q -- "--set generator.relative=released" out || die "what was taken is not said: $(cat out)"
python3 -c '
from st import *
a, b = read("plain.safetensors")[0], read("taken.safetensors")[0]
assert a == b'
fails 1 "missing: out.2.weight" -- "$F" weights import torn.safetensors --as lvdm-tiny -o no.safetensors
works "$F" weights check plain.safetensors --as lvdm-tiny --json
python3 -c 'import json; r = json.load(open("out")); assert r["averaged"] == 0 and r["left_over"] == 0, r'
# public weights compute as public code does, unless somebody says otherwise; axes are those of LVDM: (b,c,t,h,w)
works "$F" forward lvdm-tiny --weights taken.safetensors --input in.safetensors -o a.safetensors
works "$F" forward lvdm-tiny --weights plain.safetensors --input in.safetensors -o b.safetensors --set generator.relative=released
works "$F" forward lvdm-tiny --weights taken.safetensors --input in.safetensors -o c.safetensors --set generator.relative=true
cmp -s a.safetensors b.safetensors || die "imported weights of LVDM do not compute as its code does"
cmp -s a.safetensors c.safetensors && die "--set has no effect on imported weights"
python3 -c 'from st import *; assert read("a.safetensors")[0]["output"][1] == [1, 16, 4, 8, 8]'
fails 1 "turned.safetensors" "x has 4 channels (c), the model 16" "(b,c,f,h,w)" -- "$F" forward lvdm-tiny --weights taken.safetensors --input turned.safetensors -o d.safetensors

# ---- an export is a file for the public code, and one that forty takes as it is ----
for model in feat-tiny medsora-tiny endora-tiny lvdm-tiny lvdm-vae-tiny x3d-tiny timesformer-tiny lpips-alex; do
  works "$F" init $model -o i.safetensors --force
  works "$F" weights export i.safetensors -o e.safetensors --force
  works "$F" weights import e.safetensors --as $model -o w.safetensors --force --json
  python3 - $model <<'P' || die "$model does not come back from its export"
import json, sys
from st import *
r = json.load(open("out"))
assert r["left_over"] == 0 and r["fresh"] == 0, r
ours, out, back = (read(f)[0] for f in ("i.safetensors", "e.safetensors", "w.safetensors"))
assert ours == back
beside = {"feat-tiny": [], "medsora-tiny": ["blocks.3.local_attention.rel_pos.inv_freq"], "endora-tiny": ["linear.weight", "linear_2.bias"], "lvdm-tiny": [],
          "lvdm-vae-tiny": ["encoder.conv_first.weight"], "x3d-tiny": ["blocks.0.norm.num_batches_tracked"], "timesformer-tiny": ["backbone.cls_token"], "lpips-alex": ["lins.4.model.1.weight"]}[sys.argv[1]]
assert all(k in out for k in beside), out.keys()
if sys.argv[1] == "lvdm-vae-tiny":
    assert out["encoder.conv_first.weight"] == out["encoder.conv_first.conv.weight"]
if sys.argv[1] == "medsora-tiny":  # 10000^(-2k/128)
    _, shape, data = out["blocks.3.local_attention.rel_pos.inv_freq"]
    v = struct.unpack("<64f", data)
    assert shape == [64] and all(abs(x - 10000 ** (-2 * k / 128)) < 1e-6 for k, x in enumerate(v)), v
P
done
works "$F" init medsora-tiny -o i.safetensors --force
works "$F" weights export i.safetensors -o e.safetensors --force
python3 -c '
from st import *
write("mx.safetensors", {"x": floats([1, 4, 16, 8, 8], 5), "t": floats([1], 5)})'
works "$F" forward medsora-tiny --weights e.safetensors --input mx.safetensors -o o.safetensors
works "$F" init endora-tiny -o i.safetensors --force
works "$F" weights export i.safetensors -o e.safetensors --force --set generator.images=8
python3 -c 'from st import *; assert "cov.weight" in read("e.safetensors")[0]' || die "EnDoraIMG's adapter is missing"

# ---- files of before ----
works "$F" init feat-tiny -o new.safetensors
works "$F" init medsora-tiny -o newm.safetensors
python3 - <<'P'
import re
from st import *
def before(path, out, rules):
    tensors, meta = read(path)
    named = {}
    for k, (dtype, shape, data) in tensors.items():
        if re.fullmatch(r"restormers\.\d+\.attn\.alpha", k):
            shape = [2, shape[0] // 2]
        if k.startswith("restormers."):
            k = k.replace(".norm", ".ln")
        for a, b in rules:
            k = re.sub(a, b, k)
        named[k] = (dtype, shape, data)
    meta.pop("layout")
    assert set(named) != set(tensors)
    write(out, named, meta)
before("new.safetensors", "old.safetensors", [(r"^restormers\.", "channel_blocks."), (r"^res_conv\.", "skip."), (r"spatial_decay", "decay"), (r"spatial_first", "first"),
       (r"dwconv2d", "shift_s"), (r"dwconv1d", "shift_t")])
before("newm.safetensors", "oldm.safetensors", [(r"mamba_hw", "spatial_mamba"), (r"mamba_f", "temporal_mamba"), (r"gated_fusion\.gate_F", "gate"),
       (r"query_matrix", "local_attn.to_q"), (r"key_matrix", "local_attn.to_k"), (r"value_matrix", "local_attn.to_v")])
write("fx.safetensors", {"x": floats([1, 4, 16, 8, 8], 5), "t": floats([1], 5)})
P
for pair in "feat-tiny new old" "medsora-tiny newm oldm"; do
  read -r model new old <<<"$pair"
  works "$F" forward $model --weights $new.safetensors --input fx.safetensors -o a.safetensors --force
  works "$F" forward $model --weights $old.safetensors --input fx.safetensors -o b.safetensors --force
  cmp -s a.safetensors b.safetensors || die "$model of before computes something else"
  works "$F" weights import $old.safetensors --as $model -o back.safetensors --force
  python3 -c 'import sys; from st import *; assert read(sys.argv[1])[0] == read("back.safetensors")[0]' $new.safetensors || die "$model of before is not taken"
done
# ---- CLIP's tower under Hugging Face's names: q, k and v apart, the projection transposed, a text tower beside it ----
works "$F" init clip-tiny -o tower.safetensors
python3 - <<'P'
import struct
from st import *
names = {"visual.class_embedding": "vision_model.embeddings.class_embedding", "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
         "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight", "visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm",
         "visual.transformer.resblocks": "vision_model.encoder.layers", ".attn.out_proj": ".self_attn.out_proj", ".ln_1": ".layer_norm1", ".ln_2": ".layer_norm2",
         ".mlp.c_fc": ".mlp.fc1", ".mlp.c_proj": ".mlp.fc2"}
theirs = {"text_model.encoder.layers.0.mlp.fc1.weight": floats([2, 2], 1), "logit_scale": floats([], 1)}
for k, (dtype, shape, data) in read("tower.safetensors")[0].items():
    if k == "visual.proj":
        v = struct.unpack(f"<{len(data) // 4}f", data)
        turned = [v[i * shape[1] + j] for j in range(shape[1]) for i in range(shape[0])]
        theirs["visual_projection.weight"] = (dtype, shape[::-1], struct.pack(f"<{len(v)}f", *turned))
        continue
    for a, b in names.items():
        k = k.replace(a, b)
    if ".attn.in_proj_" not in k:
        theirs[k] = (dtype, shape, data)
        continue
    third = len(data) // 3
    for i, q in enumerate("qkv"):
        theirs[k.replace(".attn.in_proj_", f".self_attn.{q}_proj.")] = (dtype, [shape[0] // 3, *shape[1:]], data[i * third : (i + 1) * third])
write("tower_hf.safetensors", theirs)
P
works "$F" weights import tower_hf.safetensors --as clip-tiny -o tower_back.safetensors --json
python3 -c '
import json
from st import *
r = json.load(open("out"))
assert read("tower.safetensors")[0] == read("tower_back.safetensors")[0] and r["left_over"] == 0 and r["fresh"] == 0, r'
done_testing
