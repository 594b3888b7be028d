#!/usr/bin/env python3
"""What a GAN draws after a short training: trains presets on clips of 64 pixels and measures 160 drawn clips against all of them.

    venv/bin/python results/generators/gan_short.py build/release/forty CLIPS.h5 DINOV2.safetensors WORK NAME:PRESET:STEPS:BATCH:SEED[:KEY=VALUE...] [...]
    (h5py, numpy)

DINOv2: `forty metrics`, 126 pixels, 4 frames of a clip. Colours: the first, middle and last frame as 8x8 pixels; coverage, precision and
recall with 5 neighbours (Naeem et al. 2020)."""
import json
import os
import subprocess
import sys

import h5py
import numpy as np

forty, store, dino, work = sys.argv[1:5]
os.makedirs(work, exist_ok=True)
N = 160


def run(*a):
    r = subprocess.run([forty, *a, "--threads", "1", "--quiet"], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(a)}\n{r.stderr}")
    return r.stdout


def colours(path):
    with h5py.File(path) as f:
        x = f["clips"]
        x = x[:, [0, x.shape[1] // 2, x.shape[1] - 1]].astype(np.float32)
    n, t, s = x.shape[:3]
    return x.reshape(n, t, 8, s // 8, 8, s // 8, 3).mean((3, 5)).reshape(n, -1)


def apart(a, b):
    return np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0))


def ball(x, k=5):
    d = apart(x, x)
    np.fill_diagonal(d, np.inf)
    return np.sort(d, 1)[:, k - 1]


real = colours(store)
print("| | seed | MMD | Frechet | precision | recall | coverage | colours: precision | recall | coverage |\n|---|---|---|---|---|---|---|---|---|---|")
for spec in sys.argv[5:]:
    name, preset, steps, batch, seed, *settings = spec.split(":")
    d, config = os.path.join(work, f"{name}-{seed}"), os.path.join(work, f"{name}-{seed}.yaml")
    with open(config, "w") as f:
        f.write(f"task: generator\ndata: {{clips: {os.path.abspath(store)}}}\ngenerator: {{model: {preset}, steps: {steps}, batch: {batch}}}\n")
    run("train", config, "-o", d, "--resume", "--seed", seed, *(w for s in settings for w in ("--set", s)))
    run("generate", d, "-n", str(N), "-o", d + ".h5", "--force")
    m = json.loads(run("metrics", "--real", store, "--fake", d + ".h5", "--model", "dinov2-s14", "--weights", dino, "--size", "126", "--json"))
    with open(d + ".json", "w") as f:
        json.dump(m, f)
    v = {r["metric"]: r["value"] for r in m["values"]}
    fake = colours(d + ".h5")
    far = apart(real, fake)
    inside = far < ball(real)[:, None]
    own = (inside.any(0).mean(), (far < ball(fake)[None]).any(1).mean(), inside.any(1).mean())
    print(f"| {name} | {seed} | {v['mmd']:.1f} | {v['FD']:.0f} | {v['precision']:.2f} | {v['recall']:.2f} | {v['coverage']:.2f} | " + " | ".join(f"{x:.2f}" for x in own) + " |", flush=True)
