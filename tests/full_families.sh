# Every generator family from training to scores, with the switches that are its own.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
works "$F" phantom -o p.h5 --videos 16 --size 32
# the other families, on their own VAEs and on others', with images beside the clip
other() { printf '%s\n' "task: generator" "data: {clips: p.h5}" "vae: {model: $2, steps: 3, batch: 2, gan: 0.5, gan_from: 1}" "generator: {model: $1, steps: 4, batch: 2, images: $3}" >e.yaml; }
for spec in "endora-tiny vae-tiny 3" "feat-tiny image-vae-tiny 2" "lvdm-tiny lvdm-vae-tiny 0" "lvdm-tiny vae-tiny 2" "forty-tiny vae-tiny 3"; do
  other $spec
  works "$F" train e.yaml -o family --force
  works "$F" generate family -n 2 -o s.h5 --force --steps 3
  works "$F" evaluate family --data p.h5 --split all
done
# one of pixels as an arm: no VAE is trained, and its clips are looked at as others' are
printf '%s\n' "data: {phantom: true, size: 32, frames: 8}" "phantom: {videos: 40}" "labels: 4" "splits: 1" "generated: 6" \
  "arms: [supervised, styleganv-tiny generator.steps=6 generator.batch=4, mostganv-tiny generator.steps=6 generator.batch=4, styleganv-tiny generator.steps=6 generator.batch=4 generator.condition=labels clips.use=labelled name=told]" "classifier: {steps: 4, batch: 2}" "protocol: quickstart" >x.yaml
works "$F" experiment run x.yaml -o arms
[ -n "$(find arms -name conditions.csv)" ] || die "a generator of pixels was told no classes"
[ -z "$(find arms -name latents.safetensors)" ] || die "a VAE was trained for an arm of pixels"
works "$F" experiment run x.yaml -o arms
grep -q "0 stages computed" out || die "$(tail -1 out)"
other feat-tiny vae-tiny 0
half=$("$F" doctor --json | python3 -c 'import json, sys; print("bf16" if json.load(sys.stdin)["bf16"] else "f32")') # needs AVX-512
works "$F" train e.yaml -o family --force --set generator.guidance=paper --set generator.vlb=true --set align.weight=1 --set align.teacher=vae --set precision=$half
# Endora's prior: its adapter is trained, and no part of the model's file; FEAT's released kernel where a frame has 64 tokens
other endora-tiny vae-tiny 0
works "$F" train e.yaml -o family --force --set save_every=2 --set align.weight=0.5 --set align.mode=endora --set align.teacher=vae --set align.input=frames
grep -q "endora, weight 0.5" family/run.json || die "$(cat family/run.json)"
! grep -q prior_adapter family/ema.safetensors || die "the adapter is in ema.safetensors"
works "$F" generate family -n 2 -o s.h5 --force --steps 3
other feat-tiny image-vae-tiny 0
works "$F" phantom -o big.h5 --videos 4 --size 64 --frames 4
works "$F" train e.yaml -o family --force --set data.clips=big.h5 --set generator.kernel=released
fails 1 "lvdm-tiny has no variance" -- "$F" train e.yaml -o other --force --set generator.model=lvdm-tiny --set generator.vlb=true
other lvdm-tiny lvdm-vae-tiny 2
fails 1 "lvdm-vae-tiny" "a multiple of 4" -- "$F" train e.yaml -o other --force
done_testing
