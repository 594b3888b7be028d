#!/usr/bin/env python3
"""Whole networks of forty against public implementations with random weights, through the verbs that users have.

For each model: weights from the public library (diffusers, torchvision) or a twin, saved as it saves them (.pth zip, legacy .pth,
.safetensors), `forty weights import`, `forty forward --grad`, and the largest differences of output and gradients relative to the
largest value. Not part of the tests: it needs PyTorch.

    venv/bin/pip install torch torchvision diffusers safetensors && venv/bin/python tests/parity.py build/release/forty [NAME ...]
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
import torch
from safetensors.torch import load_file, save_file

import generator_twins as others
import public_twins as twins

torch.manual_seed(0)
torch.set_num_threads(2)
forty, wanted = sys.argv[1], sys.argv[2:]
tmp = tempfile.mkdtemp()


def run(*a):
    r = subprocess.run([forty, *a], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(a)}\n{r.stderr}")
    return r.stdout


def randomise(m):
    for p in m.parameters():
        if p.dim() >= 2:
            p.data.normal_(0, (p[0].numel()) ** -0.5)
        else:
            p.data.uniform_(-0.2, 0.2).add_(0)
    for mod in m.modules():
        if isinstance(mod, (torch.nn.GroupNorm, torch.nn.LayerNorm, torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)):
            if mod.weight is not None:
                mod.weight.data.add_(1)
        if hasattr(mod, "running_var") and mod.running_var is not None:
            mod.running_mean.normal_(0, 0.1)
            mod.running_var.uniform_(0.5, 1.5)
    for n, p in m.named_parameters():
        if n.endswith((".A_log", ".D")) or (n.endswith("norm.weight") and p.dim() == 1 and abs(p.mean()) < 0.5):
            p.data.add_(1)


def worst(a, b, scale=0.0):
    """relative to the largest value; `scale`: below a millionth of it nothing counts (gradients that are zero in exact numbers)"""
    return float((a - b).abs().max() / max(float(b.abs().max()), 1e-6 * scale, 1e-30))


def check(name, preset, model, inputs, forward, fmt="zip", grad=True, save=None, precision="f32", options=()):
    if wanted and not any(name.startswith(w) for w in wanted):
        return
    state = (save or (lambda m: m.state_dict()))(model)
    src, w = os.path.join(tmp, name + (".safetensors" if fmt == "safetensors" else ".pth")), os.path.join(tmp, name + ".w.safetensors")
    if fmt == "safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, src)
    elif fmt == "script":
        torch.jit.save(state, src)
    else:
        torch.save(state, src, _use_new_zipfile_serialization=fmt == "zip")
    run("weights", "import", src, "--as", preset, "-o", w, "--force")
    x = {k: v.clone().requires_grad_(grad and k == next(iter(inputs)) and v.dim() > 1) for k, v in inputs.items()}
    with torch.set_grad_enabled(grad):
        y = forward(model, **x)
    tensors = {k: v.detach().contiguous() for k, v in x.items()}
    if grad:
        dy = torch.randn_like(y)
        y.backward(dy)
        tensors["grad_output"] = dy.contiguous()
    i, o = os.path.join(tmp, "in.safetensors"), os.path.join(tmp, "out.safetensors")
    save_file(tensors, i)
    run("forward", name.split(":")[0], "--weights", w, "--input", i, "-o", o, "--force", "--precision", precision, *(["--grad"] if grad else []), *options)
    out = load_file(o)
    line = f"{name:24s} {precision} {fmt:12s} output {worst(out['output'], y.detach()):.1e}"
    if grad:
        first = next(iter(inputs))
        top, scale = (0, ""), max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
        n = 0
        for k, p in model.named_parameters():
            if p.grad is None or "grad." + k not in out:
                if p.grad is not None and p.grad.abs().max() > 0:
                    line += f" MISSING {k}"
                continue
            top = max(top, (worst(out["grad." + k], p.grad, scale), k))
            n += 1
        line += f"  grad.{first} {worst(out['grad.' + first], x[first].grad):.1e}  worst of {n} gradients {top[0]:.1e} ({top[1]})"
    print(line, flush=True)
    for f in (src, w, i, o):
        os.remove(f)


def want(name):
    return not wanted or any(name.startswith(w) or w.startswith(name) for w in wanted)


if want("cogvideox"):
    from diffusers import AutoencoderKLCogVideoX

    vae = AutoencoderKLCogVideoX(
        block_out_channels=(128, 256, 256, 512), latent_channels=16, layers_per_block=3,
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4, norm_num_groups=32).eval()
    randomise(vae)

    def encode(m, x):
        return m._encode(x)

    def decode(m, x):
        return m._decode(x).sample

    for frames in (1, 9, 16):
        check(f"cogvideox-vae-encode:{frames}", "cogvideox-vae", vae, {"x": torch.randn(1, 3, frames, 32, 32).clamp(-1, 1)}, encode, "safetensors", frames < 16)
        vae.zero_grad()
    for frames in (1, 3, 4):
        check(f"cogvideox-vae-decode:{frames}", "cogvideox-vae", vae, {"x": torch.randn(1, 16, frames, 4, 4)}, decode, "zip", frames < 4)
        vae.zero_grad()
    check("cogvideox-vae-encode:b", "cogvideox-vae", vae, {"x": torch.randn(1, 3, 8, 32, 32).clamp(-1, 1)}, encode, precision="bf16")
if want("medsora-vae"):
    vae = twins.medsora_vae().eval()
    randomise(vae)
    check("medsora-vae-encode", "medsora-vae", vae, {"x": torch.randn(1, 3, 16, 32, 32).clamp(-1, 1)}, lambda m, x: m._encode(x), save=lambda m: {"model": m.state_dict(), "args": __import__("argparse").Namespace(a=1)})
    vae.zero_grad()
    for m in vae.decoder.up_freq_compensations:
        m[0].bias.data.add_(8)  # away from ReLU's kink: a value within rounding of 0 is cut on one side only
    for frames in (2, 4):
        vae.zero_grad()
        check(f"medsora-vae-decode:{frames}", "medsora-vae", vae, {"x": torch.randn(1, 16, frames, 4, 4)}, lambda m, x: m._decode(x).sample)
if want("sd-vae"):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4).eval()
    randomise(vae)
    check("sd-vae-encode", "sd-vae", vae, {"x": torch.randn(2, 3, 64, 64).clamp(-1, 1)}, lambda m, x: m.quant_conv(m.encoder(x)), "safetensors")
    vae.zero_grad()
    check("sd-vae-decode", "sd-vae", vae, {"x": torch.randn(2, 4, 8, 8)}, lambda m, x: m.decoder(m.post_quant_conv(x)), "legacy")
if want("raft"):
    import torchvision.models.optical_flow as flow

    for name, make in (("raft-large", flow.raft_large), ("raft-small", flow.raft_small)):
        m = make().eval()
        randomise(m)
        a = torch.rand(2, 3, 128, 128) * 2 - 1
        check(name, name, m, {"image1": a, "image2": a.roll(2, 3)}, lambda m, image1, image2: m(image1, image2, num_flow_updates=4)[-1], "zip", False,
              options=("--set", "align.flow_iterations=4"))
if want("dino"):
    for name, d, h, p in (("dino-vits16", 384, 6, 16), ("dino-vits8", 384, 6, 8), ("dino-vitb16", 768, 12, 16), ("dino-vitb8", 768, 12, 8)):
        m = twins.Dino(d, h, p).eval()
        randomise(m)
        for size in (128, 224):
            check(f"{name}:{size}", name, m, {"x": torch.randn(1, 3, size, size)}, lambda m, x: m(x), "legacy", False,
                  save=lambda m: {"student": {}, "teacher": {"module.backbone." + k: v for k, v in m.state_dict().items()} | {"module.head.w": torch.zeros(2)}, "epoch": 3})
if want("inception"):
    import pytorch_fid.inception as fid

    torchvision_names = []
    fid.load_state_dict_from_url = lambda *a, **k: torchvision_names[0].state_dict()
    torchvision_names.append(fid._inception_v3(num_classes=1008, aux_logits=False, weights=None))
    randomise(torchvision_names[0])
    whole = fid.fid_inception_v3().eval()  # with FID's blocks
    features = fid.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    features.load_state_dict(features.state_dict())
    x = {"x": torch.rand(2, 3, 299, 299) * 2 - 1}
    check("inception:torchvision", "inception", whole, x, lambda m, x: features(x)[0].flatten(1), "zip", False)
    check("inception:bf16", "inception", whole, x, lambda m, x: features(x)[0].flatten(1), "zip", False, precision="bf16")
    check("inception-logits:legacy", "inception", whole, x, lambda m, x: features(x)[0].flatten(1) @ m.fc.weight.T, "legacy", False)
    m = twins.InceptionNVIDIA().eval()
    randomise(m)
    for p in m.modules():
        if hasattr(p, "var"):
            p.var.data.uniform_(0.5, 1.5)
    check("inception-tf1:script", "inception-tf1", m, x, lambda m, x: m(x), "script", False, save=torch.jit.script)
if want("i3d"):  # the package cd-fvd, and https://github.com/hassony2/kinetics_i3d_pytorch where I3D says its folder
    from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d

    m = InceptionI3d(400, in_channels=3).eval()
    randomise(m)
    for frames in (16, 9):
        x = {"x": torch.rand(1, 3, frames, 224, 224) * 2 - 1}
        check(f"i3d-port:{frames}", "i3d-port", m, x, lambda m, x: m(x), "zip", False)
    check("i3d-port:bf16", "i3d-port", m, x, lambda m, x: m(x), "zip", False, precision="bf16")
    for mod in m.modules():
        if isinstance(mod, torch.nn.BatchNorm3d):
            mod.eps = 1e-3
    check("i3d:script", "i3d", m, x, lambda m, x: m(x), "script", False, save=lambda m: torch.jit.trace(m, x["x"], check_trace=False))
    if "I3D" in os.environ:
        sys.path.insert(0, os.path.join(os.environ["I3D"], "src"))
        from i3dpt import I3D

        m = I3D(num_classes=400).eval()
        randomise(m)
        x = {"x": torch.rand(1, 3, 16, 224, 224) * 2 - 1}
        check("i3d:hassony2", "i3d", m, x, lambda m, x: m(x)[1], "zip", False)
if want("clip"):
    import open_clip
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    class Whole(torch.nn.Module):
        """OpenAI's names: the tower is `visual`"""

        def __init__(self, m):
            super().__init__()
            self.visual, self.logit_scale, self.positional_embedding = m.visual, m.logit_scale, m.positional_embedding

        def forward(self, x):
            return self.visual(x)

    for name, public, d, depth, heads, patch, out in (("clip-b32", "ViT-B-32", 768, 12, 12, 32, 512), ("clip-l14", "ViT-L-14", 1024, 24, 16, 14, 768)):
        x = {"x": torch.randn(2, 3, 224, 224)}
        m = open_clip.create_model(public + "-quickgelu").eval()
        randomise(m)
        check(f"{name}:openai", name, m, x, lambda m, x: m.encode_image(x), "zip", False)
        check(f"{name}:script", name, Whole(m), x, lambda m, x: m(x), "script", False, save=lambda m: torch.jit.trace(m, x["x"], check_trace=False))
        check(f"{name}:bf16", name, m, x, lambda m, x: m.encode_image(x), "zip", False, precision="bf16")
        m = CLIPVisionModelWithProjection(CLIPVisionConfig(hidden_size=d, intermediate_size=4 * d, projection_dim=out, num_hidden_layers=depth,
                                                           num_attention_heads=heads, patch_size=patch, hidden_act="quick_gelu")).eval()
        randomise(m)
        check(f"{name}:huggingface", name, m, x, lambda m, x: m(x).image_embeds, "safetensors", False)
