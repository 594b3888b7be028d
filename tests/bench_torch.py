#!/usr/bin/env python3
"""The opponent of SPEED.md: training steps of the twins in tests/golden/twins.py with today's PyTorch, interleaved with forty.

    venv/bin/python tests/bench_torch.py build/release/forty x3d-tiny:24 x3d-s:8 vae-tiny:4 medsora-tiny:16 medsora-b:2 \
        endora-b:1 feat-s:1 lvdm-small:8 sample-medsora-b:1 encode-cogvideox-vae:1
    venv/bin/python tests/bench_torch.py build/release/forty --memory medsora-b:2     (peak resident memory of the same steps)

A step is forward, MSE to a fixed target, backward, fused AdamW; two threads; the best of eager and compiled, channels last,
f32 and bf16 autocast. Each pair is timed in turns and the median of the turns is printed."""
import json
import os
import resource
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
import torch
import torch.nn.functional as F
import generator_twins
import twins

torch.set_num_threads(2)


def fast_core(self, zx):
    """Mamba core in matrix form: what a good PyTorch user would write."""
    E, N, H = self.E, self.N, self.H
    z, xbc, dt = zx.split([E, E + 2 * N, H], -1)
    a = F.silu(self.conv1d(xbc.transpose(1, 2))[..., : zx.shape[1]].transpose(1, 2))
    x, B, C = a.split([E, N, N], -1)
    dt = F.softplus(dt.float() + self.dt_bias)
    y = twins.ssd_matrix(x.unflatten(-1, (H, E // H)), B, C, dt, -self.A_log.exp(), self.D).flatten(2)
    u = y * F.silu(z)
    return self.out_proj(self.norm.weight * u * torch.rsqrt(u.float().pow(2).mean(-1, keepdim=True) + 1e-5).to(u.dtype))


def fast_spatial(self, u):
    """All four scans as one batch."""
    m, (B, n, g, _, d) = self.mamba_hw, u.shape
    zx = m.in_proj(u)
    order = [twins.scan_order(n, g, self.index % 8, r) for r in (False, True)]
    views = [zx.permute(*p).reshape(B * g, n * g, -1) for p in ((0, 2, 1, 3, 4), (0, 3, 1, 2, 4))]
    out = m.core(torch.cat([v[:, o] for v in views for o in order])).chunk(4)
    y = 0
    for k, (gate, back) in enumerate(((m.gated_fusion.gate_F1, (0, 2, 1, 3, 4)), (m.gated_fusion.gate_F2, (0, 2, 3, 1, 4)))):
        o = sum(out[2 * k + r][:, torch.argsort(order[r])] for r in (0, 1)).view(B, g, n, g, d).permute(*back)
        y = y + torch.sigmoid(gate(o)) * o
    return y


twins.Mamba.core = fast_core
twins.MedSoraBlock.spatial = fast_spatial


def fast_wkv(k, v, w, u):
    """The Bi-WKV as one product for each channel: a (T,T,d) table of decays against all sequences."""
    t = torch.arange(k.shape[1])
    away = (t[:, None] - t[None]).abs()[..., None]
    decay = torch.where(away == 0, u, -w * (away - 1.0)).float().exp()  # (t,i,d)
    e = (k - k.amax(1, keepdim=True)).float().exp()
    return (torch.einsum("sid,tid->std", e * v, decay) / torch.einsum("sid,tid->std", e, decay)).to(v.dtype)


def fast_attention(self, x, c):
    m, d = self.adaLN_modulation(c)[:, None, None].chunk(6, -1), x.shape[-1]
    h = F.layer_norm(x, (d,), eps=1e-6) * (1 + m[1]) + m[0]
    q, k, v = self.attn.qkv(h).unflatten(-1, (3, self.heads, d // self.heads)).permute(3, 0, 1, 4, 2, 5)
    x = x + m[2] * self.attn.proj(F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(3))
    h = F.layer_norm(x, (d,), eps=1e-6) * (1 + m[4]) + m[3]
    return x + m[5] * self.mlp.fc2(F.gelu(self.mlp.fc1(h), approximate="tanh"))


plain_attend = generator_twins.LvdmAttention.attend


def fast_attend(self, qkv, relative):
    if relative:
        return plain_attend(self, qkv, True)
    S, w, T = qkv.shape
    q, k, v = qkv.view(S, self.heads, 3, w // self.heads // 3, T).transpose(-1, -2).unbind(2)
    return F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(S, -1, T)


generator_twins.wkv = fast_wkv  # WKV takes it when built


def fast_time(self, x):
    q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
    return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


twins.TimeAttention.forward = fast_time
generator_twins.EndoraBlock.forward = fast_attention
generator_twins.LvdmAttention.attend = fast_attend
CLIPS = {"x3d-s": (16, 160), "r2plus1d-18": (16, 112), "timesformer-s16-128": (16, 128)}  # frames and pixels
OTHERS = {  # twin, shape of a latent
    "endora-b": (lambda: generator_twins.Endora(12, 768, 12, 8, 4, 16), (16, 16, 16, 4)),
    "feat-s": (lambda: generator_twins.Feat(9, 512, 8, 4, 16), (16, 16, 16, 4)),
    "lvdm-small": (lambda: generator_twins.Lvdm(96, (1, 2), 2, 4, 16, 16), (4, 8, 8, 16)),
}


def problem(name, batch):
    if name in OTHERS:
        make, shape = OTHERS[name]
        m, z, t = make(), torch.randn(batch, *shape), torch.rand(batch) * 999
        for layer in m.modules():
            if isinstance(layer, torch.nn.Conv3d):
                layer.to(memory_format=torch.channels_last_3d)
        return m, lambda: m(z, t)
    if name in CLIPS:
        frames, size = CLIPS[name]
        m = twins.X3D("x3d-s", 2) if name == "x3d-s" else twins.R2Plus1D(45, (64, 128, 256, 512), 2, 2) if name == "r2plus1d-18" else twins.TimeSformer(384, 12, 6, 16, 16, 128, 2)
        x = torch.randn(batch, 3, frames, size, size).to(memory_format=torch.channels_last_3d)
        return m.to(memory_format=torch.channels_last_3d) if name != "timesformer-s16-128" else m, lambda: m(x)
    if name.startswith("x3d"):
        m, x = twins.X3D(name, 2), torch.randn(batch, 3, 16, 64, 64).to(memory_format=torch.channels_last_3d)
        return m.to(memory_format=torch.channels_last_3d), lambda: m(x)
    if name.startswith("vae"):
        m, x = twins.VAE(), torch.randn(batch, 16, 64, 64, 3)
        for layer in m.modules():
            if isinstance(layer, torch.nn.Conv3d):
                layer.to(memory_format=torch.channels_last_3d)
            elif isinstance(layer, torch.nn.Conv2d):
                layer.to(memory_format=torch.channels_last)
        return m, lambda: m.decode(m.encode(x)[..., : m.z])
    tiny = name == "medsora-tiny"
    m = twins.MedSora() if tiny else twins.MedSora(12, 512, 2, 64, 128, 8, 16)
    z = torch.randn(batch, 4, 8, 8, 16) if tiny else torch.randn(batch, 6, 16, 16, 16)
    t = torch.rand(batch) * 999
    return m, lambda: m(z, t)


def torch_ms(name, batch, bf16, compiled, runs):
    torch.manual_seed(0)
    torch._dynamo.reset()
    m, forward = problem(name, batch)
    opt = torch.optim.AdamW(m.parameters(), 1e-4, fused=True)

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return forward().float().pow(2).mean()

    fn = torch.compile(loss) if compiled else loss

    def step():
        opt.zero_grad(set_to_none=True)
        fn().backward()
        opt.step()

    for _ in range(3):
        step()
    out = []
    for _ in range(runs):
        s = time.perf_counter()
        step()
        out.append(1000 * (time.perf_counter() - s))
    return statistics.median(out)


def forty_ms(program, name, batch, precision, runs):
    args = [program, "bench", "train-step", "--model", name, "--batch", str(batch), "--precision", precision, "--runs", str(runs), "--threads", "2", "--json"]
    if name in CLIPS:
        args += ["--frames", str(CLIPS[name][0]), "--size", str(CLIPS[name][1])]
    return json.loads(subprocess.run(args, capture_output=True, check=True).stdout)["ms"]["median"]


# ---- forward passes: one denoising step of a generator, the video VAE's encoder ------------------------------------------------


def forward_problem(name, batch):
    if name == "sample-medsora-b":
        m = twins.MedSora(12, 512, 2, 64, 128, 8, 16).eval()
        z, t = torch.randn(batch, 6, 16, 16, 16), torch.full((batch,), 500.0)
        return m, lambda: m(z, t), ["sample", "--model", "medsora-b", "--steps", "20"], 20
    from diffusers import AutoencoderKLCogVideoX

    m = AutoencoderKLCogVideoX(
        block_out_channels=(128, 256, 256, 512), latent_channels=16, layers_per_block=3, down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4, norm_num_groups=32).eval()
    for layer in m.modules():
        if isinstance(layer, (torch.nn.Conv3d, torch.nn.Conv2d)):
            layer.to(memory_format=torch.channels_last_3d if isinstance(layer, torch.nn.Conv3d) else torch.channels_last)
    x = torch.rand(batch, 3, 8, 64, 64).to(memory_format=torch.channels_last_3d) * 2 - 1
    return m, lambda: m._encode(x), ["forward", "--model", "cogvideox-vae-encode", "--frames", "8", "--size", "64"], 1


def compare_forward(program, name, batch):
    for precision in ("f32", "bf16"):
        m, fn, args, steps = forward_problem(name, batch)
        args = [program, "bench", *args, "--batch", str(batch), "--precision", precision, "--runs", "3", "--threads", "2", "--json"]
        best, ours = None, []
        for compiled in (False, True):
            ours.append(json.loads(subprocess.run(args, capture_output=True, check=True).stdout)["ms"]["median"] / steps)
            torch._dynamo.reset()
            run = torch.compile(fn) if compiled else fn
            try:
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    for _ in range(2):
                        run()
                    times = []
                    for _ in range(5):
                        s = time.perf_counter()
                        run()
                        times.append(1000 * (time.perf_counter() - s))
            except Exception as e:
                print("  ", name, "compiled" if compiled else "eager", "failed:", str(e).splitlines()[0][:80])
                continue
            print(f"   {name} {precision} {'compiled' if compiled else 'eager'} {statistics.median(times):.1f} ms", flush=True)
            best = statistics.median(times) if best is None else min(best, statistics.median(times))
        print(f"{name}, batch {batch}, {precision}: forty {statistics.median(ours):.1f} ms, PyTorch {best:.1f} ms, ratio {best / statistics.median(ours):.2f}", flush=True)


# ---- memory: each step in a process of its own -------------------------------------------------------------------------------


def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_memory(program, name, batch):
    for precision in ("f32", "bf16"):
        args = [program, "bench", "train-step", "--model", name, "--batch", str(batch), "--precision", precision, "--runs", "1", "--json"]
        mine = json.loads(subprocess.run(args, capture_output=True, check=True).stdout)["peak_rss_mib"]
        for mode in ("eager", "compiled"):
            args = [sys.executable, __file__, program, "--peak", name, str(batch), precision, mode]
            before, peak = map(float, subprocess.run(args, capture_output=True, check=True).stdout.split())
            print(f"{name}, batch {batch}, {precision}: forty {mine:.0f} MiB, PyTorch {mode} {peak:.0f} MiB ({before:.0f} of it the library), ratio {mine / peak:.2f}", flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "--peak":
        before = resident()
        torch_ms(sys.argv[3], int(sys.argv[4]), sys.argv[5] == "bf16", sys.argv[6] == "compiled", 1)
        print(before, resident())
        sys.exit()
    print("torch", torch.__version__)
    if sys.argv[2] == "--memory":
        for arg in sys.argv[3:]:
            compare_memory(sys.argv[1], arg.split(":")[0], int(arg.split(":")[1]))
        sys.exit()
    for arg in sys.argv[2:]:
        name, batch = arg.split(":")
        if name.startswith(("sample-", "encode-")):
            compare_forward(sys.argv[1], name, int(batch))
            continue
        for precision in ("f32", "bf16"):
            best = None
            ours = []
            for compiled in (False, True):
                ours.append(forty_ms(sys.argv[1], name, int(batch), precision, 5))
                try:
                    t = torch_ms(name, int(batch), precision == "bf16", compiled, 5)
                except Exception as e:  # a form that does not compile is no opponent
                    print("  ", name, "compiled" if compiled else "eager", "failed:", str(e).splitlines()[0][:80])
                    continue
                print(f"   {name} {precision} {'compiled' if compiled else 'eager'} {t:.1f} ms", flush=True)
                best = t if best is None else min(best, t)
            mine = statistics.median(ours)
            if best is None:
                continue
            print(f"{name}, batch {batch}, {precision}: forty {mine:.1f} ms, PyTorch {best:.1f} ms, ratio {best / mine:.2f}", flush=True)
