# DICOM through the program: a hospital's export as a data set, patients as groups and nowhere else, burnt-in text, the region, and
# what a build without the plugin says.
set -euo pipefail
golden=$(cd "$(dirname "$0")" && pwd)/golden/dicom
. "$(dirname "$0")/lib.sh"
says() { for w in "$@"; do grep -qF -- "$w" err || { cat err >&2; die "nothing says '$w'"; }; done; }

FORTY_DICOM_PLUGIN=/nowhere fails 1 "DICOM is not read here" "install_missing libgdcm-dev g++; build release" -- "$F" info "$golden/grey8.dcm"
[ -e "$(dirname "$F")/libforty_dicom.so" ] || { echo "skipped the rest: no GDCM"; done_testing; exit 0; }

# files with an ending and without, of three patients, deep down; one picture, a report, a DICOMDIR, a text, a file that was cut off
mkdir -p e/DICOM/PA1/ST1/SE1 e/DICOM/PA2/ST1
cp "$golden/jpeg-422.dcm" e/DICOM/PA1/ST1/SE1/IM2
cp "$golden/times.dcm" e/DICOM/PA1/ST1/SE1/IM10
sed 's/SECRET77/SECRET78/' "$golden/rle-rgb.dcm" >e/DICOM/PA2/ST1/IM1
sed 's/SECRET77/SECRET79/' "$golden/region.dcm" >e/DICOM/PA2/IM9.dcm
cp "$golden/grey10-sigmoid.dcm" e/DICOM/one.dcm
cp "$golden/grey8.dcm" e/DICOMDIR
echo text >e/notes.txt
head -c 700 "$golden/grey8.dcm" >e/DICOM/cut.dcm
some="--as dicom --frames 2 --stride 1 --size 16"
fails 1 "e/DICOM/cut.dcm: cut off" -- "$F" ingest --videos e $some -o a.h5
works "$F" ingest --videos e $some -o a.h5 --on-error skip
says "3 patients" "1 DICOM files of one picture" "1 of 4 videos say that text is burnt into the picture" "--crop dicom-region"
groups_of() { grep -aoE "patient [0-9]+" "$1" | sort | uniq -c | tr -s ' \n' ' '; }
[ "$(groups_of a.h5)" = " 2 patient 1 1 patient 2 1 patient 3 " ] || die "groups: $(groups_of a.h5)"
rm e/DICOM/cut.dcm

# a list with labels, names as they come; its own groups go first
printf 'video,label\nIM2,a\nIM10,a\nPA2/ST1/IM1,b\nIM9,b\n' >l.csv
works "$F" ingest --videos e $some --labels l.csv -o b.h5 --crop none
[ "$(groups_of b.h5)" = " 2 patient 1 1 patient 2 1 patient 3 " ] || die "groups by list: $(groups_of b.h5)"
printf 'video,label,patient\nIM2,a,x\nIM10,a,y\nIM1,b,z\n' >g.csv
works "$F" ingest --videos e $some --labels g.csv -o c.h5
says "groups are those of the list"
[ -z "$(groups_of c.h5)" ] || die "groups of the list: $(groups_of c.h5)"
grep -qa "Model 1" c.h5 || die "the device is no fact"

# the region that the file names, and a file that names none
printf 'video\tlabel\nIM9\tb\n' >r.csv
works "$F" ingest --videos e $some --labels r.csv -o r.h5 --crop dicom-region
[ -e r.crop.png ] || die "no picture of what is kept"
fails 1 "says of no ultrasound region" -- "$F" ingest --videos e $some --labels l.csv -o s.h5 --crop dicom-region
works "$F" info "$golden/region.dcm"
grep -qF "ultrasound region 4,0,16,16; no text is burnt in" out || die "info: $(cat out)"

# names of files that tell who it is
cp "$golden/rgb-planar0.dcm" e/secret77-heart.dcm
works "$F" ingest --videos e $some -o d.h5
says "the paths of 1 files hold their patient's name or number"
rm e/secret77-heart.dcm

# nothing that was written says it
rm d.h5
for file in *.h5 *.png out err; do
  ! grep -qai "secret" "$file" || die "$file holds the name or the id"
done
done_testing
