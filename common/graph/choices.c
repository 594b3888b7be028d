#include "common/graph/choices.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/context_parts.h"
#include "common/base/log.h"

enum { MOST = 16 << 20 }; /* bytes of such a file: a hundred times what a sweep of every model leaves */

void ft_choices_keep(const char *folder)
{
    ft_context *c = ft__context();
    snprintf(c->device.folder, sizeof c->device.folder, "%s", folder ? folder : "");
}

/* Columns: device, what, choice. A line without its end was never finished; one with a fourth column was ended by the next
 * writer. */
bool ft_choices_find(const char *text, size_t size, const char *device, const char *what, char held[FT_CHOICE])
{
    size_t nd = strlen(device), nw = strlen(what);
    for (const char *line = text, *end; (end = memchr(line, '\n', size - (size_t)(line - text))); line = end + 1) {
        size_t n = (size_t)(end - line);
        if (n < nd + nw + 3 || memcmp(line, device, nd) != 0 || line[nd] != '\t' || memcmp(line + nd + 1, what, nw) != 0 ||
            line[nd + 1 + nw] != '\t')
            continue;
        size_t length = n - nd - nw - 2;
        if (length >= FT_CHOICE || memchr(line + nd + nw + 2, 0, length) || memchr(line + nd + nw + 2, '\t', length)) continue;
        memcpy(held, line + nd + nw + 2, length);
        held[length] = 0;
        return true;
    }
    return false;
}

static bool clean(const char *s) { return *s && !strpbrk(s, "\t\n"); }

static char *whole(int f, size_t *size)
{
    struct stat s;
    *size = 0;
    if (fstat(f, &s) < 0 || !S_ISREG(s.st_mode) || s.st_size > MOST) return NULL;
    char *text = malloc((size_t)s.st_size + 1);
    while (text && *size < (size_t)s.st_size) {
        ssize_t n = pread(f, text + *size, (size_t)s.st_size - *size, (off_t)*size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        *size += (size_t)n;
    }
    return text;
}

/* One write of a whole line at the end; what a process that was killed left unfinished is made void first. */
static bool append(int f, bool begun, const char *device, const char *what, const char *mine)
{
    char line[3 * FT_CHOICE + 8];
    int n = snprintf(line, sizeof line, "%s%s\t%s\t%s\n", begun ? "\t\n" : "", device, what, mine);
    return n < (int)sizeof line && write(f, line, (size_t)n) == n;
}

bool ft_choices_agree(void *context, const char *device, const char *what, const char *mine, char *held)
{
    ft_context *c = ft__context();
    size_t size;
    char path[sizeof c->device.folder + 20];
    (void)context; /* the plugin knows one for all: a step is planned in the context of its graph */
    snprintf(path, sizeof path, "%s/gpu-choices.tsv", c->device.folder);
    if (!c->device.folder[0] || !clean(device) || !clean(what) || (mine && !clean(mine))) return false;
    int f = open(path, mine ? O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0644);
    if (f < 0 && mine) f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0 && !mine) return false;
    while (f >= 0 && flock(f, mine ? LOCK_EX : LOCK_SH) < 0 && errno == EINTR) continue; /* without locks: a line is one write */
    char *text = f < 0 ? NULL : whole(f, &size);
    bool there = text && ft_choices_find(text, size, device, what, held);
    if (!there && mine && !c->device.said && (!text || !append(f, size > 0 && text[size - 1] != '\n', device, what, mine))) {
        ft_log("%s: cannot be written (%s): another run may choose other algorithms, and differ in the last digits", path,
               strerror(errno));
        c->device.said = true;
    }
    free(text);
    if (f >= 0) close(f); /* and with it the lock */
    return there;
}
