#include "common/base/names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/status.h"

/* Bytes of the character at s, of n; 0: none is valid there. */
static int character(const unsigned char *s, size_t n, unsigned *code)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    int length = s[0] < 0x80                   ? 1
                 : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
                 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
                 : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                               : 0;
    if (!length || (size_t)length > n) return 0;
    *code = length == 1 ? s[0] : s[0] & (0xFFu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) return 0;
        *code = *code << 6 | (s[i] & 0x3F);
    }
    return *code < least[length] || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000) ? 0 : length;
}

static bool control(unsigned code) { return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x2028 || code == 0x2029; }

static int bad_name(const char *s, const char *where, const char *what, int length, unsigned code)
{
    char shown[200];
    ft_printable(shown, sizeof shown, s, false);
    if (length)
        return FT_FAIL(FT_EDATA, "%s: %s '%s' holds a control character (U+%04X), such as a line break. Rename it", where, what,
                       shown, code);
    return FT_FAIL(FT_EDATA, "%s: %s '%s' is not UTF-8. Convert the list (iconv -f latin1 -t utf-8), or rename the file (convmv)",
                   where, what, shown);
}

int ft_check_name(const char *s, size_t n, const char *where, const char *what)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned code = 0;
    if (n > FT_NAME_MOST) return FT_FAIL(FT_EDATA, "%s: %s has %zu bytes, at most %d are taken", where, what, n, FT_NAME_MOST);
    for (size_t at = 0; at < n;) {
        int length = character(u + at, n - at, &code);
        if (!length || control(code)) return bad_name(s, where, what, length, code);
        at += (size_t)length;
    }
    return FT_OK;
}

void ft_printable(char *out, size_t size, const char *s, bool keep_lines)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t n = strlen(s), at = 0, put = 0;
    unsigned code = 0;
    while (at < n) {
        int length = character(u + at, n - at, &code);
        if (length && (!control(code) || (keep_lines && code == '\n'))) {
            if (put + (size_t)length >= size) break;
            memcpy(out + put, u + at, (size_t)length);
            put += (size_t)length, at += (size_t)length;
        } else {
            if (put + 5 > size) break;
            put += (size_t)snprintf(out + put, 5, "\\x%02x", u[at++]);
        }
    }
    out[put] = 0;
}

void ft_replace(char *s, size_t size, const char *from, const char *to)
{
    char *at = strstr(s, from), *tail = at ? at + strlen(from) : NULL;
    if (!at) return;
    size_t head = (size_t)(at - s), put = strlen(to), rest = strlen(tail);
    put = put < size - 1 - head ? put : size - 1 - head;
    rest = rest < size - 1 - head - put ? rest : size - 1 - head - put;
    memmove(at + put, tail, rest);
    memcpy(at, to, put);
    at[put + rest] = 0;
}

int ft_natural_order(const char *a, const char *b)
{
    const char *p = a, *q = b;
    while (*p && *q) {
        if (!isdigit((unsigned char)*p) || !isdigit((unsigned char)*q)) {
            if (*p != *q) return (unsigned char)*p < (unsigned char)*q ? -1 : 1;
            p++, q++;
            continue;
        }
        p += strspn(p, "0"), q += strspn(q, "0");
        size_t n = strspn(p, "0123456789"), m = strspn(q, "0123456789");
        int order = n != m ? (n < m ? -1 : 1) : strncmp(p, q, n);
        if (order) return order;
        p += n, q += m;
    }
    return *p ? 1 : *q ? -1 : strcmp(a, b); /* 01 and 1 are not the same name */
}

bool ft_is_foreign(const char *name)
{
    static const char *const names[] = {"Thumbs.db", "ehthumbs.db",  "desktop.ini",
                                        "__MACOSX",  "$RECYCLE.BIN", "System Volume Information"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcasecmp(name, names[i])) return true;
    return *name == '.';
}
