#!/usr/bin/env python3
"""Writes styleganv.safetensors or mostganv.safetensors, which test_gan.c reads: losses and gradients of the three parts of a training
step as the models' own code computes them in f32 on the processor (its reference paths of upfirdn2d and bias_act), a drawn clip, and
augmented clips, which both make alike. Weights and inputs are those of a formula that the C test repeats; of a gradient there are three
numbers, as in formula_torch.py.
    git clone https://github.com/universome/stylegan-v
    git clone https://github.com/xiaoqian-shen/MoStGAN-V
    venv/bin/pip install torch safetensors numpy scipy omegaconf
    for c in stylegan-v MoStGAN-V; do venv/bin/python tests/golden/make_golden_gan.py $c; done
MoStGAN-V trains in half precision and then scales weights and styles before its attention. Here it does so in f32 ("g"); "paper" is the
same without, and with the modulated weights in the convolution, as its code has it when it does not train.
"""
import os
import sys
import types

import torch
import torch.nn.functional as F
from formula_torch import value
from omegaconf import OmegaConf
from safetensors.torch import save_file

checkout = sys.argv[1]
sys.path[:0] = [checkout, os.path.join(checkout, "src")]
for name in ("distutils", "distutils.util", "pkg_resources", "cv2", "src.training.training_loop", "src.training.diff_augment"):
    sys.modules.setdefault(name, types.ModuleType(name))  # of their training, which nothing here touches
sys.modules["distutils.util"].strtobool = bool
sys.modules["pkg_resources"].parse_version = lambda v: tuple(int(x) for x in v.split("+")[0].split(".")[:2])
from src.training import networks
from src.training.augment import AugmentPipe

most = hasattr(networks, "tensor_modulation_word")
SIZE, WIDTH, BUDGET, MOST, B, WORD = 32, 16, 256, 32, 8, 12


def sampling(longest):
    return OmegaConf.create({"type": "random", "max_dist": 32, "num_frames_per_video": 3, "max_num_frames": longest})


model = OmegaConf.load(os.path.join(checkout, "configs/model", "mostgan.yaml" if most else "stylegan-v.yaml"))
cfg = OmegaConf.create({"sampling": sampling(33), "dataset": {"motion_z_distance": 16}, "model": model})
OmegaConf.resolve(cfg)
g, d = cfg.model.generator, cfg.model.discriminator
g.sampling, d.sampling = sampling(33), sampling(1024)
g.w_dim = g.z_dim = g.motion.z_dim = g.motion.v_dim = WIDTH
g.time_enc.dim = WIDTH // 2
g.motion_dim = d.motion_dim = WORD
width = dict(channel_base=BUDGET, channel_max=MOST, num_fp16_res=0, conv_clamp=256)


def both(classes):
    g.c_dim = classes
    G = networks.Generator(c_dim=classes, w_dim=WIDTH, img_resolution=SIZE, img_channels=3, mapping_kwargs=dict(num_layers=2, cfg=g), synthesis_kwargs=width, cfg=g)
    D = networks.Discriminator(c_dim=classes, img_resolution=SIZE, img_channels=3, mapping_kwargs=dict(num_layers=2), epilogue_kwargs=dict(mbstd_group_size=4), cfg=d, **width)
    for network in (G, D):
        for name, p in network.train().named_parameters():
            slow = 100 if "mapping.fc" in name or "motion_encoder.conv." in name else 1
            v = value(name, p.numel()).view(p.shape)
            p.data.copy_(slow * (1.7 * v if p.dim() >= 2 else 0.2 * v) + (1 if name.endswith("affine.bias") else 0))
    return G, D


G, D = both(0)
b = torch.arange(B).float()
fake_t = torch.stack([1.25 * b, 1.25 * b + 1 + b % 3, 1.25 * b + 8], 1)
real_t = torch.stack([b, b + 1 + b % 2, b + 4], 1)
z, motion = value("z", B * WIDTH).view(B, WIDTH), value("motion", B * 24 * WIDTH).view(B, 24, WIDTH)
real = value("real", B * 3 * SIZE * SIZE * 3).view(B * 3, SIZE, SIZE, 3).permute(0, 3, 1, 2).contiguous()
label = torch.zeros(B, 0)
out = {}


class Half:
    """torch for networks.py: where it asks for half precision, it gets single, and what it does with that"""

    float16 = torch.float32

    def __getattr__(self, name):
        return getattr(torch, name)


def draw(half):
    networks.torch = Half() if half else torch
    image = G.synthesis(G.mapping(z, label), t=fake_t, c=label, motion_z=motion)
    networks.torch = torch
    return image[0] if most else image


def keep(part, network, loss):
    out["loss." + part] = loss.detach().reshape(1)
    for name, p in network.named_parameters():
        grad = (torch.zeros_like(p) if p.grad is None else p.grad).flatten().double()
        out[f"grad.{part}.{name}"] = torch.stack([(grad * value("a", grad.numel())).sum(), (grad * value("b", grad.numel())).sum(), grad.norm()]).float()
        p.grad = None
    print(part, loss.item())


def keep_image(name, image):
    out[name] = image.detach().view(B, 3, 3, SIZE, SIZE).permute(0, 1, 3, 4, 2)[:2].contiguous()
    loss = F.softplus(-D(image, label, fake_t)["image_logits"]).mean()
    loss.backward()
    keep({"image": "g"}.get(name, name), G, loss)


image = draw(half=most)
out["w_avg"] = G.mapping.w_avg.clone()
keep_image("image", image)
if most:
    G.eval()
    keep_image("paper", draw(half=False))
D.zero_grad(set_to_none=True)
loss = F.softplus(D(image.detach(), label, fake_t)["image_logits"]).mean() + F.softplus(-D(real, label, real_t)["image_logits"]).mean()
loss.backward()
keep("d", D, loss)
real.requires_grad_()
slope = torch.autograd.grad(D(real, label, real_t)["image_logits"].sum(), real, create_graph=True)[0]
loss = slope.square().sum([1, 2, 3]).view(-1, 3).mean(1).mean()
(loss * (0.3 / 2 * 16)).backward()
keep("r1", D, loss)
real.requires_grad_(False)
G, D = both(3)  # the same, told classes
# StyleGAN-V's first clip is of class 1, MoStGAN-V's of class 0: otherwise some activation lies within rounding of its kink, and a gradient
# has one value or another with the order of a sum
label = F.one_hot((torch.arange(B) + (not most)) % 3, 3).float()
image = draw(half=most)
loss = F.softplus(-D(image, label, fake_t)["image_logits"]).mean()
loss.backward()
keep("told_g", G, loss)
D.zero_grad(set_to_none=True)
loss = F.softplus(D(image.detach(), label, fake_t)["image_logits"]).mean() + F.softplus(-D(real, label, real_t)["image_logits"]).mean()
loss.backward()
keep("told_d", D, loss)
pipe = AugmentPipe(xflip=1, rotate90=1, xint=1, scale=1, rotate=1, aniso=1, xfrac=1, brightness=1, contrast=1, lumaflip=1, hue=1, saturation=1)
for percentile in () if most else (30, 80):  # of every number that it draws
    seen = pipe(real.detach()[:6].view(2, 9, SIZE, SIZE), debug_percentile=percentile / 100)
    out[f"augment.{percentile}"] = seen.view(2, 3, 3, SIZE, SIZE).permute(0, 1, 3, 4, 2).contiguous()
save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{'mostganv' if most else 'styleganv'}.safetensors"))
