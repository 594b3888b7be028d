#!/usr/bin/env python3
"""Writes the golden files of test_models.c with PyTorch: outputs and gradients of the twins in twins.py.

    python3 -m venv venv && venv/bin/pip install torch torchvision diffusers transformers safetensors numpy
    venv/bin/python tests/golden/make_golden.py
"""
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from diffusers import AutoencoderKL, AutoencoderKLCogVideoX
from torchvision.models.optical_flow import raft_large, raft_small
from torchvision.utils import flow_to_image
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from formula_torch import golden, value
from generator_twins import Endora, Feat, Forty, Lvdm, LvdmVAE
from public_twins import LPIPS, Dino, PatchGAN, medsora_vae
from twins import VAE, X3D, Eye, MedSora, Mil, R2Plus1D, TimeSformer, mil_loss

torch.manual_seed(0)
clip = value("x", 2 * 8 * 32 * 32 * 3).view(2, 8, 32, 32, 3)
golden("x3d-tiny", X3D("x3d-tiny", 3).train(), lambda m: m(clip.permute(0, 4, 1, 2, 3)))
golden("r2plus1d-tiny", R2Plus1D().train(), lambda m: m(clip.permute(0, 4, 1, 2, 3)))
golden("eye", Eye().train(), lambda m: m(clip.permute(0, 4, 1, 2, 3)))
golden("timesformer-tiny", TimeSformer(), lambda m: m(clip.permute(0, 4, 1, 2, 3)))  # 8 frames of 32 pixels: tables are resampled
features = value("x", 2 * 16 * 24).view(2, 16, 24)
for tokens in ("channel", "snippet"):
    golden("mil-" + tokens, Mil(tokens).eval(), lambda m: m(features))


class MilLoss(torch.nn.Module):  # what the loss looks at, as parameters
    def __init__(self):
        super().__init__()
        self.embedding, self.score, self.video = (torch.nn.Parameter(torch.zeros(s)) for s in ((8, 32, 24), (8, 32), (8, 1)))


golden("mil-loss", MilLoss(), lambda m: mil_loss(m.embedding, torch.sigmoid(m.score), m.video, 1, 0.3, 0.2, 0.25))
golden("medsora-tiny", MedSora(), lambda m: m(value("z", 2 * 4 * 8 * 8 * 16).view(2, 4, 8, 8, 16), torch.tensor([17.0, 900.0])))
clip_and_images = value("z", 2 * 6 * 8 * 8 * 16).view(2, 6, 8, 8, 16)  # 4 frames, 2 images
for name, model in (("endora-tiny", Endora()), ("feat-tiny", Feat()), ("feat-tiny-guided", Feat(guided=True)), ("lvdm-tiny", Lvdm()),
                    ("lvdm-tiny-released", Lvdm(released=True)), ("forty-tiny", Forty())):
    golden(name, model, lambda m: m(clip_and_images, torch.tensor([17.0, 900.0])))
told = value("z", 2 * 4 * 8 * 8 * 4).view(2, 4, 8, 8, 4)  # two clips of three classes: the second, and none
three = {"channels": 4, "classes": 3}
for name, model in (("medsora-tiny", MedSora(**three)), ("endora-tiny", Endora(**three)), ("feat-tiny", Feat(**three)), ("lvdm-tiny", Lvdm(**three))):
    golden(name + "-told", model, lambda m: m(told, torch.tensor([17.0, 900.0]), torch.tensor([1, 3])))
wide = value("z", 2 * 16 * 16 * 4).view(1, 2, 16, 16, 4)  # 64 tokens in a frame: the released WKV's chunks have 4
golden("feat-tiny-released", Feat(channels=4, frames=2, released=True), lambda m: m(wide, torch.tensor([17.0])))
golden("lvdm-vae-tiny", LvdmVAE(), lambda m: m.decode(m.encode(clip)[..., :4]))
golden("vae-tiny", VAE(), lambda m: m.decode(m.encode(clip)[..., :16]))


# ---- public networks, small or whole ------------------------------------------------------------------------------------------
def cogvideox(branches):
    small = dict(channels=(16, 16, 32, 32), latent=4, layers=1, groups=8)
    if branches:
        return medsora_vae(**small).eval()
    return AutoencoderKLCogVideoX(
        block_out_channels=small["channels"], latent_channels=4, layers_per_block=1, down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4, norm_num_groups=8).eval()


