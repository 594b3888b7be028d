#!/usr/bin/env python3
"""Makes the page of settings, the manual pages and the shell's completions of what the program says of itself.

docs/make.py PROGRAM [OUT]: into docs, or into OUT (a test compares them: tests/test_install.sh)."""
import json, os, re, subprocess, sys

program, out = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else os.path.dirname(os.path.abspath(__file__))
told = json.loads(subprocess.run([program, "--help", "--json"], check=True, stdout=subprocess.PIPE).stdout)
verbs, settings, version = told["verbs"], told["settings"], told["version"]
TITLES = {"": "The run as a whole", "auto": "auto: what `precision: auto` takes", "data": "data: videos and clips", "phantom": "phantom: the embedded data set",
          "vae": "vae: the autoencoder", "align": "align: a teacher for the generator", "generator": "generator", "classifier": "classifier",
          "ssl": "ssl: semi-supervised algorithms", "features": "features: frozen networks", "mil": "mil: multiple-instance learning",
          "slurm": "slurm: batch files", "log": "log", "unlabelled": "unlabelled: controls on generated clips"}


def put(name, text):
    path = os.path.join(out, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def span(k):
    if k.get("values"):
        return ", ".join(f"`{v}`" for v in k["values"].split("|"))
    number = lambda v: f"{v:g}"
    return f"{number(k['low'])} to {number(k['high'])}" if "low" in k else ""


# ---- docs/settings.md
page = ["# Settings", "", "Every key of a configuration file, made from the program's own table (`docs/make.py`). `data.size` is `size` under `data:` in YAML, and",
        "`--set data.size=96` on the command line; `--print-config` shows every value and where it comes from."]
group = None
for k in sorted(settings, key=lambda k: (k["name"].split(".")[0] if "." in k["name"] else "")):
    head = k["name"].split(".")[0] if "." in k["name"] else ""
    if head != group:
        group = head
        page += ["", f"## {TITLES.get(head, head)}", "", "| setting | type | default | values | what it does |", "| --- | --- | --- | --- | --- |"]
    bar = lambda s: s.replace("|", "\\|")
    default = f"`{bar(k['default'])}`" if k["default"] else ""
    page.append(f"| `{k['name']}` | {k['type']} | {default} | {bar(span(k))} | {bar(k['help'])} |")
put("settings.md", "\n".join(page) + "\n")


# ---- manual pages
def roff(s):
    s = s.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + l if l[:1] in (".", "'") else l for l in s.split("\n"))


def head(name, section, summary):
    return f'.TH {name.upper()} {section} "" "forty {version}" "forty"\n.SH NAME\n{roff(name)} \\- {roff(summary)}\n'


def options(list_):
    text = ""
    for o in list_:
        value = f" \\fI{roff(o['value'])}\\fR" if o["value"] else ""
        default = f" [{roff(o['default'])}]" if o["default"] else ""
        text += f".TP\n\\fB{roff(o['name'])}\\fR{value}\n{roff(o['help'])}{default}\n"
    return text


page = head("forty", 1, "do generated clips help a classifier that has forty labelled videos?")
page += ".SH SYNOPSIS\n\\fBforty\\fR \\fIVERB\\fR ...\n.SH DESCRIPTION\nTrains video generators on a few labelled videos, samples clips, trains a classifier on both, and scores F1 beside the controls that such a claim needs.\n.SH VERBS\n"
for v in verbs:
    page += f".TP\n\\fB{v['name']}\\fR\n{roff(v['summary'])}: see \\fBforty\\-{v['name']}\\fR(1)\n"
page += ".SH COMMON OPTIONS\n" + options(told["common"])
page += ".SH EXIT STATUS\n0: done. 1: an error, said on standard error. 2: the command line is wrong. 130: interrupted; the same command goes on.\n"
page += ".SH SEE ALSO\n\\fBforty\\-settings\\fR(5), " + ", ".join(f"\\fBforty\\-{v['name']}\\fR(1)" for v in verbs) + "\n"
put("man/forty.1", page)
for v in verbs:
    page = head("forty-" + v["name"], 1, v["summary"])
    page += f".SH SYNOPSIS\n\\fBforty\\fR {roff(v['usage'])}\n.SH OPTIONS\n" + options(v["options"]) + ".PP\nThose of all verbs are in \\fBforty\\fR(1).\n"
    page += f".SH EXAMPLE\n.nf\n{roff(v['example'])}\n.fi\n.SH SEE ALSO\n\\fBforty\\fR(1)" + (", \\fBforty\\-settings\\fR(5)" if v["settings"] else "") + "\n"
    put(f"man/forty-{v['name']}.1", page)
page = head("forty-settings", 5, "settings of a configuration file of forty")
page += ".SH DESCRIPTION\nYAML; \\fBdata.size\\fR is \\fBsize\\fR under \\fBdata:\\fR, and \\fB\\-\\-set data.size=96\\fR on the command line.\n.SH SETTINGS\n"
for k in settings:
    facts = ", ".join(x for x in (k["type"], span(k).replace("`", ""), f"default {k['default']}" if k["default"] else "") if x)
    page += f".TP\n\\fB{roff(k['name'])}\\fR ({roff(facts)})\n{roff(k['help'])}\n"
put("man/forty-settings.5", page + ".SH SEE ALSO\n\\fBforty\\fR(1)\n")

# ---- completions
names = " ".join(v["name"] for v in verbs)
shared = " ".join(o["name"] for o in told["common"])
cases = "\n".join(f"    {v['name']}) options=\"{' '.join(o['name'] for o in v['options'])}\" ;;" for v in verbs)
keys = " ".join(k["name"] + "=" for k in settings)
put("completions/forty", f"""# bash: sourced by itself where bash-completion is; zsh: autoload bashcompinit, then source it
_forty() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}} verb=${{COMP_WORDS[1]}} options=""
  COMPREPLY=()
  [ "$COMP_CWORD" = 1 ] && {{ mapfile -t COMPREPLY < <(compgen -W "{names}" -- "$word"); return; }}
  if [ "$before" = --set ]; then
    compopt -o nospace
    mapfile -t COMPREPLY < <(compgen -W "{keys}" -- "$word")
    return
  fi
  [ "$verb" = experiment ] && [ "$COMP_CWORD" = 2 ] && {{ mapfile -t COMPREPLY < <(compgen -W "run status report worker gc" -- "$word"); return; }}
  case $verb in
{cases}
  esac
  case $word in -*) mapfile -t COMPREPLY < <(compgen -W "$options {shared}" -- "$word") ;; esac
}}
complete -o default -F _forty forty
""")
