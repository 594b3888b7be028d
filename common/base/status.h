/* Status codes and the last error message.
 *
 * The world's faults (files, configuration, memory, data, devices) are negative statuses with a message that names what
 * failed, the values, the place, and what to do. Our own mistakes are FT_ASSERT, which stays on in release builds.
 *
 *     int read_it(const char *path)
 *     {
 *         FT_TRY(ft_open_it(path));
 *         if (bad) return FT_FAIL(FT_EDATA, "%s: 3 frames, 16 needed. Use --frames 3 or a longer video", path);
 *         return FT_OK;
 *     }
 */
#ifndef FT_STATUS_H
#define FT_STATUS_H

/*       name        value  what it means to a caller */
#define FT_STATUS_TABLE(X)                                                                                                       \
    X(FT_OK, 0, "done")                                                                                                          \
    X(FT_EIO, -1, "a file could not be read or written")                                                                         \
    X(FT_EDATA, -2, "data is not what it should be")                                                                             \
    X(FT_ECONFIG, -3, "a setting is wrong")                                                                                      \
    X(FT_ENOMEM, -4, "memory could not be had")                                                                                  \
    X(FT_EDEVICE, -5, "the device cannot do this")                                                                               \
    X(FT_EUSAGE, -6, "the command line is wrong")                                                                                \
    X(FT_EINTERRUPTED, -7, "interrupted, state is saved")                                                                        \
    X(FT_EGRAPH, -8, "a network was built wrongly")                                                                              \
    X(FT_EBUSY, -9, "another process is at it")

typedef enum {
#define X(name, value, text) name = value,
    FT_STATUS_TABLE(X)
#undef X
} ft_status;

#ifdef __cplusplus
extern "C" {
#endif

/* Records the message "FORMAT..." for this thread and returns `code`. */
int ft_fail(int code, const char *file, int line, const char *format, ...) __attribute__((format(printf, 4, 5)));
#define FT_FAIL(code, ...) ft_fail((code), __FILE__, __LINE__, __VA_ARGS__)

const char *ft_error_message(void); /* of the last failure on this thread; "" if none */
const char *ft_error_place(void);   /* "file:line" in forty's sources of that failure */
const char *ft_status_text(int code);

#define FT_TRY(call)                                                                                                             \
    do {                                                                                                                         \
        int ft_try_rc_ = (call);                                                                                                 \
        if (ft_try_rc_ < 0) return ft_try_rc_;                                                                                   \
    } while (0)

/* As FT_TRY, but jumps to `label` with `rc` set, for functions that own something. */
#define FT_TRY_TO(rc, label, call)                                                                                               \
    do {                                                                                                                         \
        (rc) = (call);                                                                                                           \
        if ((rc) < 0) goto label;                                                                                                \
    } while (0)

void ft_assert_failed(const char *file, int line, const char *what) __attribute__((noreturn));
#define FT_ASSERT(cond) ((cond) ? (void)0 : ft_assert_failed(__FILE__, __LINE__, #cond))

#ifdef __cplusplus
}
#endif
#endif
