# Machine code of the costliest kernels: instructions per term, wide loads, tensor cores, no local memory.
set -euo pipefail
command -v nvcc >/dev/null || { echo "skipped: no nvcc"; exit 77; }
python3 "$(dirname "$0")/cuda_sass.py"
