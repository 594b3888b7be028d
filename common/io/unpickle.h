/* Python's pickle, as torch.save writes it: data is made, nothing is executed. What a class or a call would make is opaque, but
 * for tensors, their storages, sizes and ordered dicts. */
#ifndef FT_UNPICKLE_H
#define FT_UNPICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/memory.h"
#include "common/io/safetensors.h"

typedef enum {
    FT_PICKLE_NONE,
    FT_PICKLE_INT,
    FT_PICKLE_OTHER,
    FT_PICKLE_TEXT,
    FT_PICKLE_SEQUENCE,
    FT_PICKLE_DICT,
    FT_PICKLE_SYMBOL,
    FT_PICKLE_STORAGE,
    FT_PICKLE_TENSOR,
    FT_PICKLE_OPAQUE,
    FT_PICKLE_MARK
} ft_pickle_kind;

typedef struct ft_pickled ft_pickled;
struct ft_pickled {
    ft_pickle_kind kind;
    int64_t value;     /* INT; TEXT: bytes; STORAGE: elements; TENSOR: offset in elements */
    const char *text;  /* TEXT; SYMBOL: "module name"; STORAGE: key */
    const char *type;  /* STORAGE: dtype */
    ft_pickled **item; /* SEQUENCE; DICT: key, value, key, ...; OPAQUE: its state; TENSOR: its storage */
    int n, room, ndim;
    int64_t *dim, *stride; /* TENSOR, in elements */
};

/* Zero but for path, arena, and the bytes: p = begin, end. */
typedef struct {
    const char *path;
    ft_arena *arena;                       /* of all that is made */
    char *spare;                           /* the rest of its last chunk */
    size_t spare_size, used;               /* used: bytes of the arena in all */
    const unsigned char *p, *end;          /* the pickle */
    const unsigned char *begin;            /* of it, or of the first of several */
    ft_pickled **stack, **memo, **storage; /* storage: every one that the pickle names */
    int64_t n_stack, n_storage, n_memo;
} ft_unpickler;

/* One pickle, from p to behind its STOP. FT_EDATA: it is damaged, or does what is not allowed. */
int ft_unpickle(ft_unpickler *m, ft_pickled **result);
void ft_unpickler_free(ft_unpickler *m); /* all but the arena */

/* The tensors of a tree of objects (a TorchScript module) in one dict, under their attributes' names joined by dots. FT_EDATA: it
 * is no tree, or deeper than any network. */
int ft_unpickler_tree(ft_unpickler *m, const ft_pickled *top, const ft_pickled **dict);

/* FT_EDATA: "PATH: not a PyTorch file that can be read: ..." */
int ft_unpickler_bad(const ft_unpickler *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* n bytes behind p, which moves */
int ft_unpickler_take(ft_unpickler *m, size_t n, const unsigned char **at);
uint64_t ft_little(const unsigned char *p, int n); /* the little-endian number of n bytes */

#endif
