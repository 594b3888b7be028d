# Changes one sign, constant or comparison at a time in the kernels and sees whether the tests of the ops notice: tests/mutants.py.
set -euo pipefail
exec python3 "$(dirname "$0")/mutants.py" run
