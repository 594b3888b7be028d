# Ten minutes of fuzzing for every reader.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
command -v clang >/dev/null || { echo "no clang"; exit 77; }
"$root/tests/fuzz/run.sh" 600
