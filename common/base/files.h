/* Files: outputs appear under their final name only when complete. */
#ifndef FT_FILES_H
#define FT_FILES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdint.h>

bool ft_exists(const char *path);
bool ft_is_dir(const char *path);
int ft_mkdirs(const char *path);      /* with parents; fine if there */
int ft_mkdirs_for(const char *path);  /* the folder that holds `path` */
int ft_remove_tree(const char *path); /* fine if absent */
const char *ft_base_name(const char *path);

/* Whole file into fresh memory with a 0 byte behind it; free with ft_free. At most `limit` bytes (0: 1 GiB). */
int ft_read_file(const char *path, size_t limit, char **data, size_t *size);

/* Write beside, sync, rename. ft_atomic_begin makes the folder and gives the name to write to (in `temp`);
 * ft_atomic_commit syncs and renames it; ft_atomic_abort removes it. Temporary names end in ".partial". */
typedef struct {
    char temp[1024], final[1024];
} ft_atomic;
int ft_atomic_begin(ft_atomic *a, const char *path);
int ft_atomic_commit(ft_atomic *a);
void ft_atomic_abort(ft_atomic *a);

int ft_write_file(const char *path, const void *data, size_t size); /* atomically */
int ft_write_json(const char *path, const json_t *o, int indent);   /* the same; o is borrowed */

/* Refuses to overwrite: FT_EIO naming --force when `path` exists and `force` is not set. */
int ft_claim_output(const char *path, bool force);

/* Lower-case hex SHA-256 (64 characters and 0). */
void ft_sha256(const void *data, size_t size, char hex[65]);
int ft_sha256_file(const char *path, char hex[65]);

/* Names in a folder without "." and "..", sorted bytewise. Free each and the list with ft_free. */
int ft_list_dir(const char *path, char ***names, int *n);

/* One field of a CSV file, quoted where it must be. */
void ft_csv_field(FILE *f, const char *s);

#endif
