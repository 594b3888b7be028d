#!/usr/bin/env python3
"""Writes the golden files of the two GANs with the code of their authors, made narrow: mapping, motion codes, images, logits, and what the
phases of a training step add to the gradients (generator, discriminator, R1 with its second order), plus augmentation at fixed draws.
    git clone https://github.com/universome/stylegan-v    (3fecd69)
    git clone https://github.com/xiaoqian-shen/MoStGAN-V  (a2503ee)
    venv/bin/pip install torch safetensors numpy scipy omegaconf
    for c in stylegan-v MoStGAN-V; do venv/bin/python tests/golden/make_golden_gan.py $c; done
Weights are `unit` below: these networks scale their weights as they run (equalised learning rate), so N(0, 1) is what they start from.
"""
import os
import sys
import types

import torch
from formula_torch import golden, value

checkout = sys.argv[1]
sys.path[:0] = [checkout, os.path.join(checkout, "src")]


def absent(name, **parts):  # of their training, which nothing here touches
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
    for k, v in parts.items():
        setattr(sys.modules[name], k, v)


absent("distutils")
absent("distutils.util", strtobool=bool)
absent("pkg_resources", parse_version=lambda v: tuple(int(x) for x in v.split("+")[0].split(".")[:2]))
absent("cv2")
absent("src.training.training_loop", save_image_grid=None)
absent("src.training.diff_augment", DiffAugment=None)
from omegaconf import OmegaConf
from src.training import augment, loss, networks

mostgan = hasattr(networks, "tensor_modulation_word")
model = "mostganv" if mostgan else "styleganv"
FRAMES, SIZE = 3, 32
sampling = dict(type="random", max_num_frames=50, num_frames_per_video=FRAMES, total_dists=[1, 2, 4, 8, 16, 32], max_dist=32)
G_cfg = OmegaConf.create(dict(
    sampling=sampling, use_noise=False, c_dim=0, z_dim=24, w_dim=32, input=dict(type="temporal"), style_z=True, word_mod=True, motion_num=8,
    motion_dim=12, mod_layers="16,32", rank=1, time_enc=dict(cond_type="concat_const", dim=10, min_period_len=16, max_period_len=1024),
    motion=dict(z_dim=20, v_dim=20, motion_z_distance=16, gen_strategy="conv", kernel_size=11, use_fractional_t=True, fourier=True)))
D_cfg = OmegaConf.create(dict(
    sampling=sampling, concat_res=16, num_frames_div_factor=2, dummy_c=False, motion_dim=12, motion_diff=True, spectral_norm=False,
    softmask=False))
channels = dict(channel_base=512, channel_max=32)  # 32 at 4, 8 and 16 pixels, 16 at 32


def unit(module):
    """weights uniform with variance 1, biases about 0, or 1 where they scale; layers that learn at 1/100 hold 100 times as much"""
    for name, p in module.named_parameters():
        v = value(name, p.numel()).view(p.shape)
        slow = 100.0 if "mapping.fc" in name or "motion_encoder.conv" in name else 1.0
        p.data.copy_(slow * v * 3.0**0.5 if p.dim() >= 2 else slow * 0.2 * v + float(name.endswith("affine.bias")))
    return module


def generator(half=0):
    return unit(networks.Generator(
        c_dim=0, w_dim=32, img_resolution=SIZE, img_channels=3, cfg=G_cfg, mapping_kwargs=dict(num_layers=2, cfg=G_cfg),
        synthesis_kwargs=dict(conv_clamp=256, num_fp16_res=half, **channels)))


def discriminator():
    return unit(networks.Discriminator(
        c_dim=0, img_resolution=SIZE, img_channels=3, cfg=D_cfg, conv_clamp=256, mapping_kwargs=dict(num_layers=2),
        epilogue_kwargs=dict(mbstd_group_size=4), **channels))


def images(name, clips):
    """(clips, FRAMES, SIZE, SIZE, 3) as we hold it, as (clips*FRAMES, 3, SIZE, SIZE)"""
    x = value(name, clips * FRAMES * SIZE * SIZE * 3).view(clips * FRAMES, SIZE, SIZE, 3)
    return x.permute(0, 3, 1, 2).contiguous()


