#!/usr/bin/env bash
# The first minutes on a machine with one NVIDIA GPU. Ends within 560 seconds whatever happens; what was known by then lies in $OUT, at
# most 8 files. Needs PyTorch for the opponent; nvcc, cmake and a C compiler only where no programs are brought along.
#
#   tests/device_first.sh build [ARCHITECTURE]   without a GPU: the programs for one (90-real), into build/carry
#   OUT=FOLDER tests/device_first.sh             with it
#
# Parity comes first, then forty's own numbers, then the opponent's. summary.txt says what was shown, device.jsonl holds a line for
# every measurement. REHEARSAL=10 makes all limits a tenth as long; JOBS="model:batch ..." measures others.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
OUT=${OUT:-build/device-first}
LIMIT=${LIMIT:-550}
JOBS=${JOBS:-endora-b:2 x3d-s:8 feat-s:2 medsora-b:2 medsora-b:16 timesformer-b16:4}
OPPONENTS=${OPPONENTS:-endora-b:2 x3d-s:8 medsora-b:2 feat-s:2 medsora-b:16 timesformer-b16:4}
export JOBS OPPONENTS LIMIT
. tests/device_lib.sh

stage_env() {
  exec >"$OUT/env.txt" 2>&1
  date -u
  uname -a
  nproc
  nvidia-smi
  nvcc --version
  ncu --version
  compute-sanitizer --version
  echo "libraries: $LD_LIBRARY_PATH"
  "$PYTHON" -c 'import torch; print("torch", torch.__version__, "cuDNN", torch.backends.cudnn.version(), "NCCL", torch.cuda.nccl.version())'
  return 0
}

stage_doctor() {
  echo "doctor with the programs of $BINARIES" >>"$OUT/env.txt"
  ldd "$BINARIES/device_models" >>"$OUT/env.txt" 2>&1
  FORTY_CUDA_MEASURE=0 "$BINARIES/device_models" doctor >>"$OUT/env.txt" 2>&1
}

stage_build() { build build/device "-DCMAKE_CUDA_ARCHITECTURES=native" >>"$OUT/env.txt" 2>&1; }

# shards LOG COUNT COMMAND...: together, each with its part of the cases
shards() {
  local log=$1 n=$2 i bad=0 pids=""
  shift 2
  ulimit -f 15000
  for ((i = 0; i < n; i++)); do SHARD=$i/$n OMP_NUM_THREADS=2 FORTY_CUDA_MEASURE=0 "$@" >>"$log" 2>&1 & pids="$pids $!"; done
  for i in $pids; do wait "$i" || bad=1; done
  return $bad
}
stage_ops() { shards "$OUT/ops.log" 8 "$BINARIES/device_ops"; }
stage_models() { shards "$OUT/models.log" 8 "$BINARIES/device_models" parity; }

# What a library was expected to do and did not is a failure, even where forty's own kernel gives the right numbers.
left_to_us() { cat "$OUT/ops.log" "$OUT/models.log" 2>/dev/null | grep 'own kernel' | grep -vc 'no multiple of 16'; }

stage_forty() {
  local job rc bad=0
  for job in $JOBS; do
    rc=0
    FORTY_DEVICE_CHOICES=$CHOICES timeout -k 1 "$(seconds "$(tenths 25)")" "$BINARIES/device_models" bench "${job%:*}" "${job#*:}" bf16 >"$scratch/line" 2>"$scratch/said" || rc=$?
    if grep -q '^{' "$scratch/line"; then grep '^{' "$scratch/line" >>"$OUT/device.jsonl"
    else
      bad=1
      printf '{"who": "forty", "model": "%s", "batch": %s, "error": "%s"}\n' "${job%:*}" "${job#*:}" \
        "$({ tail -2 "$scratch/line"; echo "ended with $rc"; } | tr -c '[:alnum:] .,:;()/%-' ' ')" >>"$OUT/device.jsonl"
    fi
    { echo "$job"; cat "$scratch/said"; } >>"$OUT/profile.txt"
  done
  return $bad
}

stage_profile() {
  local job bad=0
  for job in $JOBS; do
    FORTY_DEVICE_CHOICES=$CHOICES timeout -k 1 "$(seconds "$(tenths 20)")" "$BINARIES/device_models" profile "${job%:*}" "${job#*:}" bf16 >>"$OUT/profile.txt" 2>&1 || bad=1
  done
  return $bad
}

stage_pytorch() { "$PYTHON" tests/device/opponent.py run "$OUT/device.jsonl" "$1" $OPPONENTS 2>>"$OUT/torch.log"; }

