/* Files: outputs appear under their final name only when complete. */
#ifndef FT_FILES_H
#define FT_FILES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The most bytes of a path that a command line or a setting gives: longer ones are refused there, so that what is put behind them
 * fits everywhere. */
enum { FT_PATH_GIVEN = 900 };

int ft_random_hex(char *out, int bytes); /* two digits for each, of the system's random numbers, and a 0. FT_EIO */

bool ft_exists(const char *path); /* a link to nothing as well */
bool ft_is_dir(const char *path);
int ft_mkdirs(const char *path);      /* with parents; fine if there */
int ft_mkdirs_for(const char *path);  /* the folder that holds `path` */
int ft_remove_file(const char *path); /* a file or a link, never what it points to; fine if absent */
const char *ft_base_name(const char *path);
int ft_is_file(const char *path); /* FT_EIO saying what it is instead: not there, a folder, a pipe, a device */

/* Whole file into fresh memory with a 0 byte behind it; free with ft_free. At most `limit` bytes (0: 1 GiB). */
int ft_read_file(const char *path, size_t limit, char **data, size_t *size);

/* ---- writing --------------------------------------------------------------------------------------------------------------- */

/* Write beside, sync, rename. ft_atomic_begin makes the folder and gives the name to write to (in `temp`): a file without a name
 * where the system can do that, so that nothing is left however the process ends; else ".NAME.*.partial", which is ours while we
 * hold a lock on it and is swept by the next writer when nobody does. ft_atomic_commit syncs it and gives it its name;
 * ft_atomic_abort drops it. */
typedef struct {
    int fd;
    bool named;
    char temp[FT_PATH_GIVEN + 600], final[FT_PATH_GIVEN + 400];
} ft_atomic;
int ft_atomic_begin(ft_atomic *a, const char *path);
int ft_atomic_begin_named(ft_atomic *a, const char *path); /* for libraries that look the name up (HDF5) */
int ft_atomic_commit(ft_atomic *a);
void ft_atomic_abort(ft_atomic *a);
void ft_atomic_abandon(void); /* removes what is not committed, as the process ends: for signal handlers. abort() does it */

int ft_write_file(const char *path, const void *data, size_t size); /* atomically */
int ft_write_once(const char *path, const void *data,
                  size_t size); /* the same, unless somebody has just now: then theirs stays */

/* Files under `folder` are completed through the folder `through` (on the same file system), from now until ft_fence_drop: when
 * somebody else moves `through` away, this process can complete no file there any more (lease.h). Strings are borrowed. */
typedef struct ft_fence {
    const char *folder, *through;
    struct ft_fence *next;
} ft_fence;
void ft_fence_raise(ft_fence *f);
void ft_fence_drop(ft_fence *f);

/* Refuses to overwrite: FT_EIO naming --force when `path` exists and `force` is not set, and in any case when it is a folder. */
int ft_claim_output(const char *path, bool force);

/* ---- text and JSON --------------------------------------------------------------------------------------------------------- */

/* Text in memory: print to t.f. ft_text_end closes it, FT_ENOMEM if something did not fit, and leaves it in t.text (free with
 * ft_text_free, which also closes what is open). */
typedef struct {
    FILE *f;
    char *text;
    size_t size;
} ft_text;
int ft_text_begin(ft_text *t);
int ft_text_end(ft_text *t);
void ft_text_free(ft_text *t);
int ft_text_write(ft_text *t, const char *path); /* ends it, writes the file, frees it */

/* `o` as text in fresh memory (free with ft_free). FT_ENOMEM also when any JSON value since the last call could not be made for
 * want of memory: a document never lacks a part. */
int ft_json_text(const json_t *o, size_t flags, char **text);
bool ft_json_lacked(void); /* could one not be made since the last call? For those who read JSON and write none */
int ft_write_json(const char *path, const json_t *o, int indent); /* o is borrowed */
json_t *ft_read_json(const char *path);                           /* NULL: not there, or not JSON */

/* Lower-case hex SHA-256 (64 characters and 0). */
void ft_sha256(const void *data, size_t size, char hex[65]);
int ft_sha256_file(const char *path, char hex[65]);
int ft_json_sha256(json_t *key, char hex[65]); /* of its compact text with sorted keys; the key is consumed */

/* Names in a folder without "." and "..", sorted bytewise. */
int ft_list_dir(const char *path, char ***names, int *n);
int ft_list_folder(int fd, const char *path, char ***names, int *n); /* of an open one; path: for messages */
void ft_free_names(char **names, int n);

/* One field of a CSV file, quoted where it must be (RFC 4180). */
void ft_csv_field(FILE *f, const char *s);
void ft_csv_probability(FILE *f, const char *label); /* the head of a column of probabilities: p_LABEL */
/* The same for a name in a table that people open: one that a spreadsheet would take for a formula (it begins with = + - @) gets
 * a ' in front. */
void ft_csv_cell(FILE *f, const char *s);

#endif
