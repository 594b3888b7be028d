# Nobody is hurt: folders and files of others stay as they are, whatever is asked for; names of every kind come through a whole
# experiment or are refused where they enter.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$F" phantom -o p.h5 --videos 24 --size 16 --frames 8 --mp4 v >/dev/null 2>&1
cat >e.yaml <<'Y'
threads: 1
data: {clips: p.h5}
positive: polyp
labels: 8
generated: 4
splits: 1
arms: [supervised, noise]
bootstrap: 100
classifier: {model: x3d-tiny, steps: 2, batch: 2}
vae: {steps: 2, batch: 2}
rehearse: never
Y
print_of() { find "$1" -printf '%p %y %l %s %T@\n' | sort | sha256sum; find "$1" -type f -exec sha256sum {} + | sort | sha256sum; }

# ---- the folder `home`: files, a run of somebody else, links to elsewhere ----
mkdir -p home/runs/classifier-0123456789abcdef home/.config away/runs
echo years >home/thesis.tex
echo other >home/config.yaml
echo other >home/summary.csv
echo other >home/runs/classifier-0123456789abcdef/log.csv
echo '{}' >home/run.json
echo x >home/.config/x
echo precious >away/ema.safetensors
ln -s ../away home/vae
ln -s ../away/ema.safetensors home/ema.safetensors
before=$(print_of home; print_of away)
untouched() { [ "$(print_of home; print_of away)" = "$before" ] || die "'$*' changed a folder that is not forty's"; passed=$((passed + 1)); }
attempt() { # ends with an error, and changes nothing
  local rc=0
  "$@" >out 2>err || rc=$?
  [ $rc = 1 ] || [ $rc = 2 ] || { cat err >&2; die "'$*' ended with $rc"; }
  grep -q "forty: error: ." err || die "'$*': no message"
  untouched "$@"
}
for force in "" --force; do
  for task in vae generator classifier; do attempt "$F" train e.yaml -o home --set task=$task $force; done
  attempt "$F" train e.yaml -o home --set task=vae --resume $force
  attempt "$F" experiment run e.yaml -o home $force
  attempt "$F" experiment worker e.yaml -o home $force
  attempt "$F" experiment gc e.yaml -o home $force
  attempt "$F" experiment report e.yaml -o home $force
  attempt "$F" experiment run e.yaml -o home --dry-run $force
  attempt "$F" phantom -o home --videos 4 --size 16 --frames 8 $force
  attempt "$F" ingest --videos v --labels v/labels.csv -o home --size 16 --frames 8 $force
  attempt "$F" init x3d-tiny -o home $force
  attempt "$F" generate home -n 1 -o g.h5 $force
  attempt "$F" generate home -n 1 -o home $force
  attempt "$F" evaluate home --data p.h5 $force
  attempt "$F" predict home v/phantom-00000.mp4 -o home $force
  attempt "$F" features p.h5 --model home -o home $force
  attempt "$F" weights import home/ema.safetensors --as x3d-tiny -o home $force
  attempt "$F" weights export home -o home $force
done
fails 1 "did not make (such as" -- "$F" train e.yaml -o home --set task=vae --force
untouched train

# ---- a run is replaced when the new one is complete ----
works "$F" train e.yaml -o run --set task=vae
sum=$(sha256sum run/ema.safetensors)
echo mine >run/notes.txt
ln -s ../away/ema.safetensors run/held-out.safetensors
fails 1 "--force" -- "$F" train e.yaml -o run --set task=vae
fails 1 "nowhere.h5" -- "$F" train e.yaml -o run --set task=vae --set data.clips=nowhere.h5 --force
fails 1 "not known" -- "$F" train e.yaml -o run --set task=vae --set vae.model=nothing --force
[ "$(sha256sum run/ema.safetensors)" = "$sum" ] && [ -e run/run.json ] || die "a wrong setting lost the run that was there"
works "$F" train e.yaml -o run --set task=vae --force --seed 7
[ "$(sha256sum run/ema.safetensors)" != "$sum" ] && [ -e run/run.json ] || die "--force did not replace the run"
[ "$(cat run/notes.txt)" = mine ] && [ ! -e run/.new ] || die "--force took more than its own files, or left something"
[ "$(cat away/ema.safetensors)" = precious ] || die "a link was followed"
works mkdir empty
works "$F" train e.yaml -o empty --set task=vae

