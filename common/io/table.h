/* CSV files (RFC 4180), read by libcsv: strict quotes, CRLF, a byte order mark; a row knows its line. The one reader of label
 * lists, frame labels and predictions. */
#ifndef FT_TABLE_H
#define FT_TABLE_H

#include <stddef.h>

enum { FT_COLUMNS = 256 };

typedef struct {
    const char *path;
    int line; /* where the row begins */
    int fields;
    const char *field[FT_COLUMNS];
    size_t size[FT_COLUMNS]; /* bytes of each; what it holds is not checked (names.h) */
} ft_row;

/* Hands every row that is not empty to `take`, whose failure ends the reading. FT_EDATA with file and line: not CSV, UTF-16, zero
 * bytes, more than FT_COLUMNS columns, a field of more than 64 KiB. At most `limit` bytes. */
int ft_table_read(const char *path, size_t limit, int (*take)(void *ctx, const ft_row *row), void *ctx);

/* The field as a name: "PATH:LINE: WHAT 'x' is not UTF-8 ..." (ft_check_name). */
int ft_row_name(const ft_row *row, int i, const char *what);

/* FT_EDATA when semicolons or tabs separate the columns of this first line. */
int ft_row_commas(const ft_row *row);

#endif
