# Does exactly what CONTRIBUTING.md says: takes its examples out of the page, adds the rows, builds, runs them.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$(dirname "$0")/lib.sh"
mkdir tree && cp -r "$root"/{CMakeLists.txt,CMakePresets.json,common,kernels,gen,classify,experiments,tests,docs,CONTRIBUTING.md} tree/ && cd tree
python3 - <<'P'
import re
page = open("CONTRIBUTING.md").read()
for path, code in re.findall(r"1\. `((?:experiments/arms|experiments/data|classify|gen)/\w+\.c)`:.*?\n```c\n(.*?)```", page, re.S):
    open(path, "w").write(code)
for path, code in re.findall(r"Append to `([\w/.]+)` .*?```c\n(.*?)```", page, re.S):
    open(path, "a").write(code)
for path, code in re.findall(r"New file `([\w/.]+)`.*?```c\n(.*?)```", page, re.S):
    open(path, "w").write(code)
row = re.search(r"`(OP\(.*?\))`", page)[1]
case = re.search(r"above the table of `([\w/.]+)`.*?```c\n(.*?)```.*?`(\{.*?\},)`", page, re.S)


def insert(path, before, text):
    s = open(path).read()
    assert s.count(before) == 1, (path, before)
    open(path, "w").write(s.replace(before, text + before))


insert("kernels/op_table.h", "    OP(affine,", "    " + row + " \\\n")
insert("common/graph/graph.h", "ft_t ft_affine(", "ft_t ft_logcosh(ft_graph *g, ft_t x);\n")
insert(case[1], "#define S1 1, 1, 1", case[2])
insert(case[1], '    {"affine",', "    " + case[3] + "\n")
P
sed -i 's/    ARM(clips)/    ARM(clips) ARM(reversed)/' experiments/arms/arm_table.h
sed -i 's/    SSL(softmatch)/    SSL(softmatch) SSL(entropy)/' classify/ssl_table.h
sed -i 's/GENERATOR(lvdm)/GENERATOR(lvdm) GENERATOR(plain)/' gen/generator_table.h
sed -i 's/CLASSIFIER(x3d)/CLASSIFIER(x3d) CLASSIFIER(framewise)/' classify/classifier_table.h
sed -i 's/DATASET(pocus, "pocus")/& DATASET(clinic, "clinic")/' experiments/data/dataset_table.h
for f in experiments/arms/arm_reversed classify/ssl_entropy gen/plain classify/framewise experiments/data/dataset_clinic; do
  [ -e $f.c ] || die "$f.c is not in CONTRIBUTING.md"
done
works cmake -G Ninja -B build -DCMAKE_BUILD_TYPE=Release -DFT_ISAS=base -DFT_KERNEL_OPT=-O0 -DFT_CUDA=OFF
works cmake --build build --target forty test_ops test_ops_shim
for t in test_ops test_ops_shim; do
  works env FT_NO_GOLDEN=1 build/tests/$t logcosh
  grep -q "PASSED.* 1 test" out err || die "the new op was not tested by $t"
done
cat >e.yaml <<'Y'
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 48}
labels: 12
splits: 1
arms: [supervised, half-unlabelled, real-unlabelled]
bootstrap: 200
classifier: {model: framewise-tiny, steps: 6, batch: 4}
ssl: {algorithm: entropy}
Y
works build/forty experiment run e.yaml -o r
grep -q "^half-unlabelled" out || die "the new arm is not in the table"
grep -q '"utilisation":1.0' r/results.jsonl || die "the new algorithm was not used"
[ "$(grep -o '"config_hash":"[^"]*"' r/results.jsonl | sort -u | wc -l)" = 3 ] || die "half of the clips is taken for all of them"
works build/forty models
grep -q "plain-tiny *generator" out || die "the new generator is not listed"
grep -q "framewise-tiny *classifier" out || die "the new classifier is not listed"
grep -q "model: framewise-tiny" r/config.yaml || die "the new classifier was not used"
# the phantom's videos as the clinic names them, three of a patient
works build/forty phantom -o v.h5 --videos 12 --size 32 --frames 8 --mp4 v
python3 - <<'P'
import csv, os
os.mkdir("clinic")
for i, r in enumerate(csv.DictReader(open("v/labels.csv"))):
    os.rename("v/" + r["video"], f"clinic/P{i // 3}-{i % 3}-{r['label']}.mp4")
P
works build/forty ingest --videos clinic --as clinic -o c.h5 --size 32 --frames 8
grep -q "12 videos of 4 groups" err || { cat err >&2; die "the new data set has no patients"; }
grep -q "typed by hand" err || die "the trap of the new data set is not said"
mv clinic/P0-0-*.mp4 clinic/P0.mp4
fails 1 "P0.mp4: is not called PATIENT-VISIT-CLASS" -- build/forty ingest --videos clinic --as clinic -o c.h5 --force
printf '%s\n' "task: generator" "data: {clips: p.h5}" "vae: {steps: 2, batch: 2}" "generator: {model: plain-tiny, steps: 3, batch: 2}" "align: {weight: 1, teacher: vae}" >g.yaml
works build/forty phantom -o p.h5 --videos 8 --size 32
works build/forty train g.yaml -o g
works build/forty generate g -n 1 -o s.h5 --steps 2
done_testing
