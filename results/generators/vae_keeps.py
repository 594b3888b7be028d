#!/usr/bin/env python3
"""What of a clip's class a VAE keeps: clips of two classes as they are and as a trained VAE rebuilds them.

    venv/bin/python results/generators/vae_keeps.py build/release/forty CLIPS.h5 DINOV2-S14.safetensors VAE_RUN ...
                                                                                     (needs h5py, numpy, scikit-learn)

VAE_RUN: folders of `forty train` with task: vae, preset vae-tiny. Each row: PSNR of the test split's clips; the unbiased kernel distance
(x.y / d + 1)^3 of DINOv2's class tokens between these clips and their reconstructions; and how many of the test clips a logistic
regression on DINOv2's tokens gets right which was taught by A and asked about B, each the clips or their reconstructions. What clips
lose on the way through the VAE no generator on its latents can have."""
import os
import sys

import h5py
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from through_vae import kernel_distance, rebuild, run, tensors

forty, store, dino, *runs = sys.argv[1:]
CLASS_TOKEN = 384


def seen(clips, path):
    """Of each video: class token and mean patch token, mean over frames"""
    if not os.path.exists(path):
        run(forty, "features", clips, "--model", "dinov2-s14", "--weights", dino, "--set", "features.size=126", "--set", "features.frames=2", "-o", path)
    t = tensors(path)
    return np.concatenate([t[name] for name in names]).astype(float)


with h5py.File(store) as f:
    text = lambda key: f["video/" + key].asstr()[:][f["clip/video"][:]]
    names, label, split, real = text("name"), text("label"), text("split"), f["clips"][:]
train, test = split == "train", split == "test"
as_is = seen(store, f"{runs[0]}/seen-real.safetensors")
print("| VAE | PSNR, dB | DINOv2 distance | clips, clips | clips, rebuilt | rebuilt, clips | rebuilt, rebuilt |\n|---|---|---|---|---|---|---|")
for folder in runs:
    if not os.path.exists(f"{folder}/rebuilt.h5"):
        rebuild(forty, folder, store, np.ones(len(real), bool), f"{folder}/rebuilt.h5", folder)
    with h5py.File(f"{folder}/rebuilt.h5") as f:
        rebuilt = f["clips"][:]
    psnr = np.mean([10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)) for a, b in zip(real[test], rebuilt[test])])
    x = {"clips": as_is, "rebuilt": seen(f"{folder}/rebuilt.h5", f"{folder}/seen.safetensors")}
    judge = {k: make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(v[train], label[train]) for k, v in x.items()}
    right = [f"{100 * judge[a].score(x[b][test], label[test]):.1f}" for a in x for b in x]
    distance = kernel_distance(x["clips"][test, :CLASS_TOKEN], x["rebuilt"][test, :CLASS_TOKEN])
    print(f"| {os.path.basename(folder.rstrip('/'))} | {psnr:.2f} | {distance:.0f} | {' | '.join(right)} |", flush=True)
