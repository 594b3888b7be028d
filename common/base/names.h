/* Names: of videos, labels, groups, columns, arms, files. They go into JSON, CSV, file names, tables and keys, so they are
 * checked once, where they enter: valid UTF-8 (RFC 3629) without control characters (C0, DEL, C1, line and paragraph separators).
 */
#ifndef FT_NAMES_H
#define FT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

enum { FT_NAME_MOST = 4096 }; /* bytes */

/* FT_OK, or FT_EDATA "WHERE: WHAT 'caf\xe9' is not UTF-8 ..." with what to do. */
int ft_check_name(const char *s, size_t n, const char *where, const char *what);

/* The same text with what cannot be printed as \xNN, but for line breaks if they are kept, cut to `size`: for messages and logs.
 */
void ft_printable(char *out, size_t size, const char *s, bool keep_lines);

/* Replaces the first `from` in s, which has room for `size` bytes, by `to`, cut where that is too much. */
void ft_replace(char *s, size_t size, const char *from, const char *to);

/* As people count: "f2" before "f10". Under, over, or 0 only for the same name. */
int ft_natural_order(const char *a, const char *b);

/* What systems and programs leave in folders: hidden names (.DS_Store, ._x, .ipynb_checkpoints), Thumbs.db, desktop.ini ... */
bool ft_is_foreign(const char *name);

#endif
