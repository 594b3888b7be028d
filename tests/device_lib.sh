# Shared by device_first.sh and device_second.sh: stages with their own limits inside a limit of the whole. What a stage had written
# when it was cut stays. Sourced with: $OUT, $LIMIT (seconds of the whole); REHEARSAL=10 makes every limit a tenth as long.
SELF=$PWD/tests/$(basename "$0")
REHEARSAL=${REHEARSAL:-1}
PYTHON=${PYTHON:-python3}
BINARIES=${BINARIES:-build/carry}
export FORTY_CUDA_MEASURE OUT REHEARSAL PYTHON BINARIES
set -m # a process group for each stage: it ends as a whole

now() { # tenths of a second since the script began
  local t=${EPOCHREALTIME/[.,]/}
  echo $((t / 100000 - BEGAN))
}
began=${EPOCHREALTIME/[.,]/}
export BEGAN=${BEGAN:-$((began / 100000))}
tenths() { echo $(($1 * 10 / REHEARSAL)); }
seconds() { echo "$(($1 / 10)).$(($1 % 10))"; }
END=$(tenths "${LIMIT:-0}")

say() { echo "$*" | tee -a "$OUT/summary.txt"; }

running=""
alive() { kill -0 "$1" 2>/dev/null; }
end_group() { # a second to end by itself; what hangs in the driver cannot be waited for
  local i
  kill -CONT -- "-$1" 2>/dev/null
  kill -TERM -- "-$1" 2>/dev/null
  for i in 1 2 3 4 5 6 7 8 9 10; do alive "$1" || break; sleep 0.1; done
  kill -KILL -- "-$1" 2>/dev/null
}
CHOICES=${CHOICES:-}
trap 'for p in $running; do end_group "$p"; done; [ -z "$CHOICES" ] || rm -rf "$CHOICES"' EXIT
trap 'exit 143' TERM INT HUP

# stage_alone "$@": where this script was called as `--stage NAME SECONDS` (by stage), runs that one and ends
stage_alone() {
  [ "${1:-}" = --stage ] || return 0
  set +m # its processes are of its group
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  trap 'exit 143' TERM
  "stage_$2" "$3"
  exit
}

# stage NAME SECONDS: runs stage_NAME of the calling script; 0: it ended well; 124: it was cut
stage() {
  local name=$1 from end pid rc=0 word
  from=$(now)
  end=$((from + $(tenths "$2")))
  [ $end -le "$END" ] || end=$END
  if [ $((end - from)) -lt $((10 / REHEARSAL)) ]; then
    say "$name: not begun, no time is left"
    return 124
  fi
  "$SELF" --stage "$name" $(((end - from) / 10)) &
  pid=$!
  running="$running $pid"
  while alive $pid && [ "$(now)" -lt $end ]; do sleep 0.1; done
  if alive $pid; then
    end_group $pid
    rc=124
  else
    wait $pid || rc=$?
  fi
  running=${running/ $pid/}
  case $rc in 0) word=ended ;; 124) word="cut at its limit" ;; *) word="failed ($rc)" ;; esac
  say "$name: $word after $(seconds $(($(now) - from))) s"
  return $rc
}

# where PyTorch's packages keep CUDA's libraries
nvidia_dirs() {
  timeout -k 1 20 "$PYTHON" - <<'P' 2>/dev/null
import importlib.util as u
for name in ("nvidia.cudnn", "nvidia.nccl", "nvidia.cu13", "nvidia.cu12"):
    try:
        s = u.find_spec(name)
        if s: print(list(s.submodule_search_locations)[0])
    except ModuleNotFoundError:
        pass
P
}
library_paths() {
  local d
  for d in $(nvidia_dirs); do LD_LIBRARY_PATH=$d/lib:${LD_LIBRARY_PATH:-}; done
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:/usr/local/cuda/lib64
}

sources() { # what the programs are made of, as one number
  find common gen classify kernels tests/*.c tests/*.h tests/device tests/shim \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.txt' \) -print |
    LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16
}

# build FOLDER [CMAKE OPTION...]
build() {
  local to=$1
  shift
  cmake -S tests/device -B "$to" $(command -v ninja >/dev/null && echo -G Ninja) "-DNVIDIA_DIRS=$(nvidia_dirs | tr '\n' ';')" "$@" &&
    cmake --build "$to" -j "$(nproc)" && sources >"$to/sources"
}
