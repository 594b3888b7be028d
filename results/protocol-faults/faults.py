#!/usr/bin/env python3
"""What each fault of the released downstream protocol adds to F1: results/protocol-faults/README.md. Standard library only.

    results/protocol-faults/faults.py build/release/forty WORK [--splits N] [--threads N]

WORK keeps weights, clips and runs (an hour on two cores); a second call only reports. Steps: a TimeSformer is trained on 1,600
other phantom videos and then disturbed, which stands in for Kinetics weights; 200 clips of yet other phantom videos stand in
for those of a perfect generator; then equal.yaml and leak.yaml."""
import argparse
import csv
import json
import math
import os
import struct
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
p = argparse.ArgumentParser()
p.add_argument("program")
p.add_argument("work")
p.add_argument("--splits", default="10")
p.add_argument("--threads", default="0")
a = p.parse_args()
program = os.path.abspath(a.program)
os.makedirs(a.work, exist_ok=True)
os.chdir(a.work)

PRETRAINING = """task: classifier
data: {clips: other.h5, frames: 8}
labels: 1000
validation: 0
positive: polyp
classifier: {model: timesformer-small, steps: 1500, batch: 16, lr: 0.0005, dropout: 0, ema: 0.99, weight_decay: 0.05}
"""
VISIBILITY = "0.2"  # of polyps, as in equal.yaml; on other videos (phantom.seed 1) it gives a supervised F1 of 77


def forty(*args):
    subprocess.run([program, *args, "--threads", a.threads], check=True, stdout=subprocess.DEVNULL)


def headless(source, target):
    raw = open(source, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head, data = json.loads(raw[8 : 8 + n]), raw[8 + n :]
    out, body = {"__metadata__": {"model": "timesformer-small"}}, b""
    for name, t in sorted(head.items()):
        if name != "__metadata__" and not name.startswith("head."):
            a, b = t["data_offsets"]
            out[name] = {**t, "data_offsets": [len(body), len(body) + b - a]}
            body += data[a:b]
    text = json.dumps(out).encode()
    with open(target + ".partial", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + body)
    os.rename(target + ".partial", target)


if not os.path.exists("other.h5"):
    forty("phantom", "-o", "other.h5", "--videos", "1600", "--frames", "8", "--seed", "777")
if not os.path.exists("ideal.h5"):
    forty("phantom", "-o", "ideal.h5", "--videos", "200", "--frames", "16", "--seed", "1000", "--visibility", VISIBILITY)
if not os.path.exists("other/run.json"):
    open("other.yaml", "w").write(PRETRAINING)
    forty("train", "other.yaml", "-o", "other", *(["--resume"] if os.path.isdir("other") else []))
if not os.path.exists("start.safetensors"):
    headless("other/weights.safetensors", "start.safetensors")


def run(name, baseline):
    """summary.csv of a study against a baseline: {arm: row}"""
    forty("experiment", "run", os.path.join(HERE, name + ".yaml"), "-o", name, "--set", "splits=" + a.splits, "--set", "baseline=" + baseline)
    return {r["arm"]: r for r in csv.DictReader(open(name + "/summary.csv"))}


def percent(row, key):
    return "" if row[key] == "" else "%.1f" % (100 * float(row[key]))


def table(name):
    by = {b: run(name, b) for b in ("FixMatch", "supervised")}
    lines = [json.loads(l) for l in open(name + "/results.jsonl")]
    print("| arm | F1 [95 % interval] | sd | balanced accuracy | pseudo-labels | fault adds [95 % interval] |\n| --- | --- | --- | --- | --- | --- |")
    for arm, row in by["supervised"].items():
        mine = [l for l in lines if l["arm"] == arm]
        mean = lambda f: 100 * sum(map(f, mine)) / len(mine)
        base = by["supervised" if arm.startswith("supervised") else "FixMatch"][arm]
        added = "" if base["delta_f1"] == "" else "%+.1f [%+.1f, %+.1f]" % tuple(100 * float(base[k]) for k in ("delta_f1", "delta_ci_low", "delta_ci_high"))
        used = "" if arm.startswith("supervised") else "%.0f %%" % mean(lambda l: l["utilisation"])
        print(f"| {arm} | {percent(row, 'f1_mean')} [{percent(row, 'f1_ci_low')}, {percent(row, 'f1_ci_high')}] | {percent(row, 'f1_std')} | {mean(lambda l: l['metrics']['balanced_accuracy']):.1f} | {used} | {added} |")
    gap = by["supervised"]
    for first, second in (("supervised", "FixMatch"), ("supervised, released", "FixMatch, released")):
        runs = {arm: {(l["split"], l["seed"]): l["metrics"]["f1"] for l in lines if l["arm"] == arm} for arm in (first, second)}
        d = [100 * (runs[second][k] - runs[first][k]) for k in runs[first]]
        m = sum(d) / len(d)
        print(f"\n{second} minus {first}: {m:+.1f} F1, standard deviation over runs {math.sqrt(sum((x - m) ** 2 for x in d) / max(1, len(d) - 1)):.1f}")
    print()


for name in ("equal", "leak"):
    print("##", name)
    table(name)
