"""class_signal.py FORTY CONFIG RUN: do clips of a class show it?

A logistic regression on the frozen features of the pool's real videos, with all their labels, says the class of each generated clip. Its
share of agreement with the class that the generator was told, arm by arm, mean and 95 % interval over label splits (Student's t). A
generator that was told shuffled labels (`generator.condition: shuffled-labels`) must be at one half. Needs h5py, scikit-learn, safetensors.
"""
import collections, json, subprocess, sys, warnings

import h5py
import numpy as np
from safetensors.numpy import load_file
from scipy import stats
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore", category=FutureWarning)
forty, config, run = sys.argv[1:]
stages = json.loads(subprocess.run([forty, "experiment", "status", config, "-o", run, "--json"], check=True, capture_output=True).stdout)
file = lambda stage, name: f"{run}/runs/{stage}/{name}"
kind, arm = ({s["name"]: s[k] for s in stages} for k in ("kind", "arm"))


def seen(path):
    """Of each clip, as it is: class token and mean patch token, mean and deviation over frames."""
    x = load_file(path)["clean"]  # (clips, frames, 2, width)
    return np.concatenate([x.mean(1), x.std(1)], 1).reshape(len(x), -1)


store = next(s["name"] for s in stages if s["kind"] in ("phantom", "clips"))
with h5py.File(file(store, "clips.h5")) as f:
    name, label = (f["video/" + k].asstr()[:][f["clip/video"][:]] for k in ("name", "label"))
split = json.load(open(f"{run}/splits/split-0.json"))
pool = np.isin(name, split["pool"])
real = next(s["name"] for s in stages if s["kind"] == "features" and not s["reads"])
x = seen(file(real, "features.safetensors"))
judge = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-4, 1, 11), max_iter=5000)).fit(x[pool], label[pool])
test = np.isin(name, split["test"])
print(f"judge: {pool.sum()} real clips; of {test.sum()} clips of the test list it says {100 * judge.score(x[test], label[test]):.1f} % right")
right = collections.defaultdict(list)
for s in stages:
    source = [r for r in s["reads"] if kind[r] == "samples"]
    if s["kind"] != "features" or s["state"] != "done" or not source:
        continue
    with h5py.File(file(source[0], "clips.h5")) as f:
        want = f["video/label"].asstr()[:][f["clip/video"][:]]
    if not set(want) <= set(label):
        continue  # a generator that was told nothing
    said = judge.predict(seen(file(s["name"], "features.safetensors")))
    right[arm[source[0]]].append(np.mean([np.mean(said[want == c] == c) for c in set(want)]))
print("| arm | trained | agreement, % [95 % interval] |\n|---|---|---|")
for name, v in right.items():
    half = stats.t.ppf(0.975, len(v) - 1) * np.std(v, ddof=1) / len(v) ** 0.5 if len(v) > 1 else np.nan
    print(f"| {name} | {len(v)} | {100 * np.mean(v):.1f} [{100 * (np.mean(v) - half):.1f}, {100 * (np.mean(v) + half):.1f}] |")