# our own kernels: the libraries' make thousands of launches and are not ours
sanitized="relu layernorm_both groupnorm batchnorm dw_cube attention_local ssd_chunked ssd_long_state combine_share wkv softmax reduce_all augment_equalize"
stage_memcheck() { sanitize memcheck; }
stage_racecheck() { sanitize racecheck; }
sanitize() {
  ulimit -f 7000
  FORTY_CUDA_MEASURE=0 compute-sanitizer --tool "$1" --error-exitcode 9 "$BINARIES/device_ops" $sanitized >>"$OUT/sanitizer.log" 2>&1
}

stage_alone "$@"
if [ "${1:-}" = build ]; then
  mkdir -p build/carry
  build build/device-carry -DMARCH=x86-64-v3 "-DCMAKE_CUDA_ARCHITECTURES=${2:-90-real}" || exit 1
  for p in device_ops device_models; do strip -o "build/carry/$p" "build/device-carry/$p" || exit 1; done
  cp build/device-carry/sources build/carry/
  du -sh build/carry
  exit
fi

mkdir -p "$OUT"
CHOICES=$(mktemp -d) # forty's own timing and profile use the same algorithms
export CHOICES
for f in env.txt summary.txt ops.log models.log device.jsonl profile.txt torch.log sanitizer.log; do rm -f "$OUT/$f"; done
library_paths
stage env 8
# The programs serve when they have begun on the device, whatever the doctor then found.
bad=0
serve() { grep -q ', sm_[0-9]*, .* GiB' "$OUT/env.txt" && ! grep -q 'no kernel image' "$OUT/env.txt"; }
if [ ! -x "$BINARIES/device_models" ]; then say "no programs in $BINARIES"
elif [ "$(sources)" != "$(cat "$BINARIES/sources" 2>/dev/null)" ]; then say "the programs in $BINARIES are of other sources"
else stage doctor 30 || bad=1
fi
if ! serve && ! grep -q '^FAILED the device' "$OUT/env.txt"; then # which needs no other programs
  export BINARIES=build/device
  bad=0
  stage build 130 && { stage doctor 30 || bad=1; }
fi
grep -h '^FAILED\|goes on op by op\|error:\|own kernel' "$OUT/env.txt" | tail -20 | tee -a "$OUT/summary.txt"
if ! serve; then
  say "nothing can be shown, see env.txt"
  exit 1
fi

compiler=""
if timeout -k 1 30 "$PYTHON" -c 'import torch' 2>/dev/null; then # while no time is measured: the opponent is compiled into its cache
  nice -n 19 "$PYTHON" tests/device/opponent.py compile $OPPONENTS >>"$OUT/torch.log" 2>&1 &
  compiler=$!
  running="$running $compiler"
fi

stage ops 60 || bad=1
planned=$(awk '/PLANNED/ {n += $4} END {print n + 0}' "$OUT/ops.log")
say "ops: $(grep -c '^\[       OK' "$OUT/ops.log") of $planned cases are right, $(grep -c '^\[  FAILED' "$OUT/ops.log") wrong: $(sed -n 's/^\[  FAILED  \] //p' "$OUT/ops.log" | tr '\n' ' ')"
grep -q LOST "$OUT/ops.log" && say "ops: the device was lost"
stage models 80 || bad=1
say "models: $(grep -c '^passed' "$OUT/models.log") of 16 are as the CPU's; wrong: $(sed -n 's/^FAILED //p' "$OUT/models.log" | tr '\n' ';')"
own=$(left_to_us)
say "left to our own kernels by a library: $own"
[ "$own" = 0 ] || bad=1

[ -z "$compiler" ] || kill -STOP -- "-$compiler" 2>/dev/null
stage forty 90 || bad=1
stage profile 40 || bad=1
if [ -n "$compiler" ]; then
  end_group "$compiler"
  running=${running/ $compiler/}
fi
stage pytorch 150 || bad=1
if command -v compute-sanitizer >/dev/null; then
  stage memcheck 30 || bad=1
  stage racecheck 30 || bad=1
  say "sanitizer: $(grep -h 'ERROR SUMMARY\|RACECHECK SUMMARY' "$OUT/sanitizer.log" | tr '\n' ';')"
else say "sanitizer: compute-sanitizer is not here"; fi
timeout -k 1 5 "$PYTHON" tests/device/opponent.py table "$OUT/device.jsonl" | tee -a "$OUT/summary.txt"
say "all: $([ $bad = 0 ] && echo right || echo "not all is right, see above") after $(seconds "$(now)") s"
exit $bad
