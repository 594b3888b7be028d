#!/usr/bin/env python3
"""MedSora's three ideas, one taken away at a time: seeds, matched steps, scores on held-out videos.

    python3 results/medsora/ablation.py build/release/forty CLIPS.h5 WORK_FOLDER NAME [--seeds 3 --vae-steps N --steps N]

CLIPS.h5 has videos with the split `test`. For each seed: a VAE with and one without frequency compensation, then generators on
them. Writes results/medsora/ablation/NAME.json and .md. Standard library only."""
import argparse
import json
import os
import shutil
import statistics
import subprocess

a = argparse.ArgumentParser()
a.add_argument("forty"), a.add_argument("clips"), a.add_argument("work"), a.add_argument("name")
a.add_argument("--seeds", type=int, default=3), a.add_argument("--vae-steps", type=int, default=250), a.add_argument("--steps", type=int, default=500)
a.add_argument("--batch", type=int, default=8), a.add_argument("--samples", type=int, default=16)
a.add_argument("--more", action="store_true", help="two arms more: the paper's alpha and g(t), the released gather")
o = a.parse_args()

ON = ["align.weight=0.5", "align.mode=spatial", "align.margin=0", "align.decay=false", "align.teacher=vae", "align.flow=lucas-kanade"]
ARMS = {  # name: (frequency compensation, settings)
    "all three ideas": ("clean", ON),
    "no alignment": ("clean", []),
    "no frequency compensation": ("none", ON),
    "raster instead of spiral": ("clean", ON + ["generator.scan=raster"]),
    "attention instead of Mamba": ("clean", ON + ["generator.mixer=attention"]),
}
if o.more:
    ARMS["alignment at the paper's strength"] = ("clean", ["align.weight=0.01", "align.mode=paper", "align.teacher=vae", "align.flow=lucas-kanade"])
    ARMS["released gather instead of spiral"] = ("clean", ON + ["generator.scan=released"])


def run(*args):
    r = subprocess.run([o.forty, *args], capture_output=True, text=True)
    if r.returncode:
        raise SystemExit(f"{' '.join(args)}\n{r.stderr}")
    return r.stdout


os.makedirs(o.work, exist_ok=True)
base = os.path.join(o.work, "base.yaml")
with open(base, "w") as f:
    f.write(f"task: generator\ndata: {{clips: {os.path.abspath(o.clips)}}}\nvae: {{steps: {o.vae_steps}, batch: 4}}\n"
            f"generator: {{steps: {o.steps}, batch: {o.batch}, ema: 0.99, clip: 1}}\n")
rows = []
for seed in range(o.seeds):
    for arm, (fc, settings) in ARMS.items():
        d = os.path.join(o.work, f"{arm.replace(' ', '-').replace(chr(39), '')}-{seed}")
        sets = [x for s in [f"vae.frequency_compensation={fc}", f"seed={seed}", *settings] for x in ("--set", s)]
        out = os.path.join(d, "scores.json")
        if not os.path.exists(out):
            first = os.path.join(o.work, f"vae-{fc}-{seed}")  # trained once for each seed and kind, then copied
            if not os.path.exists(os.path.join(first, "run.json")):
                run("train", base, "-o", first, "--resume", "--set", "task=vae", *sets[:4])
            if not os.path.exists(os.path.join(d, "vae", "run.json")):
                shutil.copytree(first, os.path.join(d, "vae"), dirs_exist_ok=True)
                open(os.path.join(d, ".forty"), "a").close()  # the mark without which forty writes into no folder that holds something
            run("train", base, "-o", d, "--resume", *sets)
            scores = run("evaluate", d, "--data", o.clips, "--split", "test", "--samples", str(o.samples), "--json")
            with open(out, "w") as f:
                f.write(scores)
        s = json.load(open(out))
        s.pop("run")
        rows.append({"arm": arm, "seed": seed, **s})
        print(arm, seed, {k: v for k, v in s.items()}, flush=True)

os.makedirs("results/medsora/ablation", exist_ok=True)
json.dump({"vae_steps": o.vae_steps, "steps": o.steps, "batch": o.batch, "rows": rows}, open(f"results/medsora/ablation/{o.name}.json", "w"), indent=1)


def show(arm, get, digits, relative_to=None):
    v = [get(r) for r in rows if r["arm"] == arm]
    if relative_to:
        v = [get(r) - get(next(q for q in rows if q["arm"] == relative_to and q["seed"] == r["seed"])) for r in rows if r["arm"] == arm]
    sd = statistics.stdev(v) if len(v) > 1 else float("nan")
    return f"{statistics.mean(v):{'+' if relative_to else ''}.{digits}f} ± {sd:.{digits}f}"


with open(f"results/medsora/ablation/{o.name}.md", "w") as f:
    f.write(f"# {o.name}: {rows[0]['clips']} held-out clips, {o.seeds} seeds, VAE {o.vae_steps} steps, generator {o.steps} steps at batch {o.batch}\n\n"
            "Mean ± standard deviation over seeds; differences are paired by seed. Denoising errors compare only between arms on the same VAE "
            "(all but `no frequency compensation`). Band errors: squared error of the spectrum's lower, middle, upper third, times 1,000.\n\n"
            "| arm | denoising error | difference | VAE PSNR, dB | low | middle | high | frames of samples correlate, % (real: "
            f"{rows[0]['consistency_real']:.1f}) |\n|---|---|---|---|---|---|---|---|\n")
    for arm in ARMS:
        cells = [arm, show(arm, lambda r: r["denoising_mse"], 4), "" if arm == "all three ideas" else show(arm, lambda r: r["denoising_mse"], 4, "all three ideas"),
                 show(arm, lambda r: r["psnr"], 2)]
        cells += [show(arm, lambda r, k=k: 1000 * r["band_error"][k], 3) for k in range(3)] + [show(arm, lambda r: r["consistency_samples"], 2)]
        f.write("| " + " | ".join(cells) + " |\n")
print(open(f"results/medsora/ablation/{o.name}.md").read())