def last(y):  # (B,C,F,H,W) to forty's order of axes
    return y.permute(0, 2, 3, 4, 1)


def first(name, b, t, h, w, c):
    return value(name, b * t * h * w * c).view(b, t, h, w, c).permute(0, 4, 1, 2, 3)


golden("cogvideox-encode", cogvideox(False), lambda m: last(m._encode(first("x", 1, 17, 16, 16, 3))))
golden("cogvideox-decode", cogvideox(False), lambda m: last(m._decode(first("z", 1, 5, 2, 2, 4)).sample))
golden("medsora-vae-encode", cogvideox(True), lambda m: last(m._encode(first("x", 1, 16, 16, 16, 3))))
golden("medsora-vae-decode", cogvideox(True), lambda m: last(m._decode(first("z", 1, 4, 2, 2, 4)).sample))

image = lambda name, b, s, c: value(name, b * s * s * c).view(b, s, s, c).permute(0, 3, 1, 2)
sd = lambda: AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                           block_out_channels=(16, 16, 32, 32), layers_per_block=2, latent_channels=4, norm_num_groups=8).eval()
golden("sd-vae-encode", sd(), lambda m: m.quant_conv(m.encoder(image("x", 2, 16, 3))).permute(0, 2, 3, 1))
golden("sd-vae-decode", sd(), lambda m: m.decoder(m.post_quant_conv(image("z", 2, 4, 4))).permute(0, 2, 3, 1))
golden("dino", Dino(48, 3, 8, depth=3, grid=7), lambda m: m(image("x", 2, 32, 3)))


class HuggingFace:  # transformers' network under facebookresearch's names, q, k and v in one
    def __init__(self, net):
        self.net, self.part = net, {}
        whole = {}
        for name, p in net.named_parameters():
            if "mask_token" in name:
                continue
            to = name.replace("embeddings.patch_embeddings.projection", "patch_embed.proj").replace("embeddings.position_embeddings", "pos_embed")
            to = to.replace("embeddings.", "").replace("encoder.layer.", "blocks.").replace("layer_scale", "ls").replace("lambda1", "gamma")
            to = to.replace("attention.output.dense", "attn.proj").replace("attention.o_proj", "attn.proj").replace("layernorm", "norm")
            slot = None
            for i, q in enumerate(("q", "k", "v")):
                for old in ("attention.attention." + ("query", "key", "value")[i], "attention." + q + "_proj"):
                    if old in to:
                        to, slot = to.replace(old, "attn.qkv"), i
            self.part[name] = (to, slot, p.shape)
            whole[to] = list(p.shape) if slot is None else [3 * p.shape[0], *p.shape[1:]]
        self.whole = {k: torch.nn.Parameter(torch.zeros(v)) for k, v in whole.items()}

    def named_parameters(self):
        return self.whole.items()

    def __call__(self, x):
        values = {k: self.whole[to] if slot is None else self.whole[to].chunk(3)[slot] for k, (to, slot, _) in self.part.items()}
        return torch.func.functional_call(self.net, values, (x,)).last_hidden_state


small = dict(hidden_size=48, num_attention_heads=3, num_hidden_layers=3, image_size=56, patch_size=8)
golden("dinov2", HuggingFace(Dinov2Model(Dinov2Config(**small)).eval()), lambda m: m(image("x", 2, 32, 3)))
golden("dinov2-reg", HuggingFace(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**small, num_register_tokens=4)).eval()),
       lambda m: m(image("x", 2, 32, 3)))
golden("patchgan", PatchGAN().train(), lambda m: m(image("x", 2, 32, 3)).permute(0, 2, 3, 1))
for net in ("vgg", "alex"):
    golden("lpips-" + net, LPIPS(net).eval(), lambda m: m(image("x", 1, 48, 3), image("y", 1, 48, 3)).view(1), False)
for net in (raft_large, raft_small):
    golden(net.__name__.replace("_", "-"), net().eval(), lambda m: m(image("x", 1, 128, 3), image("y", 1, 128, 3), num_flow_updates=3)[-1].permute(0, 2, 3, 1)[:, ::4, ::4], False)


