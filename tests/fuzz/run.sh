#!/usr/bin/env bash
# Fuzzes the readers with libFuzzer: tests/fuzz/run.sh SECONDS [TARGET...], each for that long, FORTY_FUZZ_JOBS (else one for each
# core) at a time. The corpus grows in build/fuzz/corpus; inputs that crash, leak, take 2 s or 500 MB, or break a promise of
# targets.c stay in build/fuzz/findings, and it ends with 1.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:?usage: tests/fuzz/run.sh SECONDS [TARGET...]}
shift
cd "$root"
b=build/fuzz
command -v clang >/dev/null || { echo "fuzz: clang is not there (Debian: apt install clang)" >&2; exit 1; }
mkdir -p $b/corpus $b/findings $b/log
exec 9>$b/lock # of two at once one builds
flock 9
{ # the kernels are not what is fuzzed
  cmake -S . -B $b -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang -DFT_SANITIZE=ON -DFT_FUZZ=ON -DFT_ISAS=native \
    -DFT_KERNEL_OPT=-O1 -DFT_CUDA=OFF -DBUILD_TESTING=ON -DCMAKE_C_FLAGS_DEBUG="-O1 -g1" && ninja -C $b fuzz fuzz_replay forty
} >$b/build.log 2>&1 || { tail -30 $b/build.log >&2; echo "fuzz: the build failed; the whole log is in $b/build.log" >&2; exit 1; }
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(env -u FORTY_FUZZ_TARGET $b/tests/fuzz 2>&1 | sed -n 's/.*one of: //p' | tr ' ' '\n')
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:quarantine_size_mb=16:detect_stack_use_after_return=0:suppressions=$root/tests/asan.supp
export LSAN_OPTIONS=suppressions=$root/tests/leaks.supp:print_suppressions=0
# seeds are made once for each state of what makes them
stamp=$(cat tests/fuzz/seeds.sh <(find tests/fuzz/corpus -type f | sort) | sha256sum)
[ "$(cat $b/seeds.stamp 2>/dev/null)" = "$stamp" ] || {
  bash tests/fuzz/seeds.sh $b/forty $b/corpus || { echo "fuzz: the seeds could not be made" >&2; exit 1; }
  echo "$stamp" >$b/seeds.stamp
}
exec 9>&-

one() {
  local t=$1 dict=() dir rc=0 most=20000 late=2
  [ -e "tests/fuzz/$t.dict" ] && dict=(-dict="tests/fuzz/$t.dict")
  [ "$t" = clipstore ] && most=60000 late=15 # libhdf5 gets 2 s of computing, which take longer on a machine at work
  dir=$(mktemp -d /dev/shm/forty-fuzz.XXXXXX 2>/dev/null || mktemp -d)
  FORTY_FUZZ_TARGET=$t FORTY_FUZZ_DIR=$dir $b/tests/fuzz "$b/corpus/$t" "${dict[@]}" -artifact_prefix="$b/findings/$t-" \
    -max_total_time="$seconds" -timeout=$late -rss_limit_mb=500 -malloc_limit_mb=500 -max_len=$most -print_final_stats=1 -use_value_profile=1 \
    >"$b/log/$t" 2>&1 || rc=$?
  rm -rf "$dir"
  echo $rc >"$b/log/$t.rc"
}
export -f one
export b seconds
rm -f $b/log/*.rc
printf '%s\n' "${targets[@]}" | xargs -P "${FORTY_FUZZ_JOBS:-$(nproc)}" -I{} bash -c 'one {}'

rc=0
printf '%-20s %10s %8s %7s  %s\n' target runs "a second" edges findings
for t in "${targets[@]}"; do
  log=$b/log/$t found=none
  if [ "$(cat "$log.rc")" != 0 ]; then
    rc=1
    found=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
    [ -n "$found" ] || found="see $log"
  fi
  stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
  edges=$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2)
  printf '%-20s %10s %8s %7s  %s\n' "$t" "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" "$edges" "$found"
done
[ $rc = 0 ] || echo "again: FORTY_FUZZ_TARGET=TARGET $b/tests/fuzz FILE" >&2
exit $rc
