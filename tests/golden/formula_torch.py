"""Golden files of networks: weights and inputs come from a formula (value below) that the C test repeats, so the files stay small: the
output, and for each parameter three numbers of its gradient: projections on two fixed pseudo-random vectors, and its norm."""
import os
import zlib

import formula
import torch
from safetensors.torch import save_file


def value(name, count):
    """uniform in [-1, 1), from the index and the CRC-32 of the name"""
    return torch.from_numpy(formula.value(zlib.crc32(name.encode()), count))


def fill(model):
    for name, p in model.named_parameters():
        v = value(name, p.numel()).view(p.shape)
        if p.dim() >= 2:
            v = v * float(p.numel() // p.shape[0]) ** -0.5
        else:
            v = 0.2 * v + (1.0 if name.endswith(("weight", "A_log", "D")) else 0.0)
        p.data.copy_(v)


def golden(name, model, forward, gradients=True):
    fill(model)
    y = forward(model)
    out = {"output": y.detach().contiguous()}
    if gradients:
        (y * value("projection", y.numel()).view(y.shape)).sum().backward()
    for k, p in model.named_parameters():
        if p.grad is None:
            continue
        g = p.grad.flatten().double()
        out["grad." + k] = torch.stack([(g * value("a", g.numel())).sum(), (g * value("b", g.numel())).sum(), g.norm()]).float()
    save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".safetensors"))
    print(name, tuple(y.shape), float(y.detach().abs().mean()))
