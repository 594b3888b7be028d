# The report in a browser: no sideways scroll at 390 pixels, clips that move, dark on request, nothing asked of the network.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
command -v chromium >/dev/null || { echo "skipped: no chromium"; exit 77; }
cat >e.yaml <<'Y'
threads: 1
data: {phantom: true, size: 32, frames: 8, licence: "none & <tested>"}
phantom: {videos: 48}
positive: polyp
labels: 12
generated: 12
splits: 6
arms: [supervised, noise, real-unlabelled ssl.algorithm=flexmatch classifier.lr=0.003, medsora-tiny name=a generator with a rather long name that must wrap]
bootstrap: 200
vae: {steps: 6, batch: 2}
generator: {steps: 6, batch: 4, sample_steps: 4}
classifier: {steps: 6, batch: 4}
Y
works "$F" experiment run e.yaml -o r
browser() { timeout 120 chromium --headless=new --no-sandbox --disable-gpu --allow-file-access-from-files "$@" 2>/dev/null; }
cat >frame.html <<'H'
<body><script>
const f = document.createElement("iframe")
f.width = 390; f.height = 800; f.src = "r/report.html"
f.onload = () => {
  const d = f.contentDocument, c = d.querySelector(".clip"), w = f.contentWindow
  const at = () => w.getComputedStyle(c).backgroundPositionX
  const first = at(), images = [...d.querySelectorAll("[src],[href]")].filter(e => /^(http|\/\/)/.test(e.getAttribute("src") || e.getAttribute("href")))
  setTimeout(() => document.body.setAttribute("data-result", JSON.stringify({
    wide: d.documentElement.scrollWidth, moves: first != at(), network: images.length, films: d.querySelectorAll("figure").length,
    downloads: d.querySelectorAll("a[download]").length, licence: d.body.innerText.includes("none & <tested>"),
    verdicts: d.querySelectorAll("ul li").length, paper: w.getComputedStyle(d.body).backgroundColor})), 1100)
}
document.body.append(f)
</script></body>
H
look() { browser --virtual-time-budget=4000 --dump-dom "$@" "file://$T/frame.html" | sed -n 's/.*data-result="\([^"]*\)".*/\1/p' | sed 's/&quot;/"/g'; }
look >light.json
look --force-dark-mode >dark.json
python3 - <<'P'
import json
a, b = json.load(open("light.json")), json.load(open("dark.json"))
assert a["wide"] <= 390, a
assert a["moves"] and a["network"] == 0 and a["downloads"] == 5 and a["licence"] and a["verdicts"] == 3 and a["films"] >= 5, a
assert a["paper"] == "rgb(255, 255, 255)" and b["paper"] == "rgb(20, 25, 31)", (a, b)
P
browser --no-pdf-header-footer --print-to-pdf=page.pdf "file://$T/r/report.html"
[ -s page.pdf ] || die "it does not print"
done_testing