def ours(x):
    return x.view(-1, FRAMES, *x.shape[1:]).permute(0, 1, 3, 4, 2)


# at anchors, between them, across one; distances that round up and down
T = torch.tensor([[0.0, 5.25, 17.5], [12.75, 20.0, 33.75], [16.0, 17.0, 47.0], [30.5, 33.25, 34.5],
                  [1.0, 2.0, 3.0], [3.0, 19.0, 35.0], [7.0, 10.0, 11.0], [40.0, 44.0, 49.0]])
none = torch.zeros(8, 0)
z = value("z", 4 * 24).view(4, 24) * 3.0**0.5
MOTION = 26  # anchors of 50 frames, 16 apart: 6; the two convolutions take 10 each
motion_z = value("motion_z", 4 * MOTION * 20).view(4, MOTION, 20) * 3.0**0.5


def file(name, module, forward):
    golden(f"{model}-{name}", module, forward, fill=unit)


def whole(g, clips=2):
    return ours(g(z[:clips], none[:clips], T[:clips], motion_z=motion_z))


if not mostgan:
    file("mapping", generator(), lambda g: g.mapping(z, none[:4])[:, 0])
    file("motion", generator(), lambda g: g.synthesis.motion_encoder(none[:4], T[:4], motion_z=motion_z)["motion_v"])
    file("generator", generator().train(), whole)
else:
    file("released", generator().train(), whole)
    file("paper", generator().eval(), whole)

    class half:
        """what the code does at half precision, in single: there it scales weights and styles first, and with them the attention's scores"""

        float16, float32 = torch.float32, torch.float64

        def __getattr__(self, name):
            return getattr(torch, name)

    g = generator(half=2).double().train()
    g.mapping.float()
    for name, filter in g.named_buffers():
        if name.endswith("resample_filter"):
            filter.data = filter.float()
    networks.torch = half()
    file("half", g, lambda m: whole(m).float())
    networks.torch = torch
file("discriminator", discriminator(), lambda m: m(images("x", 8), none, T)["image_logits"])

# a step: its phases, each with the gradients that its optimiser would see
reported = {}


def note(name, v):
    reported[name] = v
    return v


loss.training_stats.report = note


def phases(which, gain, trained, names):
    g, d = generator().train(), discriminator().train()
    cfg = OmegaConf.create(dict(
        sampling=sampling, training=dict(apa=False),
        model=dict(loss_kwargs=dict(video_consistent_aug=True, r1_gamma=10.0, sim=0.0), discriminator=dict(softmask=False))))
    step = loss.StyleGAN2Loss(
        cfg, "cpu", G_mapping=g.mapping, G_synthesis=lambda ws, t, c: g.synthesis(ws, t=t, c=c, motion_z=motion_z), D=d,
        augment_pipe=lambda x: x, style_mixing_prob=0, r1_gamma=10.0, pl_weight=0)

    def run(m):
        for p in m.parameters():
            p.grad = None
        for p in (d if m is g else g).parameters():
            p.requires_grad_(False)
        step.accumulate_gradients(
            phase=which, real_img=images("x", 4).view(4, FRAMES, 3, SIZE, SIZE), real_c=none[:4], real_t=T[4:], gen_z=z, gen_c=none[:4],
            gen_t=T[:4], sync=True, gain=gain)
        return torch.stack([reported[k].mean() for k in names])

    golden(f"{model}-{which.lower()}", g if trained == "g" else d, run, fill=unit, backward=False)


loss.misc.ddp_sync = lambda *a: __import__("contextlib").nullcontext()
phases("Gmain", 1, "g", ["Loss/G/loss"])
phases("Dmain", 1, "d", ["Loss/D/loss"])  # fake and real in one mean
phases("Dreg", 16, "d", ["Loss/D/reg"])

if not mostgan:  # the same file in both
    pipe = augment.AugmentPipe(**dict.fromkeys(
        ["xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac", "brightness", "contrast", "lumaflip", "hue", "saturation"], 1))
    for name, draw in (("low", 0.3), ("high", 0.8)):
        x = images("x", 2).view(2, FRAMES * 3, SIZE, SIZE)
        golden(f"gan-augment-{name}", pipe, lambda m: ours(m(x, debug_percentile=draw).view(-1, 3, SIZE, SIZE)), gradients=False)