# ---- flow pictures ----
def flow_pictures():
    import colorsys

    flow = value("flow", 16 * 16 * 2).view(16, 16, 2) * 3
    wheel = flow_to_image(flow.permute(2, 0, 1)).permute(1, 2, 0).contiguous()
    top = flow.norm(dim=-1).max().item()
    hsv = torch.zeros(16, 16, 3)
    for y in range(16):
        for x in range(16):
            u, v = flow[y, x].tolist()
            hsv[y, x] = torch.tensor(colorsys.hsv_to_rgb(np.arctan2(v, u) / (2 * np.pi) % 1, 1, np.hypot(u, v) / top)) * 255
    save_file({"wheel": wheel, "hsv": hsv}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "flow.safetensors"))


flow_pictures()


# ---- second derivatives (test_graph.c): |dD/dx|^2 of three judges, and its gradients, in double precision ----------------------
def second_order():
    out = {}

    def params(shapes):
        return {k: (value(k, int(np.prod(s))).view(s) * (0.5 if len(s) > 1 else 0.25)).double().requires_grad_() for k, s in shapes.items()}

    def judge_conv(x, p):
        h = F.leaky_relu(F.conv3d(x, p["c1.weight"], p["c1.bias"], padding=(0, 1, 1)), 0.2)
        h = F.leaky_relu(F.conv3d(h, p["c2.weight"], p["c2.bias"], (1, 2, 2), (0, 1, 1)), 0.2)
        h = F.leaky_relu(F.linear(h.movedim(1, -1), p["l1.weight"], p["l1.bias"]), 0.2)
        return F.linear(h.mean((1, 2, 3)), p["l2.weight"])

    def judge_modulated(x, p):
        s = F.linear(x.mean((2, 3, 4)), p["a.weight"], p["a.bias"])
        w = p["m.weight"][None] * s[:, None, :, None, None, None]
        w = w * torch.rsqrt(w.square().sum((2, 3, 4, 5), keepdim=True) + 1e-8)
        return torch.cat([F.conv3d(x[b : b + 1], w[b], padding=(0, 1, 1)) for b in range(2)]).square()

    def judge_shapes(x, p):
        d = F.avg_pool3d(F.interpolate(x, scale_factor=(1.0, 2.0, 2.0)), (1, 3, 3), (1, 2, 2))
        d = F.conv3d(d, p["d.weight"], padding=(0, 1, 1), groups=3)
        t = F.conv_transpose3d(F.silu(d), p["t.weight"], p["t.bias"], (1, 2, 2))
        a, b = t.chunk(2, 1)
        c = torch.cat([a * b, a / (b * b + 1)], 1)
        c = F.interpolate(c, size=(c.shape[2], 7, c.shape[4]), mode="trilinear")
        c = F.pad(c.roll(2, 4), (1, 0))
        m = c.transpose(1, 2).reshape(4, 4, 7, 11)
        return torch.tanh(0.1 * (m @ m.transpose(-1, -2)).mean())

    for name, net, shapes in (
        ("r1_conv", judge_conv, {"c1.weight": (8, 3, 1, 3, 3), "c1.bias": (8,), "c2.weight": (16, 8, 1, 3, 3), "c2.bias": (16,),
                                 "l1.weight": (8, 16), "l1.bias": (8,), "l2.weight": (1, 8)}),
        ("r1_modulated", judge_modulated, {"a.weight": (3, 3), "a.bias": (3,), "m.weight": (5, 3, 1, 3, 3)}),
        ("r1_shapes", judge_shapes, {"d.weight": (3, 1, 1, 3, 3), "t.weight": (3, 4, 1, 2, 2), "t.bias": (4,)}),
    ):
        p = params(shapes)
        x = value("x", 2 * 2 * 6 * 6 * 3).view(2, 2, 6, 6, 3).double().permute(0, 4, 1, 2, 3).requires_grad_()
        (slope,) = torch.autograd.grad(net(x, p).sum(), x, create_graph=True)
        penalty = slope.square().sum()
        grads = torch.autograd.grad(penalty, list(p.values()), allow_unused=True)
        out[name + ".penalty"] = penalty.detach().float().view(1)
        for k, g in zip(p, grads):
            if g is not None and g.abs().max() > 0:
                out[f"{name}.{k}"] = g.float().contiguous()
        print(name, float(penalty))
    save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "second_order.safetensors"))


second_order()
