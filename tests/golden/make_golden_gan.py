#!/usr/bin/env python3
"""Writes styleganv.safetensors, which test_gan.c reads: losses and gradients of the three parts of a training step as StyleGAN-V's own
code computes them in f32 on the processor (its reference paths of upfirdn2d and bias_act), and a drawn clip. Weights and inputs are
those of a formula that the C test repeats; of a gradient there are three numbers, as in formula_torch.py.
    git clone https://github.com/universome/stylegan-v
    venv/bin/pip install torch safetensors numpy scipy omegaconf && venv/bin/python tests/golden/make_golden_gan.py stylegan-v
"""
import os
import sys

import torch
import torch.nn.functional as F
from formula_torch import value
from omegaconf import OmegaConf
from safetensors.torch import save_file

checkout = sys.argv[1]
sys.path[:0] = [checkout, os.path.join(checkout, "src")]
from src.training import networks

SIZE, WIDTH, BUDGET, MOST, B = 32, 16, 256, 32, 8


def sampling(longest):
    return OmegaConf.create({"type": "random", "max_dist": 32, "num_frames_per_video": 3, "max_num_frames": longest})


cfg = OmegaConf.create({"sampling": sampling(33), "model": OmegaConf.load(os.path.join(checkout, "configs/model/stylegan-v.yaml"))})
OmegaConf.resolve(cfg)
g, d = cfg.model.generator, cfg.model.discriminator
g.sampling, d.sampling = sampling(33), sampling(1024)
g.c_dim = 0
g.w_dim = g.z_dim = g.motion.z_dim = g.motion.v_dim = WIDTH
g.time_enc.dim = WIDTH // 2
width = dict(channel_base=BUDGET, channel_max=MOST, num_fp16_res=0, conv_clamp=256)
G = networks.Generator(c_dim=0, w_dim=WIDTH, img_resolution=SIZE, img_channels=3, mapping_kwargs=dict(num_layers=2, cfg=g), synthesis_kwargs=width, cfg=g)
D = networks.Discriminator(c_dim=0, img_resolution=SIZE, img_channels=3, mapping_kwargs=dict(num_layers=2), epilogue_kwargs=dict(mbstd_group_size=4), cfg=d, **width)
for network in (G, D):
    for name, p in network.train().named_parameters():
        slow = 100 if "mapping.fc" in name or "motion_encoder.conv." in name else 1
        v = value(name, p.numel()).view(p.shape)
        p.data.copy_(slow * (1.7 * v if p.dim() >= 2 else 0.2 * v) + (1 if name.endswith("affine.bias") else 0))

b = torch.arange(B).float()
fake_t = torch.stack([1.25 * b, 1.25 * b + 1 + b % 3, 1.25 * b + 8], 1)
real_t = torch.stack([b, b + 1 + b % 2, b + 4], 1)
z, motion = value("z", B * WIDTH).view(B, WIDTH), value("motion", B * 24 * WIDTH).view(B, 24, WIDTH)
real = value("real", B * 3 * SIZE * SIZE * 3).view(B * 3, SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()
none = torch.zeros(B, 0)
out = {}


def draw():
    return G.synthesis(G.mapping(z, none), t=fake_t, c=none, motion_z=motion)


def keep(part, network, loss):
    out["loss." + part] = loss.detach().reshape(1)
    for name, p in network.named_parameters():
        grad = (torch.zeros_like(p) if p.grad is None else p.grad).flatten().double()
        out[f"grad.{part}.{name}"] = torch.stack([(grad * value("a", grad.numel())).sum(), (grad * value("b", grad.numel())).sum(), grad.norm()]).float()
        p.grad = None
    print(part, loss.item())


image = draw()
out["image"] = image.detach().view(B, 3, 3, SIZE, SIZE).permute(0, 1, 3, 4, 2)[:2].contiguous()
out["w_avg"] = G.mapping.w_avg.clone()
loss = F.softplus(-D(image, none, fake_t)["image_logits"]).mean()
loss.backward()
keep("g", G, loss)
D.zero_grad(set_to_none=True)
loss = F.softplus(D(image.detach(), none, fake_t)["image_logits"]).mean() + F.softplus(-D(real, none, real_t)["image_logits"]).mean()
loss.backward()
keep("d", D, loss)
real.requires_grad_()
slope = torch.autograd.grad(D(real, none, real_t)["image_logits"].sum(), real, create_graph=True)[0]
loss = slope.square().sum([1, 2, 3]).view(-1, 3).mean(1).mean()
(loss * (0.3 / 2 * 16)).backward()
keep("r1", D, loss)
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "styleganv.safetensors"))
