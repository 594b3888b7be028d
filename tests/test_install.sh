# What `cmake --install` brings: pages that say what the program says, a library that programs of others build with by pkg-config
# alone (both examples, C++, CMake's find_package), pages for man.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"
build=$(dirname "$F")
works python3 "$root/tests/house.py" "$root"
works python3 "$root/docs/make.py" "$F" made
for f in settings.md man completions; do
  diff -r "made/$f" "$root/docs/$f" >&2 || die "docs/$f is not what the program says: docs/make.py PROGRAM makes it anew"
done
grep -q 'project(forty VERSION ${FORTY_VERSION}' "$root/CMakeLists.txt" || die "the version stands twice"
[ "$("$F" --version)" = "forty $(sed -n 's/^#define FORTY_VERSION_M.* //p; s/^#define FORTY_VERSION_P.* //p' "$root/common/forty/version.h" | paste -sd.)" ] || die "the program has another version"
[[ $(grep -m 1 '^## ' "$root/CHANGELOG.md") =~ ^"## $("$F" --version | sed 's/forty //'), "20[0-9]{2}-[0-9]{2}-[0-9]{2}$ ]] || die "CHANGELOG.md does not begin with this version and its date"
# what is of the process and not of a context: common/base/context.h says of each why. GCC numbers statics of functions
if ! grep -q "^FT_SANITIZE:BOOL=ON" "$build/CMakeCache.txt"; then
  cat >allowed <<'END'
backend.c looked_for
backend.c plugin
backend.c why
cli.c cli
cli.c printed
clipstore.c once
diffusion.c alpha_bar
diffusion.c filled
files.c fences
files.c fences_lock
files.c known_sums
files.c next_sum
files.c once
files.c sums
files.c unfinished
fourier.c planner
interrupt.c asked
interrupt.c ft_interrupted
interrupt.c looked_at
lease.c all
lease.c looked
lease.c number
memory.c count
memory.c fail_at
onednn.c engine
onednn.c once
onednn.c version_text
ranks.c all
tiles.h known
video_decoder.c complaints
video_decoder.c once
END
  lib=$build/static/libforty.a
  [ -e "$lib" ] || lib=$build/libforty_lib.a
  objdump -t "$build/libforty_core.a" "$lib" |
    awk '/file format/ { file = $1; sub(/\.o:$/, "", file) }
         $4 ~ /^(\.l?(bss|data)$|\.l?(bss|data)\.[^r]|\*COM\*)/ && $3 == "O" { sub(/\.[0-9]+$/, "", $6); print (($6 == "known") ? "tiles.h" : file), $6 }' |
    sort -u >found
  diff allowed found >&2 || die "variables of the process: common/base/context.h lists those that may be"
fi
if ! grep -q "^FT_LIBRARY:BOOL=ON" "$build/CMakeCache.txt"; then
  echo "the library is not built here (FT_LIBRARY)"
  done_testing
  exit 0
fi
works cmake --install "$build" --prefix "$T/prefix"
export PKG_CONFIG_PATH=$(dirname "$(find "$T/prefix" -name forty.pc)") LD_LIBRARY_PATH=$(dirname "$(find "$T/prefix" -name libforty.so)")
for f in bin/forty share/man/man1/forty-predict.1 share/man/man5/forty-settings.5 share/bash-completion/completions/forty share/doc/forty/LICENSE; do
  [ -e "prefix/$f" ] || die "$f is not installed"
done
works prefix/bin/forty models
bash -c '. prefix/share/bash-completion/completions/forty; COMP_WORDS=(forty predict --cr); COMP_CWORD=2; _forty; [ "${COMPREPLY[*]}" = --crop ]' || die "no completion"
for e in train_network run_experiment; do # shellcheck disable=SC2046
  works gcc -std=c11 -O2 -Wall -Wextra -Werror "$root/examples/$e.c" -o $e $(pkg-config --cflags --libs forty)
done
[ "$(wc -l <"$root/examples/train_network.c")" -lt 150 ] || die "the example is too long"
works ./train_network bars.safetensors
grep -q "of 160 new clips are right" out || die "the network says nothing"
works "$F" info bars.safetensors
works ./run_experiment results
python3 -c 'import json; r = json.load(open("out")); assert len(r["arms"]) == 2, r' || die "no table"
echo '#include <forty/forty.h>
int main() { ft_params *p = ft_params_new(1); ft_params_free(p); return !(p && FORTY_VERSION >= 100); }' >plus.cc
works g++ -std=c++17 -Wall -Werror plus.cc -o plus $(pkg-config --cflags --libs forty)
works ./plus
nm -D --defined-only "$LD_LIBRARY_PATH/libforty.so" | awk '$2 != "A" && $3 !~ /^ft_/ { print; bad = 1 } END { exit bad }' >&2 || die "libforty.so shows other names"
mkdir find && printf '%s\n' 'cmake_minimum_required(VERSION 3.21)' 'project(x C)' 'find_package(forty 0.1 REQUIRED)' \
  "add_executable(x $root/examples/train_network.c)" 'target_link_libraries(x forty::forty)' >find/CMakeLists.txt
works cmake -S find -B find/build -DCMAKE_PREFIX_PATH="$T/prefix"
works cmake --build find/build
# three packages: the program, the library, what programs are built with
if command -v cpack >/dev/null && command -v dpkg-shlibdeps >/dev/null; then
  works cpack -G DEB --config "$build/CPackConfig.cmake" -B packages
  packed() { dpkg-deb -c "packages/$1"_*.deb >list && dpkg-deb -f "packages/$1"_*.deb Depends >depends; }
  packed forty
  grep -q '/usr/bin/forty$' list && grep -q 'man1/forty.1$' list || die "the package forty lacks the program"
  ! grep -E 'include|libforty\.' list >&2 || die "the package forty holds the library"
  grep -q libavcodec depends || die "the program depends on nothing"
  packed libforty0.1
  grep -q '/libforty.so.0.1 ->' list && ! grep -E 'include|/bin/|libforty\.so( |$)' list >&2 || die "the package libforty0.1"
  packed libforty-dev
  grep -q '/include/forty/forty.h$' list && grep -q '/libforty.so ->' list && grep -q 'forty.pc$' list && grep -q 'libforty.a$' list || die "the package libforty-dev"
  grep -qF "libforty0.1 (= $(sed -n 's/^forty //p' <<<"$("$F" --version)"))" depends || die "libforty-dev belongs to no library"
  [ "$(ls packages/*.deb | wc -l)" = 3 ] || die "other packages: $(ls packages)"
fi
done_testing
