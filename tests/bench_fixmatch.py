#!/usr/bin/env python3
"""A whole 40-label FixMatch run against a PyTorch twin: the same clips, batches, steps, views, loss, optimiser and EMA, loading and
augmentation included.

    venv/bin/python tests/bench_fixmatch.py build/release/forty [x3d-s] [steps]

The twin is the best of eager and compiled, channels last, f32 and bf16 autocast; its clips lie in memory, its views are computed
in one piece for each batch, and the share that they take of a step is printed. Its compilation and its first steps are not
counted; forty's plan and first steps are. Two threads each, in turns."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
import h5py
import torch
import torch.nn.functional as F
import twins

torch.set_num_threads(2)
PROGRAM, MODEL, STEPS = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "x3d-s", int(sys.argv[3]) if len(sys.argv) > 3 else 60
B, CONFIG = 8, """
data: {phantom: true}
positive: polyp
labels: 40
splits: 1
seeds: 1
bootstrap: 100
arms: [real-unlabelled]
ssl: {algorithm: fixmatch, threshold: 0.5}
classifier: {model: %s, steps: %d, batch: 8, mu: 1}
""" % (MODEL, STEPS)


def forty(folder):
    with open(folder + "/run.yaml", "w") as f:
        f.write(CONFIG)
    subprocess.run(["rm", "-rf"] + [folder + "/r/" + d for d in ("results.jsonl", "scores")] + [folder + "/r/runs/" + d for d in (os.listdir(folder + "/r/runs") if os.path.isdir(folder + "/r/runs") else []) if d.startswith("classifier")], check=True)
    subprocess.run([PROGRAM, "experiment", "run", folder + "/run.yaml", "-o", folder + "/r", "--threads", "2", "--quiet"], check=True, capture_output=True)
    return json.loads(open(folder + "/r/results.jsonl").readline())["wall_s"]


def affine(n):
    zoom, side = torch.empty(n).uniform_(0.8, 1), torch.randint(0, 2, (n,)) * 2.0 - 1
    m = torch.zeros(n, 2, 3)
    m[:, 0, 0], m[:, 1, 1] = zoom * side, zoom
    m[:, :, 2] = torch.empty(n, 2).uniform_(-1, 1) * (1 - zoom[:, None])
    return m


def warp(clips, m):  # (n,T,H,W,3) uint8 -> (n,3T,H,W) float: one grid for each clip
    n, t, h, w, _ = clips.shape
    x = clips.permute(0, 1, 4, 2, 3).reshape(n, 3 * t, h, w).float()
    return F.grid_sample(x, F.affine_grid(m, (n, 3 * t, h, w), align_corners=False), padding_mode="border", align_corners=False)


def normal(x, t):
    return ((x / 255 - 0.45) / 0.225).unflatten(1, (t, 3)).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)


def strong(clips, m):
    n, t, h, w, _ = clips.shape
    colour = [[], []]
    for i in range(n):
        for k in range(2):
            op, r = int(torch.randint(0, 14, ())), float(torch.empty(()).uniform_(-1, 1))
            e = torch.eye(3)
            if op == 9:
                a = torch.tensor(r * 0.5236)
                e[0, 0] = e[1, 1] = a.cos()
                e[0, 1], e[1, 0] = -a.sin(), a.sin()
            elif op in (10, 11):
                e[op - 10, 11 - op] = 0.3 * r
            elif op in (12, 13):
                e[op - 12, 2] = 0.6 * r
            m[i] = m[i] @ e
            colour[k].append((op, r))
    x = warp(clips, m)
    for i in range(n):
        v = x[i].view(t, 3, h, w)
        for op, r in (colour[0][i], colour[1][i]):
            s = 1 + 0.95 * r
            if op == 1:
                low, high = v.amin((0, 2, 3), True), v.amax((0, 2, 3), True)
                v.sub_(low).mul_(255 / (high - low).clamp(min=1))
            elif op == 2:
                for c in range(3):
                    q = v[:, c].round().long().clamp(0, 255)
                    lut = (q.flatten().bincount(minlength=256).cumsum(0).float() * (255 / q.numel())).floor()
                    v[:, c] = lut[q]
            elif op == 3:
                v.mul_(s).clamp_(0, 255)
            elif op == 4:
                g = v[:, :1] * 0.299 + v[:, 1:2] * 0.587 + v[:, 2:] * 0.114
                v.sub_(g).mul_(s).add_(g).clamp_(0, 255)
            elif op == 5:
                mean = v.mean()
                v.sub_(mean).mul_(s).add_(mean).clamp_(0, 255)
            elif op == 6:
                k = torch.ones(3, 1, 3, 3) / 13
                k[:, :, 1, 1] = 5 / 13
                g = F.conv2d(v, k, padding=1, groups=3)
                v.sub_(g).mul_(s).add_(g).clamp_(0, 255)
            elif op == 7:
                v.div_(16).floor_().mul_(16)
            elif op == 8:
                torch.where(v >= 128 + 128 * r, 255 - v, v, out=v)
        side = int(torch.randint(0, h // 2, ()))
        y, z = int(torch.randint(0, h, ())), int(torch.randint(0, w, ()))
        v[:, :, max(0, y - side // 2) : y + side // 2, max(0, z - side // 2) : z + side // 2] = 128
    return normal(x, t)


def pytorch(clips, labels, labelled, rest, bf16, compiled):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = twins.X3D(MODEL, 2).to(memory_format=torch.channels_last_3d)
    opt = torch.optim.AdamW(model.parameters(), 0.002, weight_decay=0.01, fused=True)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(opt, STEPS)
    ema = [p.detach().clone() for p in model.parameters()]
    net, t, views, warm, start = torch.compile(model) if compiled else model, clips.shape[1], 0.0, 4, 0.0
    for step in range(STEPS + warm):
        if step == warm:
            views, start = 0.0, time.perf_counter()
        s = time.perf_counter()
        a, b = labelled[torch.randint(0, len(labelled), (B,))], rest[torch.randint(0, len(rest), (B,))]
        crop = affine(B)
        x = torch.cat([normal(warp(clips[a], affine(B)), t), strong(clips[b], crop.clone()), normal(warp(clips[b], crop), t)])
        x = x.contiguous(memory_format=torch.channels_last_3d)
        views += time.perf_counter() - s
        opt.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            z = net(x)
        z = z.float()
        with torch.no_grad():
            top, pseudo = z[2 * B :].softmax(1).max(1)
        loss = F.cross_entropy(z[:B], labels[a]) + (F.cross_entropy(z[B : 2 * B], pseudo, reduction="none") * (top >= 0.5)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        opt.step()
        torch._foreach_lerp_(ema, [p.detach() for p in model.parameters()], 0.01)
        plan.step()
    total = time.perf_counter() - start
    return total, views / total


with tempfile.TemporaryDirectory() as folder:
    mine = [forty(folder)]
    store = next(folder + "/r/runs/" + d + "/clips.h5" for d in os.listdir(folder + "/r/runs") if d.startswith("phantom"))
    split = json.load(open(folder + "/r/splits/split-0.json"))
    with h5py.File(store) as h:
        clips, name = torch.from_numpy(h["clips"][:]), [n.decode() for n in h["video/name"][:]]
        labels = torch.tensor([v == b"polyp" for v in h["video/label"][:]]).long()
    labelled = torch.tensor([name.index(v) for v in split["labelled"]])
    rest = torch.tensor([name.index(v) for v in split["pool"] if v not in set(split["labelled"])])
    best = None
    for bf16 in (False, True):
        for compiled in (False, True):
            try:
                total, share = pytorch(clips, labels, labelled, rest, bf16, compiled)
            except Exception as e:
                print("   PyTorch", "bf16" if bf16 else "f32", "compiled" if compiled else "eager", "failed:", str(e).splitlines()[0][:80])
                continue
            print(f"   PyTorch {'bf16' if bf16 else 'f32'} {'compiled' if compiled else 'eager'}: {total:.1f} s, views {100 * share:.1f} % of it", flush=True)
            best = total if best is None else min(best, total)
            mine.append(forty(folder))
    print(f"FixMatch, {MODEL}, 40 labels, {STEPS} steps of 8 + 8 + 8 clips of {tuple(clips.shape[1:])}: forty {statistics.median(mine):.1f} s, PyTorch {torch.__version__} {best:.1f} s, ratio {best / statistics.median(mine):.2f}")