# ---- files beside the store ----
for f in labels.csv phantom-00001.mp4; do
  rm -rf theirs && mkdir theirs && echo theirs >theirs/$f
  fails 1 "theirs/$f: exists already" -- "$F" phantom -o q.h5 --videos 4 --size 16 --frames 8 --mp4 theirs
  [ ! -e q.h5 ] && [ "$(ls theirs)" = "$f" ] && [ "$(cat theirs/$f)" = theirs ] || die "--mp4 wrote into a folder with a file of that name"
done
works "$F" phantom -o q.h5 --videos 4 --size 16 --frames 8 --mp4 theirs --force
[ "$(ls theirs | wc -l)" = 5 ] && [ "$(stat -c %s theirs/phantom-00001.mp4)" -gt 100 ] || die "--mp4 --force did not write"
works "$F" train e.yaml -o made --set task=generator --set generator.steps=2 --set generator.batch=2
for kind in mp4 gif; do
  rm -rf theirs && mkdir theirs && echo theirs >theirs/medsora-tiny-00001.$kind
  fails 1 "medsora-tiny-00001.$kind: exists already" -- "$F" generate made -n 2 -o g.h5 --steps 2 --$kind theirs
  [ ! -e g.h5 ] && [ "$(cat theirs/*)" = theirs ] || die "generate --$kind wrote into a folder with a file of that name"
done
works "$F" generate made -n 2 -o g.h5 --steps 2 --gif theirs --force
[ "$(ls theirs | wc -l)" = 2 ] && [ "$(stat -c %s theirs/medsora-tiny-00001.gif)" -gt 100 ] || die "generate --gif --force did not write"

# ---- gc: only stages that forty made, and nothing behind links ----
works "$F" experiment run e.yaml -o r
works "$F" experiment run e.yaml -o r --set arms=supervised
mkdir r/runs/mine r/runs/classifier-ffffffffffffffff
echo x >r/runs/mine/x
echo x >r/runs/classifier-ffffffffffffffff/log.csv
ln -s ../../away r/runs/noise-eeeeeeeeeeeeeeee
cp -r r/runs/noise-[0-9a-d]* other-noise
mkdir -p outside && mv other-noise outside/ && ln -s ../../outside/other-noise r/runs/noise-dddddddddddddddd
works "$F" experiment gc e.yaml -o r --set arms=supervised
grep -q "not a stage that forty made" err || die "gc does not say what it leaves"
[ -e r/runs/mine/x ] && [ -e r/runs/classifier-ffffffffffffffff/log.csv ] && [ -e away/ema.safetensors ] && [ -e outside/other-noise/done.json ] ||
  die "gc removed what is not its own"
ls -d r/runs/noise-* | grep -qv -e eeeeeeeeeeeeeeee -e dddddddddddddddd && die "gc left a stage that nobody needs"

# ---- paths ----
long=$(printf 'x%.0s' $(seq 1000))
fails 2 "an argument of" -- "$F" experiment run e.yaml -o "$long"
fails 1 "arms is" -- "$F" experiment run e.yaml -o r2 --set "arms=clips: $long"
deep=$(printf 'd%.0s' $(seq 200))
works "$F" experiment run e.yaml -o "$deep/$deep/$deep/$deep" --set arms=supervised
[ -e "$deep/$deep/$deep/$deep/report.html" ] || die "another folder was written"
fails 1 "control character" -- "$F" experiment run e.yaml -o $'r\n#SBATCH --x'
fails 1 "control character" -- "$F" experiment run e.yaml -o r2 --set $'slurm.options=--time=1\ntouch pwned'
fails 1 "not UTF-8" -- "$F" phantom -o $'caf\xe9.h5' --videos 4 --size 16 --frames 8
[ ! -e r2 ] || die "a refused command left a folder"

# ---- names ----
python3 - <<'P'
import csv, os, shutil
names = ['a,b', 'q"uote', "apo'strophe", '=cmd()', '-dash', '@at', '+plus', '<script>alert(1)', '$(touch pwned)', '`touch pwned`',
         'back\\slash', '100%', 'under_score', 'amp&ersand', '{brace}', '#hash', '~tilde^', ' space ', 'ünïcode', '心エコー', '💓', 'a;b', 'a|b', 'x' * 120]
