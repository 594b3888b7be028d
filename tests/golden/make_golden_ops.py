#!/usr/bin/env python3
"""Writes ops.safetensors: every case of test_ops.c computed by PyTorch in double precision, output and gradients.

Cases and inputs come from the C test itself, so shapes are written down once. Of each tensor three numbers are kept: projections
on two fixed pseudo-random directions, and its norm. A random op (dropout), or one with golden values of its own, has no twin: a single 0 stands for it.
    build/release/tests/test_ops --dump DIR && venv/bin/python tests/golden/make_golden_ops.py DIR
"""
import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

NCDHW, NDHWC = (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)


def direction(which, n):
    h = np.arange(n, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(which * 40503)
    h ^= h >> np.uint32(15)
    h *= np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    return (h >> np.uint32(8)).astype(np.float64) / 8388608.0 - 1.0


def act(kind, x):
    return [lambda v: v, F.relu, F.silu, F.gelu, lambda v: F.gelu(v, approximate="tanh"), torch.sigmoid][kind](x)


def unary(x, k):
    return [F.relu, F.silu, torch.sigmoid, torch.exp, torch.square, lambda v: v.clamp(-0.5, 0.75), torch.tanh, torch.abs,
            lambda v: F.leaky_relu(v, 0.25), F.gelu, lambda v: F.gelu(v, approximate="tanh"), F.softplus, torch.log, torch.sqrt,
            torch.rsqrt, torch.reciprocal, torch.sin, torch.cos, lambda v: (v >= 0).to(v.dtype) + 0 * v][k](x)


def pad3(p):  # front and back of T, H, W for F.pad
    return (p[5], p[8], p[4], p[7], p[3], p[6])


def conv(i, p, groups=None):
    x, w = i[0].permute(NCDHW), i[1]
    y = F.conv3d(F.pad(x, pad3(p)), w, i[2] if len(i) > 2 else None, tuple(p[:3]), groups=groups or p[9] or 1)
    return act(p[10], y).permute(NDHWC)


def conv_transpose(i, p):
    y = F.conv_transpose3d(i[0].permute(NCDHW), i[1], i[2] if len(i) > 2 else None, tuple(p[:3]))
    cut = [slice(None), slice(None)] + [slice(p[3 + k], y.shape[2 + k] - p[6 + k]) for k in range(3)]
    return y[tuple(cut)].permute(NDHWC)


def conv_modulated(i, p):
    x, w, s = i
    out = []
    for b in range(x.shape[0]):
        k = w * s[b].view(1, -1, 1, 1, 1)
        k = k * torch.rsqrt(k.square().sum((1, 2, 3, 4), keepdim=True) + float(np.float32(1e-8)))
        out.append(F.conv3d(x[b : b + 1].permute(NCDHW), k, padding=(0, 1, 1)))
    return torch.cat(out).permute(NDHWC)


def resize(x, p):
    t = x.permute(0, 2, 1)
    if p[1] == 3:  # cubic, with the scale kept (DINO's positions)
        return F.interpolate(t[..., None].expand(-1, -1, -1, 4), scale_factor=(p[2] / 1000, 1), mode="bicubic", recompute_scale_factor=False)[..., 0].permute(0, 2, 1)
    if p[1] == 4:  # TensorFlow 1: grid_sample's pixels -1 and 1 are the centres of the first and last
        at = torch.arange(p[0], dtype=t.dtype) * t.shape[2] / p[0]
        grid = torch.stack([torch.zeros_like(at), 2 * at / (t.shape[2] - 1) - 1], -1).expand(t.shape[0], 1, -1, 2)
        return F.grid_sample(t[..., None].expand(-1, -1, -1, 2), grid, padding_mode="border", align_corners=True)[:, :, 0].permute(0, 2, 1)
    if p[1] > 4:
        wide = t[..., None].expand(-1, -1, -1, 4)
        return F.interpolate(wide, size=(p[0], 4), mode=("bilinear", "bicubic")[p[1] - 5], antialias=True)[..., 0].permute(0, 2, 1)
    kw = dict(mode="nearest") if p[1] == 0 else dict(mode="linear", align_corners=p[1] == 2)
    return F.interpolate(t, size=p[0], **kw).permute(0, 2, 1)


def pool(x, p):
    t, k, s, pad = x.permute(NCDHW), tuple(p[:3]), tuple(p[3:6]), tuple(p[6:9])
    if p[9] == 0:
        y = F.max_pool3d(t, k, s, pad)
    else:
        y = F.avg_pool3d(t, k, s, pad, count_include_pad=False)
        y = y * (k[0] * k[1] * k[2]) if p[9] == 2 else y
    return y.permute(NDHWC)


def layernorm(i, p):
    n = i[0].shape[-1]
    y = F.layer_norm(i[0], (n,), *(i[1:3] if p[0] else (None, None)), float(np.float32(1e-5)))
    if p[1]:
        one = (slice(None),) + (None,) * (i[0].dim() - 2)
        y = y * (1 + i[-1][one]) + i[-2][one]
    return y


def groupnorm(i, p):
    x = i[0].permute(NCDHW)
    y = F.group_norm(x, p[0], *(i[1:3] if len(i) > 1 else (None, None)), float(np.float32(1e-6)))
    if len(i) > 3:
        maps = []
        for m in (i[3].permute(NCDHW), i[4].permute(NCDHW)):
            if p[2]:  # the first frame apart, as CogVideoX resizes
                maps.append(torch.cat([F.interpolate(m[:, :, :1], size=(1,) + x.shape[3:]), F.interpolate(m[:, :, 1:], size=(x.shape[2] - 1,) + x.shape[3:])], 2))
            else:
                maps.append(F.interpolate(m, size=x.shape[2:]))
        y = y * maps[0] + maps[1]
    return act(p[1], y).permute(NDHWC)


def batchnorm(i, p):
    x, first = i[0].movedim(-1, 1), p[0] or i[0].shape[0]
    parts = [F.batch_norm(s, None, None, i[1], i[2], True, 0.1, float(np.float32(1e-5))) for s in (x[:first], x[first:]) if len(s)]
    return act(p[1], torch.cat(parts)).movedim(1, -1)


def heads(x, h):
    return x.unflatten(-1, (h, -1)).transpose(1, 2)


def sdpa(i, p):
    q, k, v = i[0].chunk(3, -1) if p[2] else i[:3]
    rel = i[1:] if p[2] else i[3:]
    q, k, v = heads(q, p[0]), heads(k, p[0]), heads(v, p[0])
    if not p[3]:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=bool(p[1]))
        return y.transpose(1, 2).flatten(2)
    T, R = q.shape[2], (rel[0].shape[0] - 1) // 2
    at = (torch.arange(T)[None] - torch.arange(T)[:, None]).clamp(-R, R) + R
    term = torch.einsum("bhid,ijd->bhij", q, rel[0][at])
    logits = (q @ k.transpose(-1, -2) + (term.transpose(-1, -2) if p[4] else term)) * q.shape[-1] ** -0.5
    if p[1]:
        logits = logits.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -torch.inf)
    a = torch.softmax(logits, -1)
    y = a @ v
    if p[3] > 1:
        y = y + torch.einsum("bhij,ijd->bhid", a, rel[1][at])
    return y.transpose(1, 2).flatten(2)


