/* HTML that the parts of the report share. */
#include <stdarg.h>
#include <string.h>

#include "experiments/report/report_parts.h"

const char *const ft_hue[FT_HUES] = {"#3b82c4", "#d1495b", "#2e9c63", "#d9890b", "#8b63c7",
                                     "#0899a8", "#9b7a42", "#d45aa8", "#7a8896", "#86a700"};

static const char style[] =
    "<style>:root{--ink:#1d2733;--soft:#5c6b7a;--line:#d8dfe6;--paper:#fff;--tint:#f4f7fa;--accent:#0b6bcb;--zero:#b3261e;--good:"
    "#1b7f4b}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b5;--line:#35414d;--paper:#14191f;--tint:#1b222a;"
    "--accent:#6ab0ff;--zero:#ff8a80;--good:#5fd39a}}"
    "*{box-sizing:border-box}"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1000px;margin:0 "
    "auto;padding:1rem}"
    "p,li,h1,h3,pre,figcaption,.name{overflow-wrap:anywhere}"
    "h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2.5rem 0 .6rem;border-top:1px solid "
    "var(--line);padding-top:1rem}"
    "h3{font-size:1rem;margin:1.2rem 0 .3rem}p,li{max-width:72ch}a{color:var(--accent)}"
    ".lead{font-size:1.1rem;font-weight:600}.soft{color:var(--soft);font-size:.9rem}.bad{color:var(--zero)}.good{color:var(--"
    "good)}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;margin:.5rem 0}"
    "td,th{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}"
    "th{font-weight:600;color:var(--soft)}tr.bad td{color:var(--zero)}"
    "@media(max-width:700px){table,tbody{display:block}tr.head{display:none}"
    "tr{display:block;border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.2rem .6rem}"
    "td{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem 0}td:empty{display:none}"
    "td::before{content:attr(data-h);color:var(--soft)}td:first-child{font-weight:600}td:first-child::before{content:none}}"
    "@media(min-width:701px){td+td{white-space:nowrap}}"
    /* rows of a plot: a name, a track from 0 to 100 %, a value */
    ".rows{display:grid;grid-template-columns:minmax(5rem,15rem) 1fr auto;gap:.25rem .8rem;align-items:center;margin:.6rem 0}"
    ".rows .name{text-align:right}.rows .value{font-variant-numeric:tabular-nums;font-size:.92rem;white-space:nowrap}"
    "@media(max-width:700px){.rows{grid-template-columns:1fr auto;grid-auto-flow:dense}.rows .name{text-align:left}.rows "
    ".track,.rows .axis{grid-column:1/3}}"
    ".track{position:relative;height:1.7rem;background:var(--tint);border-radius:4px}.track>*{position:absolute}"
    ".ci{top:.72rem;height:.26rem;background:var(--accent);opacity:.6;border-radius:2px}"
    ".mean{top:.5rem;width:.7rem;height:.7rem;margin-left:-.35rem;border-radius:50%;background:var(--accent)}"
    ".run{top:1.25rem;width:.34rem;height:.34rem;margin-left:-.17rem;border-radius:50%;background:var(--soft)}"
    ".mark{top:0;bottom:0;border-left:2px dashed var(--zero);opacity:.7}"
    ".better .ci,.better .mean{background:var(--good)}.worse .ci,.worse .mean{background:var(--zero)}"
    ".axis{position:relative;height:1.3rem;font-size:.78rem;color:var(--soft)}.axis "
    "span{position:absolute;transform:translateX(-50%);white-space:nowrap}"
    "svg{max-width:100%;height:auto}svg text{fill:var(--ink);font:13px system-ui,sans-serif}svg "
    ".soft{fill:var(--soft);font-size:11px}"
    "pre{white-space:pre-wrap;font-size:.82rem;background:var(--tint);padding:.6rem;border-radius:6px}"
    ".row{display:flex;flex-wrap:wrap;gap:0 1.5rem}figure{margin:.8rem "
    "0;max-width:100%}figcaption{color:var(--soft);font-size:.88rem}"
    /* clips: rows of frames in one picture; a cell shows one row, frame by frame */
    ".clips{display:flex;flex-wrap:wrap;gap:.4rem;margin:.5rem 0}"
    ".clip{width:96px;height:96px;background-image:var(--film);background-size:calc(var(--n)*96px) calc(var(--rows)*96px);"
    "background-position:0 calc(var(--row)*-96px);image-rendering:pixelated;animation:play 2s steps(var(--n)) "
    "infinite;border-radius:3px}"
    "@keyframes play{to{background-position-x:calc(var(--n)*-96px)}}"
    ".pair{width:96px;font-size:.75rem;color:var(--soft);text-align:center}.pair .clip+.clip{margin-top:3px}"
    ".film{display:none;width:100%;background-image:var(--film);background-size:100% 100%;image-rendering:pixelated}"
    "input.all:checked~.film{display:block}label{font-size:.88rem;color:var(--soft)}"
    "@media(prefers-reduced-motion:reduce){.clip{animation:none}}"
    "@media "
    "print{body{max-width:none;font-size:11pt}.clip{animation:none}.film{display:block;max-width:10cm;-webkit-print-color-adjust:"
    "exact;"
    "print-color-adjust:exact}.clip,.track,.ci,.mean,.run{-webkit-print-color-adjust:exact;print-color-adjust:exact}"
    ".screen{display:none}figure,tr,h2,h3{break-inside:avoid}h2,h3{break-after:avoid}}</style>";

