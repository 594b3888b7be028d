#!/usr/bin/env python3
"""What each fault of the released downstream protocol adds to F1: results/protocol-faults/README.md. Standard library only.

    results/protocol-faults/faults.py build/release/forty WORK [--splits N] [--threads N]

WORK keeps weights, clips and runs (an hour on two cores); a second call only reports. Steps: a TimeSformer is trained on 1,600
other phantom videos and then disturbed, which stands in for Kinetics weights; 200 clips of yet other phantom videos stand in
for those of a perfect generator; then equal.yaml and leak.yaml."""
import argparse
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
    """The summary of a study against a baseline: {arm: row}"""
    out = subprocess.run([program, "experiment", "run", os.path.join(HERE, name + ".yaml"), "-o", name, "--json", "--threads", a.threads,
                          "--set", "splits=" + a.splits, "--set", "baseline=" + baseline], check=True, stdout=subprocess.PIPE).stdout
    return {r["arm"]: r for r in json.loads(out)["arms"]}


def percent(row, key):
    return "" if row[key] is None else "%.1f" % (100 * row[key])


def effects(name):
    """Of every arm: F1, and what its fault adds to the arm without it, in percent; markdown rows and points for the picture."""
    by = {b: run(name, b) for b in ("FixMatch", "supervised")}
    lines = [json.loads(l) for l in open(name + "/results.jsonl")]
    points = []
    print("| arm | F1 [95 % interval] | sd | balanced accuracy | clips with a pseudo-label | its fault adds [95 % interval] |\n| --- | --- | --- | --- | --- | --- |")
    for arm, row in by["supervised"].items():
        mine = [l for l in lines if l["arm"] == arm]
        mean = lambda f: 100 * sum(map(f, mine)) / len(mine)
        base = by["supervised" if arm.startswith("supervised") else "FixMatch"][arm]
        d = None if base["delta_f1"] is None else tuple(100 * float(base[k]) for k in ("delta_f1", "delta_ci_low", "delta_ci_high"))
        added = "" if d is None else "%+.1f [%+.1f, %+.1f]" % d
        used = "" if arm.startswith("supervised") else "%.1f %%" % mean(lambda l: l["utilisation"])
        print(f"| {arm} | {percent(row, 'f1_mean')} [{percent(row, 'f1_ci_low')}, {percent(row, 'f1_ci_high')}] | {percent(row, 'f1_std')} | {mean(lambda l: l['metrics']['balanced_accuracy']):.1f} | {used} | {added} |")
        points.append((arm, 100 * float(row["f1_mean"]), 100 * float(row["f1_ci_low"]), 100 * float(row["f1_ci_high"])))
    for first, second in (("supervised", "FixMatch"), ("supervised, released", "FixMatch, released")):
        runs = {arm: {(l["split"], l["seed"]): l["metrics"]["f1"] for l in lines if l["arm"] == arm} for arm in (first, second)}
        d = [100 * (runs[second][k] - runs[first][k]) for k in runs[first]]
        m = sum(d) / len(d)
        print(f"\n{second} minus {first}: {m:+.1f} F1, standard deviation over runs {math.sqrt(sum((x - m) ** 2 for x in d) / max(1, len(d) - 1)):.1f}")
    print()
    return points


def picture(path, groups):
    """F1 with intervals as SVG; the line is the answer `always polyp`."""
    rows = sum(len(g[1]) + 1 for g in groups)
    left, width, low, high, y = 300, 760, 50, 100, 20
    at = lambda v: left + (width - left - 20) * (min(max(v, low), high) - low) / (high - low)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {24 * rows + 50}" font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>']
    for v in range(low, high + 1, 5):
        out.append(f'<line x1="{at(v):.1f}" x2="{at(v):.1f}" y1="8" y2="{24 * rows + 20}" stroke="#d8dfe6"/><text x="{at(v):.1f}" y="{24 * rows + 36}" text-anchor="middle" fill="#5c6b7a">{v}</text>')
    out.append(f'<line x1="{at(85.7):.1f}" x2="{at(85.7):.1f}" y1="8" y2="{24 * rows + 20}" stroke="#b3261e" stroke-dasharray="4 3"/><text x="{at(85.7):.1f}" y="{24 * rows + 48}" text-anchor="middle" fill="#b3261e" font-size="11">always polyp</text>')
    for title, points in groups:
        out.append(f'<text x="8" y="{y + 4}" font-weight="bold">{title}</text>')
        y += 24
        for name, mean, a, b in points:
            hue = "#b3261e" if "best of" in name or "released" in name else "#0b6bcb"
            out.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{name}</text><line x1="{at(a):.1f}" x2="{at(b):.1f}" y1="{y}" y2="{y}" stroke="{hue}" stroke-width="3" opacity=".5"/><circle cx="{at(mean):.1f}" cy="{y}" r="5" fill="{hue}"/>')
            y += 24
    open(path, "w").write("\n".join(out) + "</svg>\n")


groups = []
for name, title in (("equal", "Lengths drawn alike"), ("leak", "Normal videos 20 times as long")):
    print("##", title)
    groups.append((title, effects(name)))
picture(os.path.join(HERE, "faults.svg"), groups)
