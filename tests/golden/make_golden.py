#!/usr/bin/env python3
"""Writes the golden files of test_models.c with PyTorch: outputs and gradients of the twins in twins.py.

Weights and inputs come from a formula (value below) that the C test repeats, so the files stay small: the output, and for each
parameter three numbers of its gradient: projections on two fixed pseudo-random vectors, and its norm.
    python3 -m venv venv && venv/bin/pip install torch safetensors numpy && venv/bin/python tests/golden/make_golden.py
"""
import os
import zlib

import numpy as np
import torch
from safetensors.torch import save_file

from twins import VAE, MedSora, X3D


def value(name, count):
    """uniform in [-1, 1), from the index and the CRC-32 of the name"""
    i = np.arange(count, dtype=np.uint32)
    h = i * np.uint32(2654435761) + np.uint32(zlib.crc32(name.encode()))
    h ^= h >> np.uint32(15)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    return torch.from_numpy((h >> np.uint32(8)).astype(np.float32) / np.float32(8388608.0) - np.float32(1.0))


def fill(model):
    for name, p in model.named_parameters():
        v = value(name, p.numel()).view(p.shape)
        if p.dim() >= 2:
            v = v * float(p.numel() // p.shape[0]) ** -0.5
        else:
            v = 0.2 * v + (1.0 if name.endswith(("weight", "A_log", "D")) else 0.0)
        p.data.copy_(v)


def golden(name, model, forward):
    fill(model)
    y = forward(model)
    (y * value("projection", y.numel()).view(y.shape)).sum().backward()
    out = {"output": y.detach().contiguous()}
    for k, p in model.named_parameters():
        g = p.grad.flatten().double()
        out["grad." + k] = torch.stack([(g * value("a", g.numel())).sum(), (g * value("b", g.numel())).sum(), g.norm()]).float()
    save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".safetensors"))
    print(name, tuple(y.shape), float(y.detach().abs().mean()))


torch.manual_seed(0)
clip = value("x", 2 * 8 * 32 * 32 * 3).view(2, 8, 32, 32, 3)
golden("x3d-tiny", X3D("x3d-tiny", 3).train(), lambda m: m(clip.permute(0, 4, 1, 2, 3)))
golden("medsora-tiny", MedSora(), lambda m: m(value("z", 2 * 4 * 8 * 8 * 16).view(2, 4, 8, 8, 16), torch.tensor([17.0, 900.0])))
golden("vae-tiny", VAE(), lambda m: m.decode(m.encode(clip)[..., :16]))