if want("videomae"):
    from cdfvd.third_party.VideoMAEv2.videomaev2_finetune import vit_giant_patch14_224

    m = vit_giant_patch14_224(img_size=224, pretrained=False, num_classes=174, all_frames=16, tubelet_size=2, use_mean_pooling=True).eval()
    randomise(m)
    check("videomae-g", "videomae-g", m, {"x": torch.rand(1, 3, 16, 224, 224)}, lambda m, x: m.forward_features(x), "zip", False,
          save=lambda m: {"module": m.state_dict()})
if want("lpips"):
    for name in ("vgg", "alex"):
        m = twins.LPIPS(name).eval()
        randomise(m)
        for k in range(5):
            getattr(m, f"lin{k}").model[1].weight.data.uniform_(0, 0.1)
        check(f"lpips-{name}", f"lpips-{name}", m, {"x": torch.rand(2, 3, 64, 64) * 2 - 1, "y": torch.rand(2, 3, 64, 64) * 2 - 1}, lambda m, x, y: m(x, y).mean().view(1), "zip", False)
if want("patchgan"):
    m = twins.PatchGAN().train()
    randomise(m)
    check("patchgan", "patchgan", m, {"x": torch.rand(2, 3, 128, 128) * 2 - 1}, lambda m, x: m(x), options=("--set", "train=true"))
    m.eval().zero_grad()
    check("patchgan:eval", "patchgan", m, {"x": torch.rand(2, 3, 128, 128) * 2 - 1}, lambda m, x: m(x))
