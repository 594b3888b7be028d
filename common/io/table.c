#include "common/io/table.h"

#include <csv.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"

enum { LONGEST = 64 << 10, PIECE = 4096 };

typedef struct {
    ft_row row;
    char *text; /* of this row, field behind field; grown */
    size_t used, room, begin[FT_COLUMNS];
    int (*take)(void *ctx, const ft_row *row);
    void *ctx;
    int rc;
    bool any; /* a row ended */
} reader;

static void on_field(void *data, size_t n, void *ctx)
{
    reader *r = ctx;
    if (r->rc < 0 || (r->row.by == ' ' && n == 0)) return; /* several spaces are one, and some may end the line */
    if (r->row.fields == FT_COLUMNS) {
        r->rc = FT_FAIL(FT_EDATA, "%s:%d: more than %d columns. Is it a list?", r->row.path, r->row.line, FT_COLUMNS);
        return;
    }
    if (r->used + n + 1 > r->room) {
        size_t room = 2 * (r->used + n + 1);
        char *bigger = ft_realloc(r->text, room);
        if (!bigger) {
            r->rc = FT_FAIL(FT_ENOMEM, "%s: no memory for line %d", r->row.path, r->row.line);
            return;
        }
        r->text = bigger, r->room = room;
    }
    if (n) memcpy(r->text + r->used, data, n);
    r->text[r->used + n] = 0;
    r->begin[r->row.fields] = r->used;
    r->row.size[r->row.fields++] = n;
    r->used += n + 1;
}

static void on_row(int c, void *ctx)
{
    reader *r = ctx;
    (void)c;
    for (int i = 0; i < r->row.fields; i++) r->row.field[i] = r->text + r->begin[i];
    if (r->rc == FT_OK && r->row.fields) r->rc = r->take(r->ctx, &r->row);
    r->row.fields = 0, r->used = 0, r->any = true;
}

/* where the line that begins at `at` ends: after \n, \r\n, or \r alone, as old spreadsheets write it */
static size_t line_end(const char *text, size_t at)
{
    at += strcspn(text + at, "\r\n");
    if (text[at] == '\r' && text[at + 1] == '\n') at++;
    return at + (text[at] != 0);
}

/* One physical line at a time keeps the line number, and pieces of it keep a field from growing without end. */
static int parse(reader *r, struct csv_parser *p, const char *text, size_t size, int line)
{
    r->row.line = line;
    for (size_t at = 0; at < size && r->rc == FT_OK;) {
        size_t stop = line_end(text, at);
        r->any = false;
        while (at < stop && r->rc == FT_OK) {
            size_t n = stop - at < PIECE ? stop - at : PIECE;
            if (csv_parse(p, text + at, n, on_field, on_row, r) != n && r->rc == FT_OK)
                r->rc = FT_FAIL(csv_error(p) == CSV_ENOMEM ? FT_ENOMEM : FT_EDATA, "%s:%d: %s. Check the quotes", r->row.path,
                                line, csv_strerror(csv_error(p)));
            if (r->rc == FT_OK && p->entry_pos > LONGEST)
                r->rc = FT_FAIL(FT_EDATA, "%s:%d: a field of more than %d bytes. Is a quote not closed?", r->row.path,
                                r->row.line, LONGEST);
            at += n;
        }
        line++;
        if (r->any || (r->row.fields == 0 && p->entry_pos == 0)) r->row.line = line;
    }
    if (r->rc == FT_OK && csv_fini(p, on_field, on_row, r) != 0)
        r->rc = FT_FAIL(FT_EDATA, "%s:%d: a quote opened here is not closed", r->row.path, r->row.line);
    return r->rc;
}

