/* Where the bytes of a .pth file's storages are: in a zip archive of torch.save, or in its older form, pickles and storages end
 * to end. */
#ifndef FT_PTH_BYTES_H
#define FT_PTH_BYTES_H

#include <stdbool.h>

#include "common/io/lookup.h"
#include "common/io/unpickle.h"

typedef struct {
    const char *name;
    size_t name_length, offset, size;
    bool packed; /* compressed or encrypted, as TorchScript's code is: not read */
} ft_pth_record;

typedef struct {
    ft_pth_record *record; /* zip entries, or legacy storages by key */
    int64_t n;
    ft_lookup by_name, by_key; /* by_key: the pickle's storages, in legacy files */
    const char *root;          /* zip: what stands before "data.pkl" */
    size_t root_length;
    bool script; /* an archive of torch.jit.save: a tree of modules, beside its code */
} ft_pth_bytes;

/* bytes of an element */
size_t ft_pth_dtype_size(const char *dtype);
/* of a storage's key; NULL: there is none */
const ft_pth_record *ft_pth_find(const ft_pth_bytes *b, const char *key);
/* FT_EDATA: it is compressed or encrypted */
int ft_pth_in_the_open(const ft_unpickler *m, const ft_pth_record *r);
/* top: what the pickle makes. FT_EDATA: cut off, damaged, compressed, big-endian. */
int ft_pth_zip(ft_unpickler *m, const unsigned char *file, size_t size, ft_pth_bytes *b, ft_pickled **top);
const ft_pickled *ft_pth_dict_get(const ft_pickled *d, const char *key);
int ft_pth_legacy(ft_unpickler *m, const unsigned char *file, size_t size, ft_pth_bytes *b, ft_pickled **top);
void ft_pth_bytes_free(ft_pth_bytes *b);

#endif
