#!/usr/bin/env python3
"""Every op of `forty bench op` against today's PyTorch at the same shapes: one command, two tables.

    venv/bin/python tests/bench_ops.py build/release/forty results/ops [NAME ...]       names: only these rows anew

Two threads each. An op is timed in turns: forty, PyTorch eager, forty, PyTorch compiled, forty; medians of each turn's runs, and the
median of forty's three turns. PyTorch gets its better layout (convolutions: channels last and not) and the better of eager and
compiled; attention by scaled_dot_product_attention, SSD and WKV in matrix form (SSD beyond 256 steps in chunks of 64). Forward and
backward together, f32 and bf16. `copy` is a plain memcpy in the same process, read and written bytes counted."""
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(2)
CL = torch.channels_last_3d


def rnd(*shape, dtype):
    return torch.rand(*shape, dtype=dtype).sub_(0.5).mul_(2).requires_grad_()


def weights(*shape, dtype):
    return (0.1 * torch.rand(*shape, dtype=dtype)).requires_grad_()


def conv(x, w, last, **kw):
    """x (B, C, T, H, W)"""
    m = torch.nn.Conv3d(x[1], w, kw.pop("kernel"), dtype=kw.pop("dtype"), **kw)
    m = m.to(memory_format=CL) if last else m
    i = torch.rand(*x, dtype=m.weight.dtype)
    i = (i.to(memory_format=CL) if last else i).requires_grad_()
    return lambda: m(i)


def convt(dtype, last):
    m = torch.nn.ConvTranspose3d(128, 64, 4, 2, 1, bias=False, dtype=dtype)
    i = torch.rand(1, 128, 4, 16, 16, dtype=dtype)
    if last:
        m, i = m.to(memory_format=CL), i.to(memory_format=CL)
    i.requires_grad_()
    return lambda: m(i)


def sdpa(s, t, h, d, dtype, causal=False, packed=False):
    if packed:
        x = rnd(s, t, 3 * h * d, dtype=dtype)

        def f():
            q, k, v = (y.unflatten(-1, (h, d)).transpose(1, 2) for y in x.chunk(3, -1))
            return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

        return f
    q, k, v = (rnd(s, t, h * d, dtype=dtype) for _ in range(3))

    def f():
        a, b, c = (y.unflatten(-1, (h, d)).transpose(1, 2) for y in (q, k, v))
        return F.scaled_dot_product_attention(a, b, c, is_causal=causal).transpose(1, 2).flatten(2)

    return f


def relative(dtype):
    q, k, v = (rnd(1024, 4, 256, dtype=dtype) for _ in range(3))
    rk, rv = weights(9, 64, dtype=dtype), weights(9, 64, dtype=dtype)
    at = (torch.arange(4)[None] - torch.arange(4)[:, None]).clamp(-4, 4) + 4

    def f():
        a, b, c = (y.unflatten(-1, (4, 64)).transpose(1, 2) for y in (q, k, v))
        p = torch.softmax((a @ b.transpose(-1, -2) + torch.einsum("bhid,ijd->bhij", a, rk[at])) / 8, -1)
        return (p @ c + torch.einsum("bhij,ijd->bhid", p, rv[at])).transpose(1, 2).flatten(2)

    return f


def local(dtype):
    q, k, v = (rnd(24, 64, 512, dtype=dtype) for _ in range(3))
    i = torch.arange(64)
    bias = torch.zeros(64, 64, dtype=dtype).masked_fill((i[:, None] - i[None]).abs() > 8, -torch.inf)
    theta = 10000.0 ** (-torch.arange(0, 512, 2) / 512)
    c, s = torch.cos(i[:, None] * theta).to(dtype), torch.sin(i[:, None] * theta).to(dtype)

    def turn(x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * c - b * s, b * c + a * s], -1)

    return lambda: F.scaled_dot_product_attention(turn(q)[:, None], turn(k)[:, None], v[:, None], attn_mask=bias)[:, 0]


def channel(dtype):
    x, t = rnd(24, 64, 1536, dtype=dtype), weights(8, 1, 1, dtype=dtype)

    def f():
        q, k, v = (y.unflatten(-1, (8, 64)).permute(0, 2, 3, 1) for y in x.chunk(3, -1))
        a = torch.softmax(F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2) * t, -1)
        return (a @ v).permute(0, 3, 1, 2).flatten(2)

    return f


