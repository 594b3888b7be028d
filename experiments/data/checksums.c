#include "experiments/data/checksums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"

static int add(ft_checksums *c, const char *name, size_t length, const char *hex)
{
    FT_TRY(ft_grow(&c->row, (size_t)c->n, sizeof *c->row));
    snprintf(c->row[c->n].hex, sizeof c->row->hex, "%.64s", hex);
    if (!(c->row[c->n].name = ft_format("%.*s", (int)length, name))) return FT_FAIL(FT_ENOMEM, "%s: no memory", c->path);
    c->n++;
    return FT_OK;
}

/* one line of n bytes */
static int take_line(ft_checksums *c, const char *p, size_t n, int line)
{
    char where[FT_PATH_GIVEN + 80], hex[65];
    snprintf(where, sizeof where, "%s:%d", c->path, line);
    if (*p == '\\')
        return FT_FAIL(FT_EDATA, "%s: a name with a line break or \\ in it (sha256sum's escape). Rename the file", where);
    if (n < 67 || strspn(p, "0123456789abcdefABCDEF") != 64 || p[64] != ' ' || (p[65] != ' ' && p[65] != '*'))
        return FT_FAIL(FT_EDATA, "%s: not a line of sha256sum: 64 hexadecimal digits, two spaces, a name", where);
    for (int i = 0; i < 64; i++) hex[i] = (char)(p[i] >= 'A' && p[i] <= 'F' ? p[i] + 32 : p[i]);
    hex[64] = 0;
    FT_TRY(add(c, p + 66, n - 66, hex));
    const char *name = c->row[c->n - 1].name;
    return ft_check_name(name, strlen(name), where, "the name");
}

int ft_checksums_open(ft_checksums *c, const char *path)
{
    char *text;
    size_t size;
    int line = 0, rc = FT_OK;
    *c = (ft_checksums){.path = path, .known = ft_exists(path)};
    if (!c->known) return FT_OK;
    FT_TRY(ft_read_file(path, 64u << 20, &text, &size));
    if (memchr(text, 0, size))
        rc = FT_FAIL(FT_EDATA, "%s: holds zero bytes, so it is no list of checksums. Check the path", path);
    for (char *p = text; rc == FT_OK && *p;) {
        size_t n = strcspn(p, "\r\n");
        line++;
        if (n) rc = take_line(c, p, n, line);
        p += n;
        p += *p == '\r';
        p += *p == '\n';
    }
    for (int i = 0; i < c->n && rc == FT_OK; i++) rc = ft_lookup_add(&c->index, c->row[i].name, strlen(c->row[i].name), i);
    if (rc == FT_OK) ft_lookup_sort(&c->index);
    if (rc == FT_OK && c->index.repeated >= 0)
        rc = FT_FAIL(FT_EDATA, "%s: %s stands there twice. Remove one line", path, c->row[c->index.repeated].name);
    ft_free(text);
    if (rc < 0) ft_checksums_close(c, false);
    return rc;
}

int ft_checksums_video(ft_checksums *c, const char *name, const char *hex)
{
    if (!c->known) return add(c, name, strlen(name), hex);
    int64_t at = ft_lookup_find(&c->index, name, strlen(name));
    if (at < 0) return FT_FAIL(FT_EDATA, "%s: not in %s. Remove that list to make it anew", name, c->path);
    if (!strcmp(c->row[at].hex, hex)) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: not the file that %s was made from: its SHA-256 is %s. Fetch it again", name, c->path, hex);
}

int ft_checksums_close(ft_checksums *c, bool complete)
{
    ft_text t;
    int rc = FT_OK;
    if (complete && !c->known && c->n && (rc = ft_text_begin(&t)) == FT_OK) {
        for (int i = 0; i < c->n; i++) fprintf(t.f, "%s  %s\n", c->row[i].hex, c->row[i].name);
        rc = ft_text_write(&t, c->path);
        if (rc == FT_OK) ft_log("%s: the checksums of %d videos, to be verified from now on", c->path, c->n);
    }
    for (int i = 0; i < c->n; i++) ft_free(c->row[i].name);
    ft_free(c->row);
    ft_lookup_free(&c->index);
    return rc;
}
