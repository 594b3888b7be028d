#include "common/io/table.h"

#include <csv.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
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
    if (r->rc < 0) return;
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
    if (r->rc == FT_OK) r->rc = r->take(r->ctx, &r->row);
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
static int parse(reader *r, struct csv_parser *p, const char *text, size_t size)
{
    int line = r->row.line = 1;
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

int ft_table_read(const char *path, size_t limit, int (*take)(void *ctx, const ft_row *row), void *ctx)
{
    char *text;
    size_t size;
    FT_TRY(ft_read_file(path, limit, &text, &size));
    reader r = {.row = {.path = path}, .take = take, .ctx = ctx};
    struct csv_parser p;
    size_t skip = size >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3) ? 3 : 0;
    if (size >= 2 && (!memcmp(text, "\xFF\xFE", 2) || !memcmp(text, "\xFE\xFF", 2)))
        r.rc = FT_FAIL(FT_EDATA, "%s: is UTF-16. Save it as UTF-8 (iconv -f utf-16 -t utf-8)", path);
    else if (memchr(text, 0, size))
        r.rc = FT_FAIL(FT_EDATA, "%s: holds zero bytes, so it is not a CSV file. Check the path", path);
    else if (csv_init(&p, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL)) r.rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    else {
        csv_set_blk_size(&p, PIECE);
        parse(&r, &p, text + skip, size - skip);
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

/* One field with separators in it; or a header whose values hold commas, as decimal ones. */
int ft_row_commas(const ft_row *row)
{
    bool header = !strncasecmp(row->field[0], "video;", 6) || !strncasecmp(row->field[0], "video\t", 6);
    const char *by = strpbrk(row->field[0], ";\t");
    if (!by || (row->fields > 1 && !header)) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s:%d: columns are separated by %s here. Save the list with commas", row->path, row->line,
                   *by == ';' ? "semicolons" : "tabs");
}
