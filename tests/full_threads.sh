# Two contexts in two threads under ThreadSanitizer: the compute core by clang, without OpenMP, whose runtime the sanitizer does not
# understand; each context has one thread of its own.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"
cd "$root"
echo 'int main(void) { return 0; }' >"$T/try.c"
clang -fsanitize=thread "$T/try.c" -o "$T/try" 2>/dev/null || { echo "skipped: no clang with ThreadSanitizer"; exit 77; }
flags=(-std=c11 -D_GNU_SOURCE '-DFT_VERSION="x"' -O1 -g -fsanitize=thread -I. -w)
objects() { # PREFIX FLAGS... -- FILES
  local prefix=$1 own=()
  shift
  while [ "$1" != -- ]; do own+=("$1"); shift; done
  shift
  printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c 'out=$1; shift; clang "$@" -c {} -o "$out$(basename {} .c).o"' _ "$T/$prefix" "${flags[@]}" "${own[@]}"
}
objects core_ -DFT_HAVE_base -- common/base/*.c common/graph/*.c kernels/cpu/onednn.c kernels/cpu/cpu_select.c tests/test_context.c
objects cpu_ -DFT_ISA=base -ffast-math -fno-finite-math-only -- $(ls kernels/cpu/*.c | grep -v -e onednn.c -e cpu_select.c)
cd "$T"
clang -fsanitize=thread *.o -o test_context -lcmocka -ldnnl -lfftw3f -lmd -ljansson -lpthread -ldl -lm
works env OMP_NUM_THREADS=1 TSAN_OPTIONS=halt_on_error=1 timeout 300 ./test_context
done_testing
