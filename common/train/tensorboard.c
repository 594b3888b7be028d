#include "common/train/tensorboard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/status.h"

struct ft_tensorboard {
    FILE *f;
    char path[1400];
};

/* CRC-32C (Castagnoli), as TFRecord stores it: rotated and offset */
static uint32_t masked_crc(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* ---- protocol buffers, as far as events need them: little-endian machines */

typedef struct {
    uint8_t byte[512];
    size_t n;
} message;

static void raw(message *m, const void *p, size_t n)
{
    FT_ASSERT(m->n + n <= sizeof m->byte);
    memcpy(m->byte + m->n, p, n);
    m->n += n;
}

static void varint(message *m, uint64_t v)
{
    do {
        uint8_t b = (uint8_t)((v & 127) | (v > 127 ? 128 : 0));
        raw(m, &b, 1);
        v >>= 7;
    } while (v);
}

static void field_bytes(message *m, int field, const void *p, size_t n)
{
    varint(m, (uint64_t)field << 3 | 2);
    varint(m, n);
    raw(m, p, n);
}

static message event(int64_t step)
{
    message m = {.n = 0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double wall = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    varint(&m, 1 << 3 | 1);
    raw(&m, &wall, sizeof wall);
    varint(&m, 2 << 3);
    varint(&m, (uint64_t)step);
    return m;
}

static int put(ft_tensorboard *t, const message *m)
{
    uint64_t length = m->n;
    uint32_t head = masked_crc((const uint8_t *)&length, sizeof length), tail = masked_crc(m->byte, m->n);
    if (fwrite(&length, sizeof length, 1, t->f) != 1 || fwrite(&head, sizeof head, 1, t->f) != 1 ||
        fwrite(m->byte, m->n, 1, t->f) != 1 || fwrite(&tail, sizeof tail, 1, t->f) != 1 || fflush(t->f) != 0)
        return FT_FAIL(FT_EIO, "%s: cannot be written (%s). Is the disk full?", t->path, strerror(errno));
    return FT_OK;
}

int ft_tensorboard_open(ft_tensorboard **out, const char *dir, int64_t step)
{
    char host[80] = "";
    gethostname(host, sizeof host - 1);
    ft_tensorboard *t = *out = ft_alloc(sizeof *t);
    if (!t) return FT_FAIL(FT_ENOMEM, "no memory for TensorBoard");
    snprintf(t->path, sizeof t->path, "%s/events.out.tfevents.%lld.%s.%d", dir, (long long)time(NULL), host, (int)getpid());
    if (!(t->f = fopen(t->path, "we"))) {
        int rc = FT_FAIL(FT_EIO, "%s: cannot be written (%s)", t->path, strerror(errno));
        ft_free(t);
        *out = NULL;
        return rc;
    }
    message version = event(0), start = event(step), log = {.n = 0};
    field_bytes(&version, 3, "brain.Event:2", 13);
    varint(&log, 1 << 3); /* SessionLog.status: START */
    varint(&log, 1);
    field_bytes(&start, 7, log.byte, log.n);
    int rc = put(t, &version);
    return rc == FT_OK ? put(t, &start) : rc;
}

int ft_tensorboard_scalar(ft_tensorboard *t, int64_t step, const char *tag, double value)
{
    message m = event(step), one = {.n = 0}, summary = {.n = 0};
    float v = (float)value;
    field_bytes(&one, 1, tag, strlen(tag));
    varint(&one, 2 << 3 | 5);
    raw(&one, &v, sizeof v);
    field_bytes(&summary, 1, one.byte, one.n);
    field_bytes(&m, 5, summary.byte, summary.n);
    return put(t, &m);
}

int ft_tensorboard_close(ft_tensorboard *t)
{
    if (!t) return FT_OK;
    int rc =
        fclose(t->f) == 0 ? FT_OK : FT_FAIL(FT_EIO, "%s: cannot be written (%s). Is the disk full?", t->path, strerror(errno));
    ft_free(t);
    return rc;
}