os.mkdir('n')
with open('n.csv', 'w', newline='') as f:
    w = csv.writer(f, quoting=csv.QUOTE_ALL)
    w.writerow(['video', 'label', 'group', 'fact, "quoted"'])
    for i, n in enumerate(names):
        shutil.copy(f'v/phantom-{i:05d}.mp4', f'n/{n}.mp4')
        w.writerow([n + '.mp4', ['=1+1 "poly,p"', 'nor<b>mal & ünï'][i % 2], n, n])
P
works "$F" ingest --videos n --labels n.csv -o n.h5 --size 16 --frames 8
cat >n.yaml <<'Y'
include: e.yaml
data: {clips: n.h5}
positive: '=1+1 "poly,p"'
Y
works "$F" experiment run n.yaml -o names
[ ! -e pwned ] || die "a name was executed"
works "$F" experiment run n.yaml -o names
grep -q "0 stages computed" out || die "a second call computes again"
python3 - <<'P' || die "names did not come through"
import csv, glob, html.parser, json
names = sorted(r['video'] for r in csv.DictReader(open('n.csv', newline='')))
seen = set()
for f in glob.glob('names/scores/*.csv'):
    rows = list(csv.DictReader(open(f, newline='')))
    assert rows and set(rows[0]) == {'video', 'label', 'p_nor<b>mal & ünï', 'p_=1+1 "poly,p"'}, rows[0]
    for r in rows:
        assert r['video'] in names, r
        seen.add(r['video'])
split = json.load(open(glob.glob('names/splits/*.json')[0]))
text = json.dumps(split, ensure_ascii=False)
page = open('names/report.html').read()
assert '<script>alert(1)' not in page and 'nor<b>mal' not in page
P
works "$F" experiment run n.yaml -o names --print-config
# predictions that are not those of this list are an error, not other scores
test=$(ls names/runs/classifier-*/test.csv | head -1)
cp "$test" kept.csv
python3 - "$test" <<'P'
import csv, sys
rows = list(csv.reader(open(sys.argv[1], newline='')))
rows[1], rows[2] = rows[2], rows[1]
csv.writer(open(sys.argv[1], 'w', newline='')).writerows(rows)
P
fails 1 "another video or label" "test.csv:2" -- "$F" experiment report n.yaml -o names
head -n 3 kept.csv >"$test"
fails 1 "2 of" -- "$F" experiment report n.yaml -o names
sed '2s/,[0-9.]*$/,nan/' kept.csv >"$test"
fails 1 "not a number" -- "$F" experiment report n.yaml -o names
cp kept.csv "$test"
works "$F" experiment report n.yaml -o names
# one that is not UTF-8, one with a line break: refused with its line, in lists, folders and stores
cp v/phantom-00000.mp4 $'n/caf\xe9.mp4'
printf 'video,label\ncaf\xe9.mp4,a\n' >latin.csv
fails 1 "latin.csv:2" "UTF-8" "iconv" -- "$F" ingest --videos n --labels latin.csv -o x.h5 --size 16 --frames 8
printf 'video,label\n"a\nb.mp4",a\n' >newline.csv
fails 1 "newline.csv:2" "control character" -- "$F" ingest --videos n --labels newline.csv -o x.h5 --size 16 --frames 8
mkdir -p byclass/$'caf\xe9'
cp v/phantom-00000.mp4 byclass/$'caf\xe9'/
fails 1 "UTF-8" -- "$F" ingest --videos byclass -o x.h5 --size 16 --frames 8
printf 'video,label\n../p.h5,a\n' >up.csv
fails 1 "up.csv:2" "outside" -- "$F" ingest --videos n --labels up.csv -o x.h5 --size 16 --frames 8
# pipes, and lists that take time: nothing hangs
mkfifo pipe
for what in "ingest --videos v --labels pipe -o x.h5" "experiment run pipe -o x" "info pipe" "train pipe -o x" "ingest --videos v --checksums pipe --labels v/labels.csv -o x.h5"; do
  rc=0
  timeout 10 "$F" $what >out 2>err || rc=$?
  [ $rc = 1 ] || die "'$what' ends with $rc"
  passed=$((passed + 1))
done
done_testing
