#include "common/io/image.h"

#include <png.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

int ft_png_encode(const uint8_t *rgb, int w, int h, uint8_t **data, size_t *size)
{
    *data = NULL;
    if (w < 1 || h < 1 || w > 1 << 16 || h > 1 << 16)
        return FT_FAIL(FT_EDATA, "a picture of %dx%d cannot be written: at most %d a side", w, h, 1 << 16);
    png_image image = {.version = PNG_IMAGE_VERSION, .width = (png_uint_32)w, .height = (png_uint_32)h, .format = PNG_FORMAT_RGB};
    png_alloc_size_t n = PNG_IMAGE_PNG_SIZE_MAX(image);
    *data = ft_alloc(n);
    if (!*data) return FT_FAIL(FT_ENOMEM, "no memory for a picture of %dx%d", w, h);
    if (!png_image_write_to_memory(&image, *data, &n, 0, rgb, 0, NULL)) {
        ft_free(*data);
        *data = NULL;
        return FT_FAIL(FT_EIO, "a picture of %dx%d cannot be written: %s", w, h, image.message);
    }
    *size = n;
    return FT_OK;
}

int ft_contact_sheet(const uint8_t *const *clip, int n, int frames, int size, int shown, int gap, uint8_t **rgb, int *w, int *h)
{
    if (shown > frames) shown = frames;
    *rgb = NULL;
    int64_t wide = (int64_t)shown * (size + gap) - gap, high = (int64_t)n * (size + gap) - gap;
    if (shown < 1 || n < 1 || size < 1 || gap < 0 || wide > 1 << 16 || high > 1 << 16)
        return FT_FAIL(FT_EDATA, "a sheet of %d clips of %d frames of %d pixels: at most %d pixels a side. Show fewer", n, shown,
                       size, 1 << 16);
    *w = (int)wide, *h = (int)high;
    if (!(*rgb = ft_alloc((size_t)*w * (size_t)*h * 3))) return FT_FAIL(FT_ENOMEM, "no memory for a sheet of %d clips", n);
    memset(*rgb, 255, (size_t)*w * (size_t)*h * 3);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < shown; k++) {
            int f = shown > 1 ? k * (frames - 1) / (shown - 1) : 0;
            for (int y = 0; y < size; y++)
                memcpy(*rgb + (((size_t)(i * (size + gap) + y)) * (size_t)*w + (size_t)(k * (size + gap))) * 3,
                       clip[i] + (((size_t)f * (size_t)size + (size_t)y) * (size_t)size) * 3, (size_t)size * 3);
        }
    return FT_OK;
}
