# Registers and spills of every kernel against the committed table.
set -euo pipefail
command -v nvcc >/dev/null || { echo "skipped: no nvcc"; exit 77; }
python3 "$(dirname "$0")/cuda_registers.py"
