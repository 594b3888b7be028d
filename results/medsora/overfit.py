#!/usr/bin/env python3
"""Does a preset learn one clip by heart? VAE and generator on a single clip, then the denoising error on it, averaged over t, and the
PSNR of samples against it, after decoding. Aims: at most 0.05, at least 25 dB.

    venv/bin/python results/medsora/overfit.py build/release/forty WORK_FOLDER PRESET:STEPS:LR [...]      (needs h5py and numpy)"""
import json
import os
import subprocess
import sys

import h5py
import numpy as np

forty, work = sys.argv[1:3]
os.makedirs(work, exist_ok=True)


def run(*a):
    r = subprocess.run([forty, *a], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(a)}\n{r.stderr}")
    return r.stdout


clip = os.path.join(work, "one.h5")
if not os.path.exists(clip):
    run("phantom", "-o", clip, "--videos", "1", "--size", "64")
for spec in sys.argv[3:]:
    preset, steps, lr = spec.split(":")
    d, config = os.path.join(work, preset), os.path.join(work, preset + ".yaml")
    with open(config, "w") as f:
        f.write(f"task: generator\nprecision: {'bf16' if preset[-2:] in ('-s', '-b', '-l', 'xl') else 'f32'}\ndata: {{clips: {os.path.abspath(clip)}}}\n"
                "vae: {steps: 400, batch: 1, kl: 1e-6}\n"
                f"generator: {{model: {preset}, steps: {steps}, batch: 4, ema: 0.99, lr: {lr}, flip: false, posterior: mean}}\n")
    run("train", config, "-o", d, "--resume")
    s = json.loads(run("evaluate", d, "--data", clip, "--split", "all", "--json"))
    run("generate", d, "-n", "4", "-o", os.path.join(work, "s.h5"), "--force")
    real = h5py.File(clip)["clips"][0].astype(float)
    fake = h5py.File(os.path.join(work, "s.h5"))["clips"][:].astype(float)
    psnr = [10 * np.log10(255**2 / np.mean((x - real) ** 2)) for x in fake]
    print(f"| {preset} | {steps} | {lr} | {s['denoising_mse']:.4f} | {s['psnr']:.1f} | {np.mean(psnr):.1f} ({min(psnr):.1f} to {max(psnr):.1f}) |", flush=True)
