#include "experiments/checksums.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"

static int add(ft_checksums *c, const char *name, size_t length, const char *hex)
{
    FT_TRY(ft_grow(&c->row, (size_t)c->n, sizeof *c->row));
    snprintf(c->row[c->n].hex, sizeof c->row->hex, "%.64s", hex);
    if (!(c->row[c->n].name = ft_format("%.*s", (int)length, name))) return FT_FAIL(FT_ENOMEM, "%s: no memory", c->path);
    c->n++;
    return FT_OK;
}

int ft_checksums_open(ft_checksums *c, const char *path)
{
    char *text;
    size_t size;
    int line = 0, rc = FT_OK;
    *c = (ft_checksums){.path = path, .known = ft_exists(path)};
    if (!c->known) return FT_OK;
    FT_TRY(ft_read_file(path, 64u << 20, &text, &size));
    for (char *p = text; rc == FT_OK && *p;) {
        size_t n = strcspn(p, "\r\n");
        line++;
        if (n && (strspn(p, "0123456789abcdef") != 64 || n < 67 || p[64] != ' '))
            rc = FT_FAIL(FT_EDATA, "%s:%d: not a line of sha256sum: 64 hexadecimal digits, two spaces, a name", path, line);
        else if (n) rc = add(c, p + 66, n - 66, p);
        p += n;
        p += strspn(p, "\r");
        p += *p == '\n';
    }
    ft_free(text);
    if (rc < 0) ft_checksums_close(c, false);
    return rc;
}

int ft_checksums_video(ft_checksums *c, const char *name, const char *hex)
{
    if (!c->known) return add(c, name, strlen(name), hex);
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->row[i].name, name)) {
            if (!strcmp(c->row[i].hex, hex)) return FT_OK;
            return FT_FAIL(FT_EDATA, "%s: not the file that %s was made from: its SHA-256 is %s. Fetch it again", name, c->path,
                           hex);
        }
    return FT_FAIL(FT_EDATA, "%s: not in %s. Remove that list to make it anew", name, c->path);
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
    return rc;
}
