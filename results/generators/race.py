#!/usr/bin/env python3
"""Five generators on the same latents: the same wall time, the same multiplications. Seeds, held-out scores, a control.

    venv/bin/python results/generators/race.py build/release/forty CLIPS.h5 WORK_FOLDER NAME [--seconds 75 --seeds 3 --page]
                                                              [--races wall,half,guided,flow,flops --dino DINOV2-S14.safetensors]
                                                              [--vae RUN]
                                                                              (needs h5py, numpy and, for --page, pillow)

CLIPS.h5 has videos with the split `test`. For each seed one VAE (of --vae-steps; or that of --vae for all), whose latents every
generator is trained on. Steps of a generator:
--seconds by its measured step time (`wall`); half of forty's (`half`); the same time, and forty's clips drawn with
autoguidance 2 (`guided`); the same time, but everybody a rectified flow (`flow`); as many
as make the multiplications of medsora's steps (`flops`). Control: the same pipeline with a generator of one step. Writes results/generators/NAME.json, NAME.md and with --page NAME.html (only for data
that may be shown).

Scores: the EMA's epsilon error on held-out clips, averaged over t (all trained on the linear schedule, so that it means the same;
a flow has none);
Frechet distance and nearest training clip as in results/medsora/samplers.py: 32 principal components of 8x8 colours at 4 times.
DINOv2 (with --dino, imported weights): unbiased kernel distance (x.y / d + 1)^3 of class tokens, by `forty features` at --dino-size
pixels, to the held-out clips as that seed's VAE rebuilds them, so that the generator is measured and not the VAE. (To the clips
themselves the VAE's own blur is the largest part, and specks that no clip has come nearer than the rebuilt clips.)
`copies`: how near samples come to training clips, relative to how near held-out clips come (1: as near; towards 0: copies)."""
import argparse
import base64
import io
import json
import os
import shutil
import statistics
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from frechet import frechet, look
import through_vae
from through_vae import kernel_distance, tensors

a = argparse.ArgumentParser()
a.add_argument("forty"), a.add_argument("clips"), a.add_argument("work"), a.add_argument("name")
a.add_argument("--seconds", type=float, default=75), a.add_argument("--seeds", type=int, default=3), a.add_argument("--batch", type=int, default=16)
a.add_argument("--vae-steps", type=int, default=400), a.add_argument("--samples", type=int, default=64), a.add_argument("--size", default="tiny")
a.add_argument("--page", action="store_true"), a.add_argument("--races", default="wall,flops")
a.add_argument("--vae"), a.add_argument("--dino"), a.add_argument("--dino-size", type=int, default=224)
o = a.parse_args()
FAMILIES = ("forty", "medsora", "endora", "feat", "lvdm")
RACES = o.races.split(",")
here = os.path.dirname(os.path.abspath(__file__))


run = lambda *args: through_vae.run(o.forty, *args)


def nearest(p, q):
    return float(np.median(np.sqrt(((p[:, None] - q[None]) ** 2).sum(-1)).min(1)))


def seen(store, name):
    """what DINOv2 sees in each clip of a store"""
    path = os.path.join(o.work, name)
    if not os.path.exists(path):
        run("features", store, "--model", "dinov2-s14", "--weights", o.dino, "--set", f"features.size={o.dino_size}", "-o", path)
    return np.concatenate(list(tensors(path).values()))


os.makedirs(o.work, exist_ok=True)
with h5py.File(o.clips) as f:
    split = [s.decode() if isinstance(s, bytes) else s for s in f["video/split"][:]]
    test = np.array([split[v] == "test" for v in f["clip/video"][:]])
    real = f["clips"][:]
frames, pixels = real.shape[1], real.shape[2]
train, held = look(real[~test]), look(real[test])
mean = train.mean(0)
basis = np.linalg.svd(train - mean, full_matrices=False)[2][:32].T
train, held = (train - mean) @ basis, (held - mean) @ basis
floor, apart = frechet(train, held), nearest(held, train)

