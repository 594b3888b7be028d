#!/usr/bin/env python3
"""StyleGAN-V's public code, trained as published on clips of 64 pixels, at the widths of styleganv-tiny; drawn clips into a store.

    git clone https://github.com/universome/stylegan-v
    taskset -c 1 venv/bin/python results/generators/gan_public.py stylegan-v CLIPS.h5 OUT.h5 STEPS   (torch, h5py, omegaconf)

OUT.h5: a store of 160 clips or more in the same shape (`forty generate`), whose pixels are replaced. One thread; losses every 50 steps."""
import copy
import os
import sys
import types

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

checkout, clips, out, steps = *sys.argv[1:4], int(sys.argv[4])
S, B, W, LR, N = 64, 8, 64, 0.0025, 160
R1 = 0.0002 * S * S / B
torch.set_num_threads(1)
torch.manual_seed(0)
rng = np.random.default_rng(0)
sys.path[:0] = [checkout, os.path.join(checkout, "src")]
for name in ("distutils", "distutils.util", "pkg_resources", "cv2", "src.training.training_loop", "src.training.diff_augment"):
    sys.modules.setdefault(name, types.ModuleType(name))
sys.modules["distutils.util"].strtobool = bool
sys.modules["pkg_resources"].parse_version = lambda v: tuple(int(x) for x in v.split("+")[0].split(".")[:2])
from src.training import networks  # noqa: E402


def sampling(longest):
    return OmegaConf.create({"type": "random", "max_dist": 32, "num_frames_per_video": 3, "max_num_frames": longest})


cfg = OmegaConf.create({"sampling": sampling(16), "dataset": {"motion_z_distance": 16},
                        "model": OmegaConf.load(os.path.join(checkout, "configs/model/stylegan-v.yaml"))})
OmegaConf.resolve(cfg)
g, d = cfg.model.generator, cfg.model.discriminator
g.sampling, d.sampling = sampling(16), sampling(1024)
g.c_dim, g.use_noise, g.motion_dim, d.motion_dim, g.time_enc.dim = 0, False, 32, 32, W // 2
g.w_dim = g.z_dim = g.motion.z_dim = g.motion.v_dim = W
width = dict(channel_base=1024, channel_max=64, num_fp16_res=0, conv_clamp=256)
G = networks.Generator(c_dim=0, w_dim=W, img_resolution=S, img_channels=3, mapping_kwargs=dict(num_layers=2, cfg=g), synthesis_kwargs=width, cfg=g).train()
D = networks.Discriminator(c_dim=0, img_resolution=S, img_channels=3, mapping_kwargs=dict(num_layers=2), epilogue_kwargs=dict(mbstd_group_size=4), cfg=d, **width).train()
average = copy.deepcopy(G).eval()
adam = [torch.optim.Adam(m.parameters(), lr=LR * r, betas=(0.0, 0.99**r), eps=1e-8) for m, r in ((G, 4 / 5), (D, 16 / 17))]
with h5py.File(clips) as f:
    X = f["clips"][:]
n, T = X.shape[:2]
none = torch.zeros(B, 0)


def times(real):
    kinds = [k for k in (2, 4, 8, 16, 32) if k <= T - 1]
    rows = []
    for _ in range(B):
        far = kinds[rng.integers(len(kinds))]
        first = rng.integers(T - far) if real else rng.random() * (T - far - 1)
        rows.append([first, first + 1 + rng.integers(far - 1), first + far])
    return torch.tensor(np.array(rows, dtype=np.float32))


def draw(t):
    return G.synthesis(G.mapping(torch.randn(B, W), none), t=t, c=none)


def learn(which):
    for k, m in enumerate((G, D)):
        for p in m.parameters():
            p.requires_grad_(k == which)
    adam[which].zero_grad(set_to_none=True)


order, at = rng.permutation(n), 0
for step in range(steps):
    learn(0)
    t = times(False)
    loss = F.softplus(-D(draw(t), none, t)["image_logits"]).mean()
    loss.backward()
    adam[0].step()
    learn(1)
    t = times(False)
    with torch.no_grad():
        fake = draw(t)
    critic = F.softplus(D(fake, none, t)["image_logits"]).mean()
    if at + B > n:
        order, at = rng.permutation(n), 0
    index, t = order[at : at + B], times(True)
    at += B
    x = np.stack([X[i][t[k].long().numpy()] for k, i in enumerate(index)])
    flip = rng.random(B) < 0.5
    x[flip] = x[flip][:, :, :, ::-1]
    real = torch.from_numpy(x).float().div(127.5).sub(1).permute(0, 1, 4, 2, 3).reshape(B * 3, 3, S, S)
    said = D(real, none, t)["image_logits"]
    critic = critic + F.softplus(-said).mean()
    critic.backward()
    adam[1].step()
    if step % 16 == 0:
        adam[1].zero_grad(set_to_none=True)
        real.requires_grad_()
        slope = torch.autograd.grad(D(real, none, t)["image_logits"].sum(), real, create_graph=True)[0]
        (slope.square().sum([1, 2, 3]).mean() * (R1 / 2 * 16)).backward()
        adam[1].step()
    half = min(312.5, 0.15 * step)
    with torch.no_grad():
        for a, b in zip(average.parameters(), G.parameters()):
            a.copy_(b.lerp(a, 0.5 ** (1 / half) if half > 0 else 0))
        for a, b in zip(average.buffers(), G.buffers()):
            a.copy_(b)
    if step % 50 == 0:
        print(f"{step}: generator {loss.item():.3f}, discriminator {critic.item():.3f}, sign of real {said.sign().mean().item():.2f}", flush=True)
with h5py.File(out, "r+") as f, torch.no_grad():
    for i in range(N):
        w = average.mapping(torch.randn(1, W), none[:1])
        y = average.synthesis(w, t=torch.arange(T).float()[None], c=none[:1])
        f["clips"][i] = (y.clamp(-1, 1) + 1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
