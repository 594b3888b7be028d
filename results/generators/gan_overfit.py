#!/usr/bin/env python3
"""Does a GAN learn eight clips by heart? Trains each preset on the first 8 clips of a store and says how far drawn clips are from the
nearest of them, and how many of the 8 are nearest to one, beside how far the 8 are from each other and from as many others.

    venv/bin/python results/generators/gan_overfit.py build/release/forty CLIPS.h5 WORK_FOLDER PRESET:STEPS [...]   (h5py, numpy, Pillow)

Distances are root mean squares over all values of a clip, in steps of brightness (0 to 255). Sheets: WORK_FOLDER/PRESET.png, the 8
clips (their first, middle and last frame) above 8 drawn ones."""
import os
import subprocess
import sys

import h5py
import numpy as np
from PIL import Image

forty, store, work = sys.argv[1:4]
os.makedirs(work, exist_ok=True)
N = 8


def run(*a):
    r = subprocess.run([forty, *a, "--threads", "1"], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(a)}\n{r.stderr}")


def distances(a, b):
    return np.array([[np.sqrt(np.mean((x - y) ** 2)) for y in b] for x in a])


few = os.path.join(work, "eight.h5")
with h5py.File(store) as f:
    clips = f["clips"][:]
    size, frames = clips.shape[2], clips.shape[1]
if not os.path.exists(few):
    run("phantom", "-o", few, "--videos", str(N), "--size", str(size), "--frames", str(frames))
with h5py.File(few, "r+") as f:
    f["clips"][:] = clips[:N]
real, others = clips[:N].astype(float), clips[N : 5 * N].astype(float)
near = distances(real, real) + np.diag([np.inf] * N)
print(f"the 8 from each other: nearest {near.min(1).mean():.1f} (least {near.min():.1f}); {4 * N} other clips from the 8: nearest {distances(others, real).min(1).mean():.1f}")
print("| preset | steps | drawn clips from the nearest of the 8: mean (least to largest) | of the 8 are nearest to one |\n|---|---|---|---|")
for spec in sys.argv[4:]:
    preset, steps = spec.split(":")
    d, config = os.path.join(work, preset), os.path.join(work, preset + ".yaml")
    with open(config, "w") as f:
        f.write(f"task: generator\ndata: {{clips: {os.path.abspath(few)}}}\nsave_every: 500\n"
                f"generator: {{model: {preset}, steps: {steps}, batch: 8, flip: false}}\n")
    run("train", config, "-o", d, "--resume")
    run("generate", d, "-n", "64", "-o", os.path.join(work, preset + ".h5"), "--force")
    with h5py.File(os.path.join(work, preset + ".h5")) as f:
        fake = f["clips"][:]
    away = distances(fake.astype(float), real)
    least = away.min(1)
    print(f"| {preset} | {steps} | {least.mean():.1f} ({least.min():.1f} to {least.max():.1f}) | {len(set(away.argmin(1)))} |", flush=True)
    rows = [np.concatenate([c[t] for c in part[:N] for t in (0, frames // 2, frames - 1)], 1) for part in (clips, fake)]
    Image.fromarray(np.concatenate(rows, 0)).save(os.path.join(work, preset + ".png"))