def channel(i, p):
    q, k, v = (heads(t, p[0]).transpose(-1, -2) for t in i[0].chunk(3, -1))  # (S, h, c, T)
    a = torch.softmax(F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2) * i[1].view(1, -1, 1, 1), -1)
    return (a @ v).transpose(-1, -2).transpose(1, 2).flatten(2)


def attention_local(i, p):
    q, k, v = i
    S, T, C = q.shape
    w = p[0]
    theta = 10000.0 ** (-torch.arange(0, C, 2, dtype=torch.float64) / C)

    def turn(x, pos):
        c, s = torch.cos(pos[:, None] * theta), torch.sin(pos[:, None] * theta)
        a, b = x.chunk(2, -1)
        return torch.cat([a * c - b * s, b * c + a * s], -1)

    out = []
    for n in range(T // w):
        lo, hi = max(0, w * (n - 1)), min(T, w * (n + 2))
        qi, kj = torch.arange(n * w, n * w + w), torch.arange(lo, hi)
        a = turn(q[:, qi], 2 * w + torch.arange(w, dtype=torch.float64)) @ turn(k[:, kj], (kj - w * (n - 1)).double()).transpose(1, 2)
        a = (a * C**-0.5).masked_fill((qi[:, None] - kj[None]).abs() > w, -torch.inf)
        out.append(torch.softmax(a, -1) @ v[:, kj])
    return torch.cat(out, 1)


def ssd(i, p):
    H, N = p[0], p[1]
    E = i[0].shape[-1] - 2 * N
    x, B, C = i[0].split([E, N, N], -1)
    x = x.unflatten(-1, (H, E // H))
    dt = F.softplus(i[1] + i[2])
    A = -torch.exp(i[3])
    S, T = x.shape[:2]
    s = i[5].clone() if len(i) > 5 else torch.zeros(S, H, N, E // H, dtype=torch.float64)
    ys = []
    for t in range(T):
        s = s * torch.exp(dt[:, t] * A)[..., None, None] + torch.einsum("sh,sn,shp->shnp", dt[:, t], B[:, t], x[:, t])
        ys.append(torch.einsum("sn,shnp->shp", C[:, t], s) + i[4][:, None] * x[:, t])
    y = torch.stack(ys, 1).flatten(2)
    return torch.cat([y.flatten(), s.flatten()]) if p[2] else y


def wkv(i, p):
    k, v, w, u = i
    shape = k.shape
    if k.dim() == 4:  # (B, T, L, C) -> (B L, T, C)
        k, v = (t.transpose(1, 2).reshape(-1, shape[1], shape[3]) for t in (k, v))
    T = k.shape[1]
    order = torch.arange(T).view(-1, p[0]).t().flatten() if p[0] else torch.arange(T)
    k, v = k[:, order], v[:, order]
    d = (torch.arange(T)[:, None] - torch.arange(T)[None]).abs()
    bias = torch.where((d == 0)[..., None], u.expand(T, T, -1), -(d - 1)[..., None] * w)
    y = (torch.softmax(bias[None] + k[:, None], 2) * v[:, None]).sum(2)
    y = y[:, torch.argsort(order)]
    return y.view(shape[0], shape[2], T, shape[3]).transpose(1, 2) if len(shape) == 4 else y


def warp(i, p):
    y, x = torch.meshgrid(torch.arange(p[0]).double(), torch.arange(p[1]).double(), indexing="ij")
    m = i[1].detach()[:, :, None, None]
    return grid_sample([i[0], torch.stack([m[:, k] * x + m[:, k + 1] * y + m[:, k + 2] for k in (0, 3)], -1)], p)


def grid_sample(i, p):
    H, W = i[0].shape[1:3]
    g = torch.stack([2 * i[1][..., 0] / (W - 1) - 1, 2 * i[1][..., 1] / (H - 1) - 1], -1)
    return F.grid_sample(i[0].permute(0, 3, 1, 2), g, align_corners=True).permute(0, 2, 3, 1)


def corr_lookup(i, p):
    B, h, w, _ = i[0].shape
    r = torch.arange(-p[0], p[0] + 1, dtype=torch.float64)
    out = []
    for l in (0, 1):
        v = i[1 + l].reshape(B * h * w, *i[1 + l].shape[2:], 1)
        c = i[0].reshape(-1, 1, 1, 2) / 2**l
        at = torch.stack(torch.broadcast_tensors(c[..., 0] + r[:, None], c[..., 1] + r[None]), -1)  # x offset major
        out.append(grid_sample([v, at], p).reshape(B, h, w, -1))
    return torch.cat(out, -1)


def loss(i, p):
    x, t, w = i[0], i[1], 1.0 if len(i) < 3 else i[2].view(-1, *(1,) * (i[0].dim() - 1))
    e = [lambda: F.mse_loss(x, t, reduction="none"), lambda: F.l1_loss(x, t, reduction="none"),
         lambda: F.huber_loss(x, t, reduction="none", delta=0.75), lambda: F.binary_cross_entropy_with_logits(x, t, reduction="none"),
         lambda: F.relu(1 - t * x)][p[0]]()
    return (w * e).mean()


def vlb(i, p):
    nu, eps, x0, xt = i
    k = torch.tensor(np.float32([[1.00005, 0.0100005, 1, 0, -9.21034, -9.816725] if p[0] else [3.585, 3.443, 0.0067, 0.9922, -4.59, -4.60]] * 3))
    for b in range(3):
        k[b, 3] *= 1 - np.float32(0.01) * b
    k = k.double()[:, :, None, None]
    mean = k[:, 2] * (k[:, 0] * xt - k[:, 1] * eps) + k[:, 3] * xt
    f = (nu + 1) / 2
    lp = f * k[:, 4] + (1 - f) * k[:, 5]
    if not p[0]:
        q = k[:, 2] * x0 + k[:, 3] * xt
        y = 0.5 * (-1 + lp - k[:, 5] + torch.exp(k[:, 5] - lp) + (q - mean) ** 2 * torch.exp(-lp))
    else:
        cdf = lambda v: 0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (v + 0.044715 * v**3)))
        s = torch.exp(-0.5 * lp)
        hi, lo = cdf(s * (x0 - mean + 1 / 255)), cdf(s * (x0 - mean - 1 / 255))
        prob = torch.where(x0 < -0.999, hi, torch.where(x0 > 0.999, 1 - lo, hi - lo))
        y = -torch.log(prob.clamp(min=1e-12))
    return y.mean() / np.log(2)


def rank(i, p):  # of a stable sort, largest first
    return i[0].argsort(dim=-1, descending=True, stable=True).argsort(dim=-1).to(i[0].dtype) + 0 * i[0]


def pearson(i, p):
    a, b = (t - t.mean(-1, keepdim=True) for t in i)
    return F.cosine_similarity(a, b, -1, eps=0)


def focal(i, p):
    d = torch.fft.fft2((i[0] - i[1]).permute(0, 1, 4, 2, 3), norm="ortho").abs()
    m = d.detach() ** p[0]
    return (m / m.amax((-1, -2), keepdim=True) * d**2).mean()


def slices(i, p):
    s = 4 if p[0] else 2
    return torch.cat([3 * i[0][s : s + 3], i[0][:4]])


def q_xent(i, p):
    t = torch.tensor([-1 if b == 4 else b % i[0].shape[1] for b in range(len(i[0]))])
    return F.cross_entropy(i[0], t, ignore_index=-1, reduction="sum") / len(i[0])


def reduce(i, p):
    axes = [a for a in range(i[0].dim()) if p[0] >> a & 1]
    return i[0].mean(axes) if p[1] else i[0].sum(axes)


NAMES = "relu silu sigmoid exp square clamp tanh abs leaky_relu gelu gelu_tanh softplus log sqrt rsqrt reciprocal sin cos step".split()
TWINS = {  # the longest name that the case begins with decides
    "permute": lambda i, p: i[0].permute(p[:4]),
    "concat_first_axis": lambda i, p: torch.cat([2 * i[0], -i[1], i[0] + 1]),
    "concat": lambda i, p: torch.cat(i[:2], p[0]),
    "slice": lambda i, p: i[0][:, p[0] : p[0] + p[1]],
    "slices_": slices,
    "slices_many": lambda i, p: i[0] * (torch.arange(33) // 3 + 1),
    "select": lambda i, p: i[0].select(1, p[0]),
    "gather_rows": lambda i, p: i[0][..., [3, 0, 4, 1, 2], :],
    "pad_front_replicate": lambda i, p: F.pad(i[0].transpose(1, 2), (p[0], 0), mode="replicate").transpose(1, 2),
    "pad_": lambda i, p: F.pad(i[0], (0, 0, p[0], p[2])),
    "roll": lambda i, p: i[0].roll(p[0], 1),
    "flip": lambda i, p: i[0].flip(1),
    "resize": lambda i, p: resize(i[0], p),
    "upsample": lambda i, p: F.interpolate(i[0].permute(NCDHW), scale_factor=tuple(map(float, p[:3]))).permute(NDHWC),
    "pool": lambda i, p: pool(i[0], p),
    "add": lambda i, p: i[0] + i[1],
    "sub": lambda i, p: i[0] - i[1],
    "mul": lambda i, p: i[0] * i[1],
    "div": lambda i, p: i[0] / i[1],
    "affine": lambda i, p: -1.5 * i[0] + 0.25,
    "geglu": lambda i, p: glu(i[0], p),
    "swiglu": lambda i, p: glu(i[0], p),
    "glu": lambda i, p: glu(i[0], p),
    "reduce": reduce,
    "broadcast": lambda i, p: 0.5 * i[0].expand(tuple(p[: i[0].dim()])),
    "softmax": lambda i, p: torch.softmax(i[0], -1),
    "l2_normalize": lambda i, p: i[0] / i[0].norm(dim=-1, keepdim=True).clamp(min=p[0]),
    "dropout": None,
    "drop_path": None,
    "residual": None,
    "residual_odd": None,
    "q_sample": None,
    "randn": None,
    "uniform": None,
    "combine": None,
    "timestep_embed": lambda i, p: (lambda a: torch.cat([a.cos(), a.sin()], 1))(i[0][:, None] * 10000.0 ** (-torch.arange(p[0] // 2) / (p[0] // 2))),
    "pseudo_label": lambda i, p: (lambda s: torch.cat([F.one_hot(s.argmax(-1), s.shape[-1]).double(), (s.max(-1, keepdim=True).values >= p[0] / 100).double()], 1))(torch.softmax(i[0], -1)),
    "matmul": lambda i, p: (i[0].transpose(1, 2) if p[0] else i[0]) @ (i[1].transpose(1, 2) if p[1] else i[1]),
    "linear": lambda i, p: act(p[0], F.linear(*i)),
    "conv": conv,
    "conv_transpose": conv_transpose,
    "conv_modulated": conv_modulated,
    "dw_": lambda i, p: conv(i, p, i[1].shape[0]),
    "causal_": lambda i, p: act(p[0], F.conv1d(F.pad(i[0].transpose(1, 2), (i[1].shape[2] - 1, 0)), i[1], i[2] if len(i) > 2 else None, groups=i[1].shape[0]).transpose(1, 2)),
    "layernorm": layernorm,
    "rmsnorm_gated": lambda i, p: rms(i[0] * F.silu(i[1]), i[2]),
    "rmsnorm": lambda i, p: rms(*i),
    "gate_residual": lambda i, p: i[0] + i[2][:, None] * i[1],
    "groupnorm": groupnorm,
    "instance_norm": groupnorm,
    "spatial_norm": groupnorm,
    "batchnorm": batchnorm,
    "sdpa": sdpa,
    "attention_local": attention_local,
    "attention_local_dropout": None,
    "attention_channel": channel,
    "ssd": ssd,
    "wkv": wkv,
    "grid_sample": grid_sample,
    "corr_lookup": corr_lookup,
    "warp": warp,
    "leaky_relu_within": lambda i, p: F.leaky_relu(i[0], 0.25).clamp(-0.13134765625, 0.13134765625),
    "augment": None,  # against Pillow: make_golden_augment.py
    "mse": loss, "l1": loss, "huber": loss, "bce": loss, "hinge": loss,
    "softmax_xent": lambda i, p: (-(i[1] * F.log_softmax(i[0], -1)).sum(-1) * (i[2] if len(i) > 2 else 1)).mean(),
    "xent_classes": q_xent,
    "gauss_kl": lambda i, p: (lambda m, l: 0.5 * (m * m + l.exp() - 1 - l).sum() / len(m))(*i[0].chunk(2, -1)),
    "vlb": vlb,
    "rank": rank,
    "pearson": pearson,
    "focal_frequency": focal,
}
TWINS.update({n: (lambda k: lambda i, p: unary(i[0], k))(k) for k, n in enumerate(NAMES)})


def glu(x, p):
    a, b = x.chunk(2, -1)
    return act(p[0], b) * a if p[1] else act(p[0], a) * b


def rms(u, w=None):
    u = u * torch.rsqrt(u.square().mean(-1, keepdim=True) + float(np.float32(1e-5)))
    return u if w is None else u * w


if __name__ == "__main__":
    data = np.fromfile(os.path.join(sys.argv[1], "inputs.bin"))
    at, out = 0, {}
    for c in json.load(open(os.path.join(sys.argv[1], "cases.json"))):
        ins = []
        for shape in c["in"]:
            n = int(np.prod(shape))
            ins.append(torch.from_numpy(data[at : at + n].copy()).view(shape).requires_grad_())
            at += n
        w = torch.from_numpy(data[at : at + c["out"]].copy())
        at += c["out"]
        key = max((k for k in TWINS if c["name"].startswith(k)), key=len)
        if TWINS[key] is None:
            out[c["name"]] = np.zeros(1, np.float32)
            continue
        y = TWINS[key](ins, c["p"]).reshape(-1)
        assert y.numel() == c["out"], (c["name"], y.numel(), c["out"])
        if c["no_grad"]:
            (y * w).sum().backward()
        rows = []
        for t in [y.detach()] + [x.grad if k < c["no_grad"] else None for k, x in enumerate(ins)]:
            v = np.zeros(1) if t is None else t.flatten().numpy()
            rows.append([v @ direction(1, v.size), v @ direction(2, v.size), np.linalg.norm(v)])
        out[c["name"]] = np.float32(rows)
    save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "ops.safetensors"))
    print(len(out), "cases")