kept = os.path.join(o.work, "bench.json")  # step times decide the numbers of steps: measured once
bench = json.load(open(kept)) if os.path.exists(kept) else {}
for family in FAMILIES:
    if family not in bench:
        b = json.loads(run("bench", "train-step", "--model", f"{family}-{o.size}", "--batch", str(o.batch), "--latent-frames", str(frames // 4),
                           "--latent-size", str(pixels // 8), "--runs", "9", "--json"))
        bench[family] = {"ms": b["ms"]["median"], "gmac": b["gmac"], "mib": b["peak_rss_mib"], "parameters": b["parameters"]}
json.dump(bench, open(kept, "w"))
wall = {f: max(2, round(o.seconds * 1000 / bench[f]["ms"])) for f in FAMILIES}
flops = {f: max(2, round(wall["medsora"] * bench["medsora"]["gmac"] / bench[f]["gmac"])) for f in FAMILIES}
steps_of = {"wall": wall, "half": {"forty": wall["forty"] // 2}, "guided": {"forty": wall["forty"]}, "flow": wall, "flops": flops}
SAME = {("forty", "flow"), ("medsora", "flops")}  # are that family's `wall`
arms = [("medsora", "control", 1)] + [(f, r, steps_of[r][f]) for r in RACES for f in FAMILIES if f in steps_of[r] and (f, r) not in SAME]

base = os.path.join(o.work, "base.yaml")
with open(base, "w") as f:
    f.write(f"task: generator\ndata: {{clips: {os.path.abspath(o.clips)}}}\nvae: {{steps: {o.vae_steps}, batch: 4}}\n"
            f"generator: {{batch: {o.batch}, ema: 0.999, clip: 1, beta: linear}}\nsave_every: 100000\n")
rows = []
for seed in range(o.seeds):
    vae, latents = os.path.join(o.work, f"vae-{seed}"), None
    if o.vae and not os.path.exists(vae):
        shutil.copytree(o.vae, vae)
    if not os.path.exists(os.path.join(vae, "run.json")):
        run("train", base, "-o", vae, "--resume", "--set", "task=vae", "--set", f"seed={seed}")
    rebuilt = os.path.join(o.work, f"rebuilt-{0 if o.vae else seed}.h5")
    if o.dino and not os.path.exists(rebuilt):
        through_vae.rebuild(o.forty, vae, o.clips, test, rebuilt, o.work)
    for family, race, steps in arms:
        d = os.path.join(o.work, f"{family}-{race}-{seed}")
        out = os.path.join(d, "scores.json")
        if not os.path.exists(out):
            shutil.rmtree(d, ignore_errors=True)
            shutil.copytree(vae, os.path.join(d, "vae"))
            open(os.path.join(d, ".forty"), "w").close()  # the mark without which forty writes into no folder that holds something
            if latents:
                shutil.copy(latents, d)
            run("train", base, "-o", d, "--resume", "--set", f"seed={seed}", "--set", f"generator.model={family}-{o.size}", "--set", f"generator.steps={steps}",
                *(["--set", "generator.objective=flow"] if race == "flow" else []), *(["--set", "generator.autoguidance=2"] if race == "guided" else []))
            s = json.loads(run("evaluate", d, "--data", o.clips, "--split", "test", "--samples", "16", "--json"))
            run("generate", d, "-n", str(o.samples), "-o", os.path.join(d, "samples.h5"), "--force")
            with h5py.File(os.path.join(d, "samples.h5")) as f:
                x = (look(f["clips"][:]) - mean) @ basis
            s |= {"frechet": frechet(x, held), "copies": nearest(x, train) / apart, "seconds": json.load(open(os.path.join(d, "run.json")))["seconds"]}
            if o.dino:
                sample = seen(os.path.join(d, "samples.h5"), f"seen-{family}-{race}-{seed}.safetensors")
                s["dino"] = kernel_distance(sample, seen(rebuilt, f"seen-rebuilt-{0 if o.vae else seed}.safetensors"))
                s["dino_real"] = kernel_distance(sample, seen(o.clips, "seen-real.safetensors")[test])
            json.dump(s, open(out, "w"))
        latents = os.path.join(d, "latents.safetensors")
        rows.append({"family": family, "race": race, "steps": steps, "seed": seed, **json.load(open(out))})
        print(rows[-1], flush=True)
json.dump({"bench": bench, "real_frechet": floor, "batch": o.batch, "size": o.size, "vae_steps": o.vae_steps, "rows": [{k: v for k, v in r.items() if k != "run"} for r in rows]},
          open(os.path.join(here, o.name + ".json"), "w"), indent=1)


def values(family, race, key):
    race = "wall" if (family, race) in SAME else race
    if key == "denoising_mse" and (family == "forty" or race == "flow"):
        return []
    return [r[key] for r in rows if r["family"] == family and r["race"] == race]


def show(v, digits=3):
    return "" if not v else f"{statistics.mean(v):.{digits}f} ± {statistics.stdev(v) if len(v) > 1 else float('nan'):.{digits}f}"


TITLES = {"wall": f"The same wall time ({o.seconds:.0f} s of training steps)", "half": "Half of it", "guided": "The same wall time, and autoguidance 2", "flow": "The same wall time, all of them rectified flows",
          "flops": "The same multiplications (those of medsora above)"}
SHORT = {"wall": "same time", "half": "half of it", "guided": "guided", "flow": "as a flow", "flops": "same MAC"}
LABELS = {"denoising_mse": "epsilon error, held out", "frechet": "Frechet distance to held-out clips", "consistency_samples": "frames correlate, %", "copies": "copies"}
LABELS |= {"dino": "DINOv2 distance to rebuilt held-out clips", "dino_real": "to the clips themselves"} if o.dino else {}
text = [f"# {o.name}: {int(test.sum())} held-out clips, {o.seeds} seeds, `*-{o.size}`, batch {o.batch}, {frames} frames of {pixels} pixels", "",
        "Mean ± standard deviation over seeds. Columns: see results/generators/race.py.", ""]
TITLES = {k: v for k, v in TITLES.items() if k in RACES}
for race, title in TITLES.items():
    text += [f"## {title}", "", "| generator | steps | seconds | TMAC | " + " | ".join(LABELS.values()) + " |", "|---" * (4 + len(LABELS)) + "|"]
    for f in (f for f in FAMILIES if f in steps_of[race]):
        steps = steps_of[race][f]
        cells = [f"{f}-{o.size}", str(steps), f"{statistics.mean(values(f, race, 'seconds')):.0f}", f"{steps * bench[f]['gmac'] / 1000:.1f}"]
        text.append("| " + " | ".join(cells + [show(values(f, race, k), 1 if k[0] == "c" and k != "copies" else 3) for k in LABELS]) + " |")
    text += ["| control: one step | 1 | | | " + " | ".join(show(values("medsora", "control", k), 1 if k[0] == "c" and k != "copies" else 3) for k in LABELS) + " |",
             f"| real training clips | | | | | {floor:.3f} | {rows[0]['consistency_real']:.1f} | |" + (" | |" if o.dino else ""), ""]
text += ["## A step", "", "| generator | parameters | GMAC a step | ms a step | steps/s | peak memory, MiB |", "|---|---|---|---|---|---|"]
for f in FAMILIES:
    b = bench[f]
    text.append(f"| {f}-{o.size} | {b['parameters']:,} | {b['gmac']:.2f} | {b['ms']:.0f} | {1000 / b['ms']:.1f} | {b['mib']:.0f} |")
open(os.path.join(here, o.name + ".md"), "w").write("\n".join(text) + "\n")
print("\n".join(text))

# ---- a page to look at --------------------------------------------------------------------------------------------------------------


def gif(clips):
    from PIL import Image

    rows_of = np.concatenate(list(clips), 2)  # side by side
    images = [Image.fromarray(x).quantize(48, dither=Image.Dither.NONE) for x in rows_of[::2]]
    b = io.BytesIO()
    images[0].save(b, "GIF", save_all=True, append_images=images[1:], duration=160, loop=0, optimize=True)
    return "data:image/gif;base64," + base64.b64encode(b.getvalue()).decode()


def dots(key):
    """every seed as a dot, the mean as a line, for both races; the control in words, since it is far off"""
    kinds = [(f, r) for r in TITLES for f in FAMILIES if values(f, r, key)]
    every, ref = [v for f, r in kinds for v in values(f, r, key)], floor if key == "frechet" else None
    low, high = min(every + ([ref] if ref else [])), max(every)
    low, high = (0, high) if low < high / 2 else (low - (high - low) / 8, high)
    x = lambda v: 125 + 200 * (v - low) / (high - low)
    s = [f'<svg viewBox="0 0 380 {22 * len(kinds) + 62}" role="img"><text x="0" y="14" class="t">{LABELS[key]}</text>']
    for i, (f, r) in enumerate(kinds):
        y, v = 36 + 22 * i, values(f, r, key)
        m = statistics.mean(v)
        s.append(f'<text x="0" y="{y + 4}">{f}, {SHORT[r]}</text><line x1="125" x2="325" y1="{y}" y2="{y}" class="g"/>')
        s.append(f'<line x1="{x(m):.1f}" x2="{x(m):.1f}" y1="{y - 7}" y2="{y + 7}" class="m"/>' + "".join(f'<circle cx="{x(q):.1f}" cy="{y}" r="3.5"/>' for q in v))
        s.append(f'<text x="380" y="{y + 4}" text-anchor="end">{m:.3f}</text>')
    end = 22 * len(kinds) + 30
    if ref:
        s.append(f'<line x1="{x(ref):.1f}" x2="{x(ref):.1f}" y1="26" y2="{end}" class="r"/><text x="{x(ref) - 4:.1f}" y="{end}" text-anchor="end">real {ref:.2f}</text>')
    s.append(f'<text x="0" y="{end + 22}">Control, one step: {statistics.mean(values("medsora", "control", key)):.2f}. A dot is a seed.</text>')
    return "".join(s) + "</svg>"


if o.page:
    figures = [("Held-out clips, real", gif(real[test][:4]))]
    for f, race in [(f, "wall") for f in FAMILIES] + [("medsora", "control")]:
        with h5py.File(os.path.join(o.work, f"{f}-{race}-0", "samples.h5")) as h:
            figures.append((f"{f}-{o.size}, {wall[f]} steps, {o.seconds:.0f} s" if race == "wall" else "Control: one step of training", gif(h["clips"][:4])))
    cards = "".join(f"<figure><img src='{src}' alt='{name}'><figcaption>{name}</figcaption></figure>" for name, src in figures)
    steps = "".join(f"<tr><td>{f}-{o.size}</td><td>{bench[f]['parameters']:,}</td><td>{bench[f]['gmac']:.2f}</td><td>{1000 / bench[f]['ms']:.1f}</td><td>{bench[f]['mib']:.0f}</td></tr>" for f in FAMILIES)
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Generators on the {o.name}</title>
<style>:root{{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--soft:#667;--line:#ddd;--dot:#2563a8;--ref:#b4541a}}@media(prefers-color-scheme:dark){{:root{{--fg:#e6e6e6;--bg:#15181c;--soft:#9aa;--line:#333;--dot:#7fb2ea;--ref:#e69a5c}}}}
body{{font:16px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:46rem;margin:2rem auto;padding:0 1rem}}figure{{margin:0 0 1.2rem}}img{{width:100%;image-rendering:pixelated;border-radius:4px}}
figcaption{{color:var(--soft);font-size:.9rem}}svg{{display:block;width:100%;max-width:34rem;height:auto;margin:1.5rem 0}}svg text{{font-size:12px;fill:var(--fg)}}svg .t{{font-weight:600}}circle{{fill:var(--dot);fill-opacity:.75}}.g{{stroke:var(--line)}}.m{{stroke:var(--dot);stroke-width:2}}.r{{stroke:var(--ref);stroke-dasharray:4 3}}
.w{{overflow-x:auto}}table{{border-collapse:collapse;font-size:.9rem}}td,th{{padding:.25rem .5rem;border-bottom:1px solid var(--line);text-align:right}}td:first-child,th:first-child{{text-align:left}}</style>
<h1>Five generators, the same latents</h1><p>The procedural {o.name}: {int((~test).sum())} training and {int(test.sum())} held-out clips of {frames} frames at {pixels} pixels, {o.seeds} seeds; one VAE for each seed.
Written by <code>results/generators/race.py</code>; numbers as text in <code>{o.name}.md</code>.</p>{cards}{dots("denoising_mse")}{dots("frechet")}
<h2>A training step, batch {o.batch}</h2><div class="w"><table><tr><th>generator</th><th>parameters</th><th>GMAC</th><th>steps/s</th><th>MiB</th></tr>{steps}</table></div></html>
"""
    open(os.path.join(here, o.name + ".html"), "w").write(page)
