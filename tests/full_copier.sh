# A generator that learned four videos by heart is called a copier, one that saw many for a short time is not, and
# generator.stop: memorisation ends the training before that.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# of 48 phantoms 12 are for tests; held out are 32 of the rest, so that 4 are left to learn, or 12, so that 24 are
cat >e.yaml <<'Y'
threads: 2
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 48}
labels: 4
splits: 1
validation: 32
generated: 32
bootstrap: 100
vae: {steps: 150, batch: 2}
generator: {steps: 300, batch: 4, sample_steps: 20, lr: 0.003, ema: 0.98, flip: false, posterior: mean, stop_every: 50}
arms:
  - supervised
  - "forty-tiny name=heart"
  - "forty-tiny generator.stop=memorisation name=stopped"
classifier: {model: x3d-tiny, steps: 2, batch: 4}
rehearse: never
Y
works "$F" experiment run e.yaml -o few
grep "of 64 quick samples\|weights of step" err
works "$F" experiment report e.yaml -o few --json
cp out few.json
many=(--set validation=12 --set generator.steps=40 --set "arms=supervised,forty-tiny name=brief")
works "$F" experiment run e.yaml -o many "${many[@]}"
works "$F" experiment report e.yaml -o many "${many[@]}" --json
cp out many.json
python3 - <<'P'
import glob, json
few = {a["arm"]: a for a in json.load(open("few.json"))["arms"]}
many = {a["arm"]: a for a in json.load(open("many.json"))["arms"]}
for a in (few["heart"], few["stopped"], many["brief"]):
    m = a["memorisation"]
    print(a["arm"], "copies %.2f [%.2f, %.2f]" % tuple(m["copies"]), "held out %.2f [%.2f, %.2f]" % tuple(m["copies_held_out"]), "of %.2f" % m["coverage"][0])
heart, stopped, brief = few["heart"]["memorisation"], few["stopped"]["memorisation"], many["brief"]["memorisation"]
assert heart["copying"] and heart["coverage"][0] >= 0.75, heart
assert not brief["copying"] and not stopped["copying"], (brief, stopped)
runs = [d for d in glob.glob("few/runs/generator-*") if json.load(open(d + "/run.json")).get("kept_step")]
run = json.load(open(runs[0] + "/run.json"))
kept, last = int(run["kept_step"]), int(run["step"])
assert len(runs) == 1 and 0 < kept == last - 50 < 250, run  # by itself, at the look behind that of the weights that count
ema, before = (open("%s/%s.safetensors" % (runs[0], n), "rb").read() for n in ("ema", "kept"))
assert ema == before
P
done_testing