/* Replaces text in UTF-16 (its byte order mark says which) by UTF-8. */
static int from_utf16(const char *path, char **text, size_t *size)
{
    const uint8_t *in = (const uint8_t *)*text;
    size_t units = *size / 2, low = in[0] == 0xFF ? 0 : 1, n = 0;
    uint8_t *out = *size % 2 ? NULL : ft_alloc_n((int64_t)units + 1, 3);
    int rc = *size % 2 ? FT_FAIL(FT_EDATA, "%s: UTF-16 that ends within a character. Copy the file again", path)
             : out     ? FT_OK
                       : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    for (size_t i = 1; rc == FT_OK && i < units; i++) {
        uint32_t c = (uint32_t)(in[2 * i + low] | in[2 * i + 1 - low] << 8);
        if (c >= 0xD800 && c < 0xE000) { /* two units for one character */
            uint32_t d = i + 1 < units ? (uint32_t)(in[2 * i + 2 + low] | in[2 * i + 3 - low] << 8) : 0;
            if (c >= 0xDC00 || d < 0xDC00 || d >= 0xE000)
                rc = FT_FAIL(FT_EDATA, "%s: is not valid UTF-16. Save it as UTF-8", path);
            c = 0x10000 + ((c & 0x3FF) << 10) + (d & 0x3FF), i++;
            out[n++] = (uint8_t)(0xF0 | c >> 18), out[n++] = (uint8_t)(0x80 | (c >> 12 & 63));
        } else if (c >= 0x800) out[n++] = (uint8_t)(0xE0 | c >> 12);
        if (c >= 0x800) out[n++] = (uint8_t)(0x80 | (c >> 6 & 63));
        else if (c >= 0x80) out[n++] = (uint8_t)(0xC0 | c >> 6);
        out[n++] = (uint8_t)(c < 0x80 ? c : 0x80 | (c & 63));
    }
    if (rc < 0) {
        ft_free(out);
        return rc;
    }
    ft_free(*text);
    *text = (char *)out, *size = n; /* ft_alloc_n: a 0 behind it */
    return FT_OK;
}

/* What separates the columns of the first line: tabs if it holds one, else whichever of comma and semicolon there are more of
 * (decimal commas are few), else spaces. Quoted ones do not count. */
static int find_separator(const char *path, const char *text, char *by)
{
    int count[128] = {0};
    bool quoted = false;
    for (text += strspn(text, "\r\n"); *text && (quoted || (*text != '\n' && *text != '\r')); text++) {
        quoted ^= *text == '"';
        if (!quoted && (unsigned char)*text < 128) count[(int)*text]++;
    }
    if (count[','] && count[','] == count[';'] && !count['\t'])
        return FT_FAIL(FT_EDATA, "%s:1: columns are separated by commas or by semicolons? Quote values that hold either", path);
    *by = count['\t'] ? '\t' : count[';'] > count[','] ? ';' : count[' '] && !count[','] ? ' ' : ',';
    return FT_OK;
}

const char *ft_separator_name(char by)
{
    return by == ';' ? "semicolons" : by == '\t' ? "tabs" : by == ' ' ? "spaces" : "commas";
}

int ft_table_read(const char *path, size_t limit, char by, int (*take)(void *ctx, const ft_row *row), void *ctx)
{
    char *text;
    size_t size, skip = 0;
    bool found = !by, wide = false;
    int first = 1;
    FT_TRY(ft_read_file(path, limit, &text, &size));
    reader r = {.row = {.path = path}, .take = take, .ctx = ctx};
    struct csv_parser p;
    if (size >= 2 && (!memcmp(text, "\xFF\xFE", 2) || !memcmp(text, "\xFE\xFF", 2)))
        wide = true, r.rc = from_utf16(path, &text, &size);
    if (size >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) skip = 3; /* some write a second mark in front */
    if (r.rc == FT_OK && memchr(text, 0, size))
        r.rc = FT_FAIL(FT_EDATA, "%s: holds zero bytes, so it is not a CSV file. Check the path, or save it as UTF-8", path);
    if (found && r.rc == FT_OK && size - skip > 5 && !strncasecmp(text + skip, "sep=", 4) && strchr(",;\t ", text[skip + 4]) &&
        strchr("\r\n", text[skip + 5]))
        by = text[skip + 4], first = 2, skip = line_end(text, skip); /* as spreadsheets write it */
    if (r.rc == FT_OK && !by) r.rc = find_separator(path, text + skip, &by);
    if (r.rc == FT_OK && csv_init(&p, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL))
        r.rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    else if (r.rc == FT_OK) {
        if (found && (wide || by != ','))
            ft_log("%s: columns separated by %s%s", path, ft_separator_name(by), wide ? ", in UTF-16" : "");
        r.row.by = by;
        csv_set_delim(&p, (unsigned char)by);
        csv_set_blk_size(&p, PIECE);
        parse(&r, &p, text + skip, size - skip, first);
        csv_free(&p);
    }
    ft_free(r.text);
    ft_free(text);
    return r.rc;
}

int ft_row_name(const ft_row *row, int i, const char *what)
{
    char where[FT_PATH_GIVEN + 80];
    snprintf(where, sizeof where, "%s:%d", row->path, row->line);
    return ft_check_name(row->field[i], row->size[i], where, what);
}
