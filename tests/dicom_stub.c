/* Stands in for the DICOM plugin where a library that goes wrong is needed: what it does hangs on the file's name. */
#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"
#include "common/io/dicom.h"

static bool midway;

static int open_file(void **file, const char *path, bool pictures, ft_dicom_head *head, ft_dicom_identity *who)
{
    const char *name = strrchr(path, '/') + 1;
    (void)pictures;
    memset(who, 0, sizeof *who);
    *file = NULL;
    if (!strncmp(name, "abort", 5)) abort();
    midway = !strncmp(name, "midway", 6);
    if (!strncmp(name, "memory", 6)) {
        char *all = malloc((size_t)1 << 32);
        if (!all) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
        free(all);
    }
    *head = (ft_dicom_head){.frames = 3, .width = 8, .height = 8, .channels = 1, .fps = 10};
    return FT_OK;
}

static double time_of(void *file, int64_t k) { return (void)file, (double)k; }

static int frame(void *file, int64_t k, uint8_t *to)
{
    (void)file;
    if (midway && k == 1) abort();
    memset(to, 77, 64);
    return FT_OK;
}

static int64_t parts(void *file, const ft_dicom_part **all) { return (void)file, (void)all, 0; }

static void close_file(void *file) { (void)file; }

static const ft_dicom_api api = {open_file, time_of, frame, parts, close_file};
extern const ft_dicom_api *const ft_dicom_gdcm;
const ft_dicom_api *const ft_dicom_gdcm = &api;
