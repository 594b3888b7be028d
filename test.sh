#!/usr/bin/env bash
# Sets up, builds and runs the tests: ./test.sh (a quarter of an hour on two cores) or ./test.sh --full.
set -euo pipefail
cd "$(dirname "$0")"
. ./setup.sh
full=no
[ "${1:-}" = --full ] && full=yes
install_missing libcmocka-dev python3 python3-h5py python3-pandas clang g++ openmpi-bin libopenmpi-dev libgdcm-dev
ls "$(clang -print-resource-dir)"/lib/linux/libclang_rt.fuzzer-* >/dev/null 2>&1 || install_missing libclang-rt-dev # Debian 13
export XDG_CACHE_HOME=$PWD/build/cache # what is measured once on a machine is measured here
echo "forty: optimised build and tests" >&2
cuda=OFF # nvcc and the real cuDNN take minutes; the kernels themselves are tested on a stand-in for CUDA
[ $full = yes ] && cuda=ON
build test -DBUILD_TESTING=ON -DFT_LIBRARY=ON -DFT_DICOM=ON -DFT_CUDA=$cuda -DCMAKE_CUDA_ARCHITECTURES=90-virtual # for machines: full_registers.sh
ctest --preset test -j "$(nproc)" -LE full
echo "forty: AddressSanitizer and UndefinedBehaviorSanitizer" >&2
# the sanitizers see the kernels that run here; addresses do not depend on their optimisation
build debug -DBUILD_TESTING=ON -DFT_DICOM=ON -DFT_ISAS=native -DFT_KERNEL_OPT=-O1 -DCMAKE_C_FLAGS_DEBUG="-O1 -g1" -DCMAKE_CXX_FLAGS_DEBUG=-g1
# leaks of libraries' one-time set-up are not ours: tests/leaks.supp names them. GCC 13 and later move stack frames to a heap whose
# frames are not aligned to 64 bytes (detect_stack_use_after_return, off in GCC 12): every aligned store of AVX-512 faults there
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=0:suppressions=$PWD/tests/asan.supp LSAN_OPTIONS=suppressions=$PWD/tests/leaks.supp:print_suppressions=0
ctest --preset debug -j "$(nproc)" -LE full
echo "forty: warnings under clang" >&2
cmake --preset clang -DBUILD_TESTING=OFF -DFT_SANITIZE=OFF -DFT_CUDA=OFF -DFT_ISAS=native >build-clang.log 2>&1 || { tail build-clang.log >&2; exit 1; }
python3 tests/clang_warnings.py build/clang
rm -f build-clang.log
echo "forty: half a minute of fuzzing for each reader" >&2
FORTY_FUZZ_JOBS=$((5 * $(nproc))) tests/fuzz/run.sh 30
if [ $full = yes ]; then
  echo "forty: the compute core compiles for aarch64" >&2
  install_missing gcc-aarch64-linux-gnu libc6-dev-arm64-cross slurmctld slurmd chromium valgrind
  for file in kernels/cpu/*.c common/graph/*.c common/base/*.c; do
    aarch64-linux-gnu-gcc -std=c11 -D_GNU_SOURCE -DFT_VERSION='"x"' -DFT_ISA=base -O1 -fopenmp -Wall -Wextra -Werror -Wno-psabi \
      -Wno-maybe-uninitialized -I. -idirafter /usr/include -c "$file" -o /dev/null
  done
  ctest --preset test -L full
  ctest --preset debug -L full-sanitized -j "$(nproc)"
fi
echo "all tests passed" >&2
