# A generator of pixels: training without a VAE, resume, clips, and what it refuses. As an arm: full_families.sh.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/tests/lib.sh"

works "$F" phantom -o p.h5 --videos 16 --size 32 --frames 8
printf '%s\n' "task: generator" "data: {clips: p.h5}" "precision: f32" "generator: {model: styleganv-tiny, steps: 6, batch: 4, sheet_every: 6}" \
  "gan: {r1_every: 4, augment: bgc}" >e.yaml
works "$F" train e.yaml -o whole
[ -e whole/samples/000006.png ] || die "no sheet of samples"
[ ! -e whole/vae ] && [ ! -e whole/latents.safetensors ] || die "a generator of pixels has a VAE"
head -1 whole/log.csv | grep -q "step,lr,loss,critic_loss,real_sign,grad_norm,penalty,augmented" || die "$(head -1 whole/log.csv)"

# a killed and resumed run goes on as if nothing had been: discriminator, average and all
killed_at "part/state.safetensors" "$F" train e.yaml -o part --set save_every=1
[ -e part/run.json ] || works "$F" train e.yaml -o part --resume
for f in state.safetensors weights.safetensors ema.safetensors log.csv samples/000006.png; do cmp whole/$f part/$f || die "$f of a resumed run differs"; done

# a clip depends on the seed and its number alone; styles drawn to their mean make other clips
works "$F" generate whole -n 5 -o five.h5 --gif five
works "$F" generate whole -n 2 -o two.h5 --gif two
works "$F" generate whole -n 2 -o mean.h5 --gif mean --set gan.truncation=0.5
works "$F" info five.h5 --json
python3 -c 'import json; i = json.load(open("out")); assert i["clips"] == 5, i'
first=styleganv-tiny-00000.gif second=styleganv-tiny-00001.gif
cmp five/$second two/$second || die "a clip depends on how many there are"
! cmp -s mean/$second two/$second || die "truncation changes nothing"

# parts of a batch: the same clips, other groups of the discriminator
works "$F" train e.yaml -o parts --set generator.batch=8 --set generator.accumulate=2 --set generator.steps=2 --set generator.sheet_every=0

# the published loss, and pairs without the penalty on drawn clips: each teaches something else
for o in "paired gan.r1=1" "unpenalised gan.r2=0" "drawn gan.r1=0 --set gan.r2=1" "alone gan.loss=logistic"; do
  works "$F" train e.yaml -o "${o%% *}" --set generator.steps=2 --set generator.sheet_every=0 --set gan.r1_every=1 --set ${o#* }
done
for f in unpenalised drawn alone; do ! cmp -s paired/weights.safetensors $f/weights.safetensors || die "$f learns as paired does"; done

# the other family: the same loop
works "$F" train e.yaml -o most --set generator.model=mostganv-tiny --set generator.steps=2 --set generator.sheet_every=0
works "$F" generate most -n 1 -o most.h5

fails 1 "5 clips, which is no multiple of 4" -- "$F" train e.yaml -o no --set generator.batch=5

# told classes: clips of one, or of every one in turn; guidance needs a prediction of none
works "$F" train e.yaml -o told --set generator.condition=labels --set generator.steps=2 --set generator.sheet_every=2
grep -q ",polyp" told/conditions.csv || die "$(head -3 told/conditions.csv)"
works "$F" generate told -n 2 -o polyp.h5 --class polyp --gif polyp
works "$F" generate told -n 2 -o turn.h5 --gif turn
cmp -s polyp/$first turn/$first && cmp -s polyp/$second turn/$second && die "the class changes nothing"
fails 1 "no class tumour" -- "$F" generate told -n 1 -o no.h5 --class tumour
fails 1 "knows no classes" -- "$F" generate whole -n 1 -o no.h5 --class polyp
fails 1 "class_guidance" "no guidance for such generators" -- "$F" train e.yaml -o no --set generator.condition=labels --set generator.class_guidance=2

fails 1 "styleganv-tiny" "align.weight: 0" -- "$F" train e.yaml -o no --set align.weight=1
works "$F" evaluate whole --data p.h5 --split all --samples 3 --json
python3 -c 'import json; e = json.load(open("out")); assert e["clips"] == 16 and -100 <= e["consistency_samples"] <= 100, e'
works "$F" phantom -o odd.h5 --videos 2 --size 48 --frames 8
fails 1 "48 pixels" "a power of two from 32" "--size: 32 or 64" -- "$F" train e.yaml -o no --set data.clips=odd.h5
done_testing