void ft_html_style(FILE *f) { fputs(style, f); }

void ft_html_text(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '<') fputs("&lt;", f);
        else if (*s == '>') fputs("&gt;", f);
        else if (*s == '&') fputs("&amp;", f);
        else if (*s == '"') fputs("&quot;", f);
        else fputc(*s, f);
    }
}

void ft_html_base64(FILE *f, const uint8_t *p, size_t n)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        fputc(set[v >> 18], f);
        fputc(set[v >> 12 & 63], f);
        fputc(i + 1 < n ? set[v >> 6 & 63] : '=', f);
        fputc(i + 2 < n ? set[v & 63] : '=', f);
    }
}

ft_html_table ft_html_table_begin(FILE *f, const char *heads)
{
    fputs("<table><tr class=head>", f);
    for (const char *p = heads; *p; p += strcspn(p, "|"), p += *p == '|') fprintf(f, "<th>%.*s", (int)strcspn(p, "|"), p);
    fputs("</tr>\n", f);
    return (ft_html_table){f, heads, heads};
}

void ft_html_row(ft_html_table *t, bool bad)
{
    fputs(bad ? "<tr class=bad>" : "<tr>", t->f);
    t->at = t->heads;
}

static void open_cell(ft_html_table *t)
{
    size_t n = strcspn(t->at, "|");
    fprintf(t->f, "<td data-h=\"%.*s\">", (int)n, t->at);
    t->at += n + (t->at[n] == '|');
}

void ft_html_cell(ft_html_table *t, const char *format, ...)
{
    va_list args;
    open_cell(t);
    va_start(args, format);
    vfprintf(t->f, format, args);
    va_end(args);
    if (!*t->at) fputs("</tr>\n", t->f);
}

void ft_html_name(ft_html_table *t, const char *name, const char *more)
{
    open_cell(t);
    ft_html_text(t->f, name);
    fputs(more, t->f);
    if (!*t->at) fputs("</tr>\n", t->f);
}

void ft_html_table_end(ft_html_table *t) { fputs("</table>\n", t->f); }

void ft_html_legend(FILE *f, const ft_result *r)
{
    fputs("<p class=soft>", f);
    for (int i = 0; i < r->n; i++) {
        fprintf(f, "<span style=\"color:%s\">&#9632;</span> ", ft_hue[i % FT_HUES]);
        ft_html_text(f, r->arm[i].name);
        fputs(" &nbsp; ", f);
    }
    fputs("</p>\n", f);
}
