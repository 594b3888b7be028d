# The examples under valgrind's memcheck: a network trained through the library (train_network.c), and an experiment driven from C
# (run_experiment.c) with few steps: no error, nothing lost.
# Without AVX-512, which valgrind lacks; blocks of 20 instructions, as oneDNN's unrolled code is too long for its translator otherwise.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"
build=$(dirname "$F")
command -v valgrind >/dev/null || { echo "skipped: no valgrind"; exit 77; }
[ -e "$build/libforty.so" ] || { echo "skipped: the library is not built here (FT_LIBRARY)"; exit 77; }
grep -q -e '^FT_ISAS:STRING=all' -e '^FT_ISAS:STRING=.*base' "$build/CMakeCache.txt" || { echo "skipped: no kernels without AVX-512 (FT_ISAS)"; exit 77; }
export OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=SSE41 FORTY_ISA=base LD_LIBRARY_PATH=$build
sed -e 's/videos=40/videos=24/; s/steps=10/steps=2/; s/generated=10/generated=4/; s/bootstrap=200/bootstrap=100/' "$root/examples/run_experiment.c" >run_experiment.c
cp "$root/examples/train_network.c" .
for e in train_network run_experiment; do
  works gcc -std=c11 -g -O1 -I"$root/common" -I"$root" $e.c -o $e -L"$build" -lforty -ljansson
done
memcheck=(nice -n 19 valgrind --vex-guest-max-insns=20 --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite)
works "${memcheck[@]}" ./train_network bars.safetensors
grep -q "of 160 new clips are right" out || die "the network says nothing"
works "${memcheck[@]}" ./run_experiment results
grep -q '"computed": 7' out || die "the experiment says nothing"
done_testing
