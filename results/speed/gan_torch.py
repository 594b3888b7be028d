#!/usr/bin/env python3
"""A whole training step of a GAN, generator, discriminator and a 16th of the gradient penalty, against the public code in today's PyTorch
at the same widths (its reference paths of upfirdn2d and bias_act), on one thread, in turns: eager, eager with channels last (its `view` of
a tensor made a `reshape`, or it stops), and torch.compile (the penalty, which is differentiated twice, eager); fused Adam, f32 and bf16
autocast (-O: the code asserts f32). The best of them counts.

    git clone https://github.com/universome/stylegan-v; git clone https://github.com/xiaoqian-shen/MoStGAN-V
    taskset -c 1 venv/bin/python -O results/speed/gan_torch.py build/release/forty stylegan-v styleganv-tiny 8 TURNS [--eager]
    taskset -c 1 venv/bin/python -O results/speed/gan_torch.py build/release/forty MoStGAN-V mostganv-tiny 8 TURNS [--eager]"""
import json
import os
import statistics
import subprocess
import sys
import time
import types

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

program, checkout, preset, batch = *sys.argv[1:4], int(sys.argv[4])
turns = int(sys.argv[5])
torch.set_num_threads(1)
sys.path[:0] = [checkout, os.path.join(checkout, "src")]
for name in ("distutils", "distutils.util", "pkg_resources", "cv2", "src.training.training_loop", "src.training.diff_augment"):
    sys.modules.setdefault(name, types.ModuleType(name))  # of their training, which nothing here touches
sys.modules["distutils.util"].strtobool = bool
sys.modules["pkg_resources"].parse_version = lambda v: tuple(int(x) for x in v.split("+")[0].split(".")[:2])
from src.training import networks

SIZE, WIDTH, BUDGET, EVERY = 64, 64, 1024, 16  # the tiny presets, gan.r1_every
VARIANTS = {"eager": (False, False), "eager, channels last": (False, True), "compiled": (True, False)}
if "--eager" in sys.argv:
    del VARIANTS["compiled"]
view = torch.Tensor.view
most = hasattr(networks, "tensor_modulation_word")


def sampling(longest):
    return OmegaConf.create({"type": "random", "max_dist": 32, "num_frames_per_video": 3, "max_num_frames": longest})


def opponent(bf16, compiled, last):
    """Functions that do a generator's, a discriminator's and a penalty's step."""
    model = OmegaConf.load(os.path.join(checkout, "configs/model", "mostgan.yaml" if most else "stylegan-v.yaml"))
    cfg = OmegaConf.create({"sampling": sampling(16), "dataset": {"motion_z_distance": 16}, "model": model})
    OmegaConf.resolve(cfg)
    g, d = cfg.model.generator, cfg.model.discriminator
    g.sampling, d.sampling, g.c_dim = sampling(16), sampling(1024), 0
    g.w_dim = g.z_dim = g.motion.z_dim = g.motion.v_dim = WIDTH
    g.time_enc.dim, g.motion_dim, d.motion_dim = WIDTH // 2, 32, 32
    width = dict(channel_base=BUDGET, channel_max=WIDTH, num_fp16_res=0, conv_clamp=256)
    G = networks.Generator(c_dim=0, w_dim=WIDTH, img_resolution=SIZE, img_channels=3, mapping_kwargs=dict(num_layers=2, cfg=g), synthesis_kwargs=width, cfg=g)
    D = networks.Discriminator(c_dim=0, img_resolution=SIZE, img_channels=3, mapping_kwargs=dict(num_layers=2), epilogue_kwargs=dict(mbstd_group_size=4), cfg=d, **width)
    for network in (G, D):
        network.train().to(memory_format=torch.channels_last if last else torch.contiguous_format)
    optimiser = [torch.optim.Adam(m.parameters(), lr=0.002, betas=(0.0, 0.99), fused=True) for m in (G, D)]
    synthesis, judge = (torch.compile(G.synthesis), torch.compile(D)) if compiled else (G.synthesis, D)
    t = torch.tensor([[0.0, 1.0, 2.0]]).repeat(batch, 1)
    none = torch.zeros(batch, 0)
    real = torch.rand(batch * 3, 3, SIZE, SIZE).mul(2).sub(1)
    real = real.to(memory_format=torch.channels_last) if last else real
    cast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=bf16)

    def draw():
        image = synthesis(G.mapping(torch.randn(batch, WIDTH), none), t=t, c=none)
        return image[0] if most else image

    def turn_on(which):
        G.requires_grad_(which == 0), D.requires_grad_(which == 1)
        optimiser[which].zero_grad(set_to_none=True)

    def generator():
        turn_on(0)
        with cast():
            loss = F.softplus(-judge(draw(), none, t)["image_logits"].float()).mean()
        loss.backward()
        optimiser[0].step()

    def discriminator():
        turn_on(1)
        with cast():
            with torch.no_grad():
                fake = draw()
            loss = F.softplus(judge(fake, none, t)["image_logits"].float()).mean() + F.softplus(-judge(real, none, t)["image_logits"].float()).mean()
        loss.backward()
        optimiser[1].step()

    def penalty():
        turn_on(1)
        x = real.clone().requires_grad_()
        with cast():
            slope = torch.autograd.grad(D(x, none, t)["image_logits"].float().sum(), x, create_graph=True)[0]
            loss = slope.square().sum([1, 2, 3]).mean()
        loss.mul(5.0).backward()
        optimiser[1].step()

    return generator, discriminator, penalty


def ms(f, runs):
    at = time.perf_counter()
    for _ in range(runs):
        f()
    return 1000 * (time.perf_counter() - at) / runs


def step_of(parts, last, runs=3):
    torch.Tensor.view = torch.Tensor.reshape if last else view
    each = [ms(f, runs) for f in parts]
    torch.Tensor.view = view
    return each[0] + each[1] + each[2] / EVERY


def forty(precision):
    a = [program, "bench", "train-step", "--model", preset, "--batch", str(batch), "--size", str(SIZE), "--threads", "1", "--precision", precision, "--runs", "3", "--json", "--set", "gan.loss=logistic"]
    return json.loads(subprocess.run(a, capture_output=True, text=True, check=True).stdout)["ms"]["median"]


print("| model, batch | precision | forty ms | " + " | ".join(f"PyTorch {v} ms" for v in VARIANTS) + " | ratio to the best |")
print("| --- | --- | --- |" + " --- |" * (len(VARIANTS) + 1), flush=True)
for precision in ("f32", "bf16"):
    rivals = {}
    for name, (compiled, last) in VARIANTS.items():
        try:
            parts = opponent(precision == "bf16", compiled, last)
            step_of(parts, last, 2)  # warm, and compiled
            rivals[name] = parts
        except Exception as e:
            torch.Tensor.view = view
            print(f"{precision}, {name}: {type(e).__name__}: {str(e)[:200]}", file=sys.stderr)
    times = {k: [] for k in ("forty", *VARIANTS)}
    for _ in range(turns):
        times["forty"].append(forty(precision))
        for k, parts in rivals.items():
            times[k].append(step_of(parts, VARIANTS[k][1]))
    m = {k: statistics.median(v) if v else float("inf") for k, v in times.items()}
    best = min(m[k] for k in VARIANTS)
    print(f"| {preset}, {batch} | {precision} | {m['forty']:.1f} | " + " | ".join(f"{m[k]:.1f}" for k in VARIANTS) + f" | **{best / m['forty']:.2f}** |", flush=True)