def ssd(S, T, H, P, N, dtype):
    xbc, raw = rnd(S, T, H * P + 2 * N, dtype=dtype), rnd(S, T, H, dtype=dtype)
    bias, a_log, D = (weights(H, dtype=torch.float32) for _ in range(3))
    Q = T if T <= 256 else 64
    low = torch.tril(torch.ones(Q, Q, dtype=torch.bool))

    def f():
        x, B, C = xbc.split([H * P, N, N], -1)
        dt = F.softplus(raw.float() + bias)
        A = -torch.exp(a_log)
        x, B, C, dt = (y.unflatten(1, (T // Q, Q)) for y in (x.unflatten(-1, (H, P)), B, C, dt))
        cum = (dt * A).cumsum(2)
        L = torch.exp((cum[:, :, :, None] - cum[:, :, None]).masked_fill(~low[..., None], -torch.inf))
        M = ((C @ B.transpose(-1, -2))[..., None] * (L * dt[:, :, None]).to(dtype)).permute(0, 1, 4, 2, 3)
        xt = x.permute(0, 1, 3, 2, 4)
        y = M @ xt
        if T > Q:
            keep = torch.exp(cum[:, :, -1:] - cum)
            states = torch.einsum("scqn,scqh,scqhp->schnp", B, (keep * dt).to(dtype), x).float()
            s, out, last = torch.zeros_like(states[:, 0]), [], torch.exp(cum[:, :, -1])
            for c in range(T // Q):
                out.append(s)
                s = s * last[:, c, :, None, None] + states[:, c]
            before = torch.stack(out, 1).to(dtype)
            y = y + torch.einsum("scqn,schnp,scqh->schqp", C, before, torch.exp(cum).to(dtype))
        return (y.permute(0, 1, 3, 2, 4) + D.to(dtype)[:, None] * x).reshape(S, T, H * P)

    return f


def wkv(S, T, C, dtype):
    k, v = rnd(S, T, C, dtype=dtype), rnd(S, T, C, dtype=dtype)
    w, u = weights(C, dtype=torch.float32), weights(C, dtype=torch.float32)
    d = (torch.arange(T)[:, None] - torch.arange(T)[None]).abs()[..., None]

    def f():
        z = torch.where(d == 0, u, -(d - 1) * w)[None] + k.float()[:, None]
        return (torch.softmax(z, 2).to(dtype) * v[:, None]).sum(2)

    return f


def ffl(dtype):
    x, t = rnd(1, 8, 64, 64, 3, dtype=dtype), torch.rand(1, 8, 64, 64, 3, dtype=dtype)

    def f():
        d = torch.fft.fft2((x - t).float().permute(0, 1, 4, 2, 3), norm="ortho")
        m = d.detach().abs()
        return (m / m.amax((-1, -2), keepdim=True) * (d.real**2 + d.imag**2)).mean()

    return f


def layer(kind, dt):
    g, b = weights(512, dtype=dt), weights(512, dtype=dt)
    x, y = rnd(4, 1536, 512, dtype=dt), rnd(4, 1536, 512, dtype=dt)
    s, t = weights(4, 1, 512, dtype=dt), weights(4, 1, 512, dtype=dt)
    return {"layernorm": lambda: F.layer_norm(x, (512,), g, b, 1e-6),
            "modulate": lambda: F.layer_norm(x, (512,), None, None, 1e-6) * (1 + s) + t,
            "gate": lambda: x + s * y}[kind]


def rms(dt):
    y, z, w = rnd(3072, 1024, dtype=dt), rnd(3072, 1024, dtype=dt), weights(1024, dtype=dt)

    def f():
        u = y * F.silu(z)
        return w * (u * torch.rsqrt(u.float().pow(2).mean(-1, keepdim=True) + 1e-5).to(dt))

    return f


def group(dt, last):
    x = torch.rand(1, 128, 8, 64, 64, dtype=dt)
    x = (x.to(memory_format=CL) if last else x).requires_grad_()
    g, b = weights(128, dtype=dt), weights(128, dtype=dt)
    return lambda: F.silu(F.group_norm(x, 32, g, b, 1e-6))


def batch(dt, last):
    x = torch.rand(8, 54, 16, 32, 32, dtype=dt)
    x = (x.to(memory_format=CL) if last else x).requires_grad_()
    m = torch.nn.BatchNorm3d(54)
    return lambda: F.relu(m(x))


def one(fn, *shape):
    def make(dt):
        x = rnd(*shape, dtype=dt)
        return lambda: fn(x)

    return make


def two(fn, *shape):
    def make(dt):
        x, y = rnd(*shape, dtype=dt), rnd(*shape, dtype=dt)
        return lambda: fn(x, y)

    return make


def linear(m, k, n):
    def make(dt):
        x, w, b = rnd(m, k, dtype=dt), weights(n, k, dtype=dt), weights(n, dtype=dt)
        return lambda: F.linear(x, w, b)

    return make


def spatial(fn, *shape):
    """shape in channels last order"""

    def make(dt, last=True):
        x = torch.rand(*shape, dtype=dt).movedim(-1, 1)
        x = (x if last else x.contiguous()).requires_grad_()
        return lambda: fn(x)

    return make


def adamw(dt):
    p = torch.nn.Parameter(0.1 * torch.rand(8192, 1024))
    p.grad = torch.rand(8192, 1024)
    ema = p.detach().clone()
    opt = torch.optim.AdamW([p], 1e-4, weight_decay=0.01, fused=True)

    def f():
        torch.nn.utils.clip_grad_norm_([p], 1e9)
        opt.step()
        torch._foreach_lerp_([ema], [p.detach()], 0.001)

    return f


LAYOUTS = "conv_3d conv_2d conv_transpose conv_dw_3d conv_dw_3d_small groupnorm_silu batchnorm_relu".split()
TWINS = {
    "linear": linear(2048, 768, 768),
    "linear_mlp": linear(3072, 512, 2048),
    "matmul": two(torch.matmul, 768, 64, 64),
    "conv_3d": lambda dt, last: conv((1, 128, 4, 32, 32), 128, last, kernel=3, padding=1, dtype=dt),
    "conv_2d": lambda dt, last: conv((1, 64, 16, 32, 32), 64, last, kernel=(1, 3, 3), padding=(0, 1, 1), dtype=dt),
    "conv_transpose": convt,
    "conv_dw_3d": lambda dt, last: conv((8, 54, 16, 32, 32), 54, last, kernel=3, padding=1, groups=54, bias=False, dtype=dt),
    "conv_dw_3d_small": lambda dt, last: conv((8, 108, 16, 16, 16), 108, last, kernel=3, padding=1, groups=108, bias=False, dtype=dt),
    "conv_dw_causal": lambda dt: (lambda m, x: lambda: m(x.transpose(1, 2))[..., :48].transpose(1, 2))(torch.nn.Conv1d(1280, 1280, 4, padding=3, groups=1280, dtype=dt), rnd(64, 48, 1280, dtype=dt)),
    "layernorm": lambda dt: layer("layernorm", dt),
    "layernorm_modulate": lambda dt: layer("modulate", dt),
    "gate_residual": lambda dt: layer("gate", dt),
    "rmsnorm_gated": rms,
    "groupnorm_silu": group,
    "batchnorm_relu": batch,
    "softmax": one(lambda x: torch.softmax(x, -1), 16384, 256),
    "gelu": one(F.gelu, 3072, 2048),
    "silu": one(F.silu, 3072, 2048),
    "geglu": one(lambda x: (lambda a, b: F.gelu(a) * b)(*x.chunk(2, -1)), 3072, 4096),
    "add": two(torch.add, 3072, 2048),
    "permute_rows": one(lambda x: x.permute(0, 2, 1, 3).contiguous(), 4, 6, 256, 1024),
    "transpose": one(lambda x: x.transpose(1, 2).contiguous(), 4, 1024, 1536),
    "upsample": spatial(lambda x: F.interpolate(x, scale_factor=(1.0, 2.0, 2.0)), 1, 8, 32, 32, 128),
    "resize_linear": spatial(lambda x: F.interpolate(x, size=(64, 32), mode="bilinear"), 8, 32, 32, 128),
    "pool_max": spatial(lambda x: F.max_pool3d(x, (1, 2, 2)), 1, 16, 64, 64, 64),
    "reduce_rows": one(lambda x: x.sum(0), 3072, 2048),
    "mse": lambda dt: (lambda x, t: lambda: F.mse_loss(x, t))(rnd(3072, 2048, dtype=dt), torch.rand(3072, 2048, dtype=dt)),
    "adamw_ema": adamw,
    "sdpa_8x8": lambda dt: sdpa(96, 64, 8, 64, dt),
    "sdpa_16x16": lambda dt: sdpa(16, 256, 8, 64, dt),
    "sdpa_causal": lambda dt: sdpa(16, 256, 8, 64, dt, causal=True),
    "sdpa_packed": lambda dt: sdpa(96, 64, 8, 64, dt, packed=True),
    "sdpa_relative": relative,
    "attention_local": local,
    "attention_channel": channel,
    "ssd_48": lambda dt: ssd(64, 48, 16, 64, 128, dt),
    "ssd_1024": lambda dt: ssd(4, 1024, 16, 64, 64, dt),
    "wkv_16": lambda dt: wkv(128, 16, 512, dt),
    "wkv_64": lambda dt: wkv(24, 64, 512, dt),
    "wkv_1024": lambda dt: wkv(2, 1024, 512, dt),
    "focal_frequency": ffl,
}


def ms_of(fn, runs=7):
    s = time.perf_counter()
    fn()
    if time.perf_counter() - s > 2:  # the matrix form of a long scan
        runs = 3
    else:
        fn(), fn()
    out = []
    for _ in range(runs):
        s = time.perf_counter()
        fn()
        out.append(1000 * (time.perf_counter() - s))
    return statistics.median(out)


def step(f, compiled):
    g = torch.compile(f) if compiled else f
    y = g()
    if y is None:
        return g
    dy = torch.rand_like(y)
    return lambda: g().backward(dy)


def forty(program, name, precision):
    args = [program, "bench", "op", name, "--precision", precision, "--pass", "both", "--runs", "9", "--threads", "2", "--json"]
    d = json.loads(subprocess.run(args, capture_output=True, check=True, text=True).stdout)
    return dict(d["ops"][0], ms=d["ops"][0]["ms"]["median"], precision=precision, copy_gb_s=d["copy_gb_s"])


def main():
    program, folder, only = sys.argv[1], sys.argv[2], sys.argv[3:]
    rows = []
    for precision, dt in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        for name, make in TWINS.items():
            if only and name not in only:
                continue
            turns, theirs = [forty(program, name, precision)], {}
            for compiled in (False, True):
                for last in (True, False) if name in LAYOUTS else (None,):
                    if name == "adamw_ema" and (compiled or precision == "bf16"):
                        continue
                    torch._dynamo.reset()
                    try:
                        f = make(dt) if last is None else make(dt, last)
                        theirs[("compiled" if compiled else "eager") + ("" if last is None else ", channels last" if last else ", channels first")] = ms_of(step(f, compiled))
                    except Exception as e:  # a form that does not compile is no opponent
                        print("   ", name, "compiled" if compiled else "eager", "failed:", str(e).splitlines()[0][:90])
                turns.append(forty(program, name, precision))
            row = dict(turns[0], ms=statistics.median(t["ms"] for t in turns))
            row["gb_s"], row["gflop_s"] = (turns[0][k] * turns[0]["ms"] / row["ms"] for k in ("gb_s", "gflop_s"))
            row["torch"], row["ratio"] = theirs, (min(theirs.values()) / row["ms"] if theirs else None)
            rows.append(row)
            print(f"{precision} {name}: forty {row['ms']:.2f} ms, PyTorch {min(theirs.values(), default=0):.2f} ms, ratio {row['ratio'] or 0:.2f}", flush=True)
        for name in ("ssd_length_64", "ssd_length_256", "ssd_length_4096", "wkv_length_64", "wkv_length_256", "wkv_length_4096"):
            if not only:
                rows.append(dict(forty(program, name, precision), torch={}, ratio=None))
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "ops.json")
    if only:  # named ops replace their rows of an earlier run
        fresh = {(r["op"], r["precision"]): r for r in rows}
        rows = [fresh.get((r["op"], r["precision"]), r) for r in json.load(open(path))["rows"]]
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    info = {"torch": torch.__version__, "cpu": cpu, "threads": 2, "date": time.strftime("%Y-%m-%d"), "rows": rows,
            "flags": [f for f in ("avx512_bf16", "amx_bf16", "avx512f", "avx2") if f in open("/proc/cpuinfo").read()]}
    json.dump(info, open(path, "w"), indent=1)
    with open(os.path.join(folder, "README.md"), "w") as o:
        o.write(f"# Ops: forward and backward, forty against PyTorch {torch.__version__}\n\nMade by `tests/bench_ops.py build/release/forty results/ops`, "
                f"{cpu} ({', '.join(info['flags'])}), two threads, {info['date']}; ops named behind the command had their rows made anew, in a run of their own. ratio = PyTorch's best form / forty. `of copy` is the op's least traffic "
                "(every input and output once) against a plain memcpy in the same run; rows above 100 % live in the cache, rows that "
                "must read twice (batch and group norms) cannot reach it. How each form was timed: the script's head.\n\n")
        for precision in ("f32", "bf16"):
            o.write(f"## {precision}\n| op | shape | forty ms | GFLOP/s | GB/s | of copy | PyTorch ms | its best form | ratio |\n|---|---|---|---|---|---|---|---|---|\n")
            for r in rows:
                if r["precision"] != precision:
                    continue
                best = min(r["torch"], key=r["torch"].get) if r["torch"] else None
                o.write(f"| {r['op']} | {r['shape']} | {r['ms']:.2f} | {r['gflop_s']:.0f} | {r['gb_s']:.1f} | {100 * r['gb_s'] / r['copy_gb_s']:.0f} % | "
                        + (f"{r['torch'][best]:.2f} | {best} | **{r['ratio']:.2f}** |\n" if best else "| | |\n"))
            for kind in ("ssd", "wkv"):
                t = {r["op"].rsplit("_", 1)[1]: r["ms"] for r in rows if r["op"].startswith(kind + "_length") and r["precision"] == precision}
                o.write(f"\n{kind}: time grows as length^{math.log(t['4096'] / t['64']) / math.log(64):.2f} from 64 to 4,096 "
                        f"(^{math.log(t['4096'] / t['256']) / math.log(16):.2f} from 256)." + "\n")
            o.write("\n")


main()
