/* Frames of videos against FFmpeg's own program (golden/make_golden_video.py), folders of images, crops. */
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// after those that it needs
#include <cmocka.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/video.h"
#include "tests/encode.h"
#include "tests/tree.h"

enum { S = 16, EACH = S * S * 3 };

static char dir[] = "/tmp/forty-video-XXXXXX";
static const char *in_dir(const char *name)
{
    static char path[4][512];
    static int k;
    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

/* ---- against FFmpeg --------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *file, *crop;
    int frames;
} golden[] = {
#include "tests/golden/video/golden.h"
};

/* every clip is FFmpeg's own conversion within rounding */
static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        ft_video v;
        char path[512], *want;
        size_t size;
        int64_t index[64];
        int worst = 0;
        snprintf(path, sizeof path, "%s/golden/video/%s", FT_TEST_DIR, golden[i].file);
        if (ft_video_open(&v, path) < 0) fail_msg("%s", ft_error_message());
        if (v.frames != golden[i].frames) fail_msg("%s: %lld frames, not %d", path, (long long)v.frames, golden[i].frames);
        if (*golden[i].crop && ft_video_crop(&v, golden[i].crop, NULL) < 0) fail_msg("%s", ft_error_message());
        uint8_t *rgb = malloc((size_t)v.frames * EACH);
        for (int64_t k = 0; k < v.frames; k++) index[k] = k;
        if (ft_video_frames(&v, index, v.frames, S, FT_CROP_CENTRE, rgb) < 0) fail_msg("%s", ft_error_message());
        strcat(path, *golden[i].crop ? "-crop.rgb" : ".rgb");
        assert_int_equal(ft_read_file(path, 0, &want, &size), FT_OK);
        assert_int_equal(size, (size_t)v.frames * EACH);
        for (size_t k = 0; k < size; k++) {
            int far = abs(rgb[k] - (uint8_t)want[k]);
            worst = far > worst ? far : worst;
        }
        if (worst > 1) fail_msg("%s: %d levels from FFmpeg's", path, worst);
        free(rgb);
        ft_free(want);
        ft_video_close(&v);
    }
}

static int set_up(void **state)
{
    (void)state;
    ft_log_quiet(true);
    return mkdtemp(dir) ? 0 : -1;
}
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    (void)in_dir;
    return cmocka_run_group_tests_name("video", tests, set_up, tear_down);
}