import twins as own

if want("r2plus1d-18"):
    from torchvision.models.video import r2plus1d_18

    m = r2plus1d_18(num_classes=5)
    randomise(m)
    for mode in ("eval", "train"):
        m.train(mode == "train").zero_grad()
        check(f"r2plus1d-18:{mode}", "r2plus1d-18", m, {"x": torch.randn(2, 3, 8, 64, 64)}, lambda m, x: m(x), options=("--set", f"train={str(m.training).lower()}"))
if want("timesformer"):
    for name, d, heads, frames, size in (("timesformer-s16-128", 384, 6, 16, 128), ("timesformer-b16", 768, 12, 8, 224)):
        m = own.TimeSformer(d, 12, heads, 16, frames, size, 5)
        randomise(m)
        check(name, name, m, {"x": torch.randn(1, 3, frames, size, size)}, lambda m, x: m(x), save=lambda m: {"teacher": {"backbone." + k: v for k, v in m.state_dict().items()}})
if want("mil"):
    m = own.Mil("channel", 32, 2048, 6, 8, (512, 128)).eval()
    randomise(m)
    print(f"mil: {sum(p.numel() for p in m.parameters()):,} parameters")
    check("mil", "mil", m, {"x": torch.randn(2, 32, 2048)}, lambda m, x: torch.sigmoid(m(x)))
