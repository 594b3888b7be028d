/* CSV files (RFC 4180) and what people call so, read by libcsv: strict quotes, CRLF, a byte order mark, UTF-16; a row knows its
 * line. The one reader of label lists, frame labels and predictions. */
#ifndef FT_TABLE_H
#define FT_TABLE_H

#include <stddef.h>

enum { FT_COLUMNS = 256 };

typedef struct {
    const char *path;
    int line; /* where the row begins */
    int fields;
    char by; /* what separates them */
    const char *field[FT_COLUMNS];
    size_t size[FT_COLUMNS]; /* bytes of each; what it holds is not checked (names.h) */
} ft_row;

/* Hands every row that is not empty to `take`, whose failure ends the reading. `by` separates the columns; 0: the first line
 * tells (comma, semicolon, tab, space; the log says which if it is no comma). FT_EDATA with file and line: not CSV, zero bytes,
 * more than FT_COLUMNS columns, a field of more than 64 KiB. At most `limit` bytes. */
int ft_table_read(const char *path, size_t limit, char by, int (*take)(void *ctx, const ft_row *row), void *ctx);
const char *ft_separator_name(char by); /* "semicolons" */

/* The field as a name: "PATH:LINE: WHAT 'x' is not UTF-8 ..." (ft_check_name). */
int ft_row_name(const ft_row *row, int i, const char *what);

#endif
