# The blocks of examples/python.md, in their order, as a reader runs them. Those that need PyTorch are left out where it is not.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"
python=
for p in "${FORTY_PYTHON:-}" "$root/venv/bin/python" python3 /usr/bin/python3; do
  [ -n "$p" ] && "$p" -c 'import h5py, numpy, pandas' 2>/dev/null && { python=$p; break; }
done
[ -n "$python" ] || { echo "skipped: no Python with h5py and pandas (FORTY_PYTHON names another)"; exit 77; }
torch=no
"$python" -c 'import torch, safetensors' 2>/dev/null && torch=yes
mkdir bin && ln -s "$F" bin/forty
export PATH=$T/bin:$PATH
# block-1.yaml, block-2.bash ...
n=$(python3 - "$root/examples/python.md" <<'P'
import re, sys
blocks = re.findall(r"^```(\w+)\n(.*?)^```$", open(sys.argv[1], encoding="utf-8").read(), re.M | re.S)
for i, (kind, text) in enumerate(blocks):
    open(f"block-{i}.{kind}", "w", encoding="utf-8").write(text)
print(len(blocks))
P
)
[ "$n" -ge 8 ] || die "the page has $n blocks"
for ((i = 0; i < n; i++)); do
  case $(echo block-$i.*) in
    *.yaml) cp block-$i.yaml "$(sed -n '1s/^# //p' block-$i.yaml)" ;;
    *.bash) works bash -eu block-$i.bash ;;
    *.python)
      if [ $torch = no ] && grep -q '^import torch' block-$i.python; then echo "without PyTorch: block $i is left out"; continue; fi
      works env OMP_NUM_THREADS=1 "$python" -W error block-$i.python ;;
    *) die "a block of another kind: $(echo block-$i.*)" ;;
  esac
done
done_testing