if want("medsora-s"):

    m = own.MedSora(6, 512, 2, 64, 128, 8, 16)
    randomise(m)

    def f(m, x, t):
        return m(x.permute(0, 1, 3, 4, 2), t).permute(0, 1, 4, 2, 3)

    for p in ("f32", "bf16"):
        m.zero_grad()
        check("medsora-s", "medsora-s", m, {"x": torch.randn(1, 6, 16, 16, 16), "t": torch.tensor([500.0])}, f, "legacy", precision=p, options=("--set", "generator.scan=true"))


def frames_last(m, x, t):  # files are (B,n,c,h,w), twins (B,n,h,w,c)
    return m(x.permute(0, 1, 3, 4, 2), t).permute(0, 1, 4, 2, 3)


STILLS = ("--set", "generator.images=8")  # behind the 16 frames of a clip
if want("endora-s"):
    m = others.Endora(12, 384, 6, 8, 4, 16)
    randomise(m)

    def tables(m):
        return m.state_dict() | {"pos_embed": m.pos_embed.reshape(1, 64, -1), "temp_embed": m.temp_embed[None]}

    check("endora-s", "endora-s", m, {"x": torch.randn(1, 24, 4, 16, 16), "t": torch.tensor([500.0])}, frames_last, save=tables, options=STILLS)
if want("feat-s"):
    m = others.Feat(9, 512, 8, 4, 16)
    randomise(m)

    def unused(m):  # in the public state dict, used by nobody
        extra = {f"blocks.{2 * i}.att.dwconv1d.weight": torch.zeros(512, 1, 3) for i in range(9)}
        return m.state_dict() | extra | {f"restormers.{i}.attn.alpha": torch.zeros(1024) for i in range(9)}

    check("feat-s", "feat-s", m, {"x": torch.randn(1, 24, 4, 16, 16), "t": torch.tensor([500.0])}, frames_last, save=unused, options=(*STILLS, "--set", "generator.kernel=true"))
if want("lvdm-vae"):
    m = others.LvdmVAE((32, 64, 128, 256), 4, 32)
    randomise(m)
    last = lambda x: x.permute(0, 2, 3, 4, 1)
    check("lvdm-vae-encode", "lvdm-vae", m, {"x": torch.randn(1, 3, 16, 64, 64).clamp(-1, 1)}, lambda m, x: m.encode(last(x)).permute(0, 4, 1, 2, 3), "safetensors")
    m.zero_grad()
    check("lvdm-vae-decode", "lvdm-vae", m, {"x": torch.randn(1, 4, 4, 8, 8)}, lambda m, x: m.decode(last(x)).permute(0, 4, 1, 2, 3), "safetensors")
if want("lvdm"):
    m = others.Lvdm(256, (1, 2, 3, 4), 3, 4, 32, 4, 4)
    randomise(m)
    check("lvdm", "lvdm", m, {"x": torch.randn(1, 4, 4, 16, 16), "t": torch.tensor([500.0])}, lambda m, x, t: m(x.permute(0, 2, 3, 4, 1), t).permute(0, 4, 1, 2, 3), options=("--set", "generator.relative=true"))
