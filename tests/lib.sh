# Helpers of the shell tests: `fails CODE WORDS... -- COMMAND...` and `says WORDS -- COMMAND`.
F=$1
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T"
passed=0
die() { echo "FAILED: $*" >&2; exit 1; }
# fails CODE "word" "word" -- command: ends with CODE, its message holds every word
fails() {
  local code=$1 words=() rc=0
  shift
  while [ "$1" != -- ]; do words+=("$1"); shift; done
  shift
  "$@" >out 2>err || rc=$?
  [ "$rc" = "$code" ] || { cat err >&2; die "'$*' ended with $rc, not $code"; }
  for w in "${words[@]}"; do grep -qF -- "$w" err || { cat err >&2; die "'$*' does not say '$w'"; }; done
  [ -z "$(find . -maxdepth 2 -name '*.partial')" ] || die "'$*' left a partial file"
  passed=$((passed + 1))
}
works() {
  local rc=0
  "$@" >out 2>err || rc=$?
  [ $rc = 0 ] || { cat err >&2; die "'$*' ended with $rc"; }
  passed=$((passed + 1))
}
# killed_at GLOB command: runs it, and kills it (-9) as soon as a file of that name is there
killed_at() {
  local file=$1 pid i
  shift
  "$@" >/dev/null 2>&1 &
  pid=$!
  for i in $(seq 1200); do compgen -G "$file" >/dev/null && break; sleep 0.02; done
  kill -9 $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
}
done_testing() { echo "$passed passed, 0 failed"; }
