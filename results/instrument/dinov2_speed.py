#!/usr/bin/env python3
"""DINOv2 ViT-S/14, 16 pictures of 224 pixels, bf16, two threads: forty and PyTorch (transformers' network, eager and compiled) in turns.

    venv/bin/python results/instrument/dinov2_speed.py build/release/forty       (needs torch, transformers)
"""
import json
import statistics
import subprocess
import sys
import time

import torch
from transformers import Dinov2Config, Dinov2Model

torch.set_num_threads(2)
net = Dinov2Model(Dinov2Config(hidden_size=384, num_attention_heads=6, num_hidden_layers=12, image_size=518, patch_size=14))
net = net.eval().to(torch.bfloat16).to(memory_format=torch.channels_last)
nets = {"eager": net, "compiled": torch.compile(net)}
x = torch.randn(16, 3, 224, 224, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
times = {"eager": [], "compiled": [], "forty": []}
for turn in range(7):
    for name, f in nets.items():
        with torch.no_grad():
            start = time.time()
            f(x)
        if turn > 1:  # two turns warm up
            times[name].append(1e3 * (time.time() - start))
    if turn > 1:
        out = subprocess.run([sys.argv[1], "bench", "forward", "--model", "dinov2-s14", "--size", "224", "--batch", "16", "--precision", "bf16",
                              "--runs", "3", "--threads", "2", "--json"], capture_output=True, text=True, check=True).stdout
        times["forty"].append(next(v["median"] for v in json.loads(out).values() if isinstance(v, dict) and "median" in v))
median = {k: statistics.median(v) for k, v in times.items()}
print({k: round(v) for k, v in median.items()}, "ms; compiled / forty: %.2f" % (median["compiled"] / median["forty"]))
