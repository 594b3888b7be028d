/* doctor: what a user sends with a bug report. The machine, what was found and what is missing, which choices `auto` makes and
 * why, and whether this machine computes as fast as it should. */
#include <libavcodec/avcodec.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/machine.h"
#include "common/base/memory.h"
#include "common/base/plugin.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/graph/backend.h"
#include "common/train/precision.h"
#include "common/io/dicom.h"
#include "experiments/cli/cli.h"
#include "experiments/stages/environment.h"

/* A share of what registers reach under which something is wrong. Seen on the one machine tried (Xeon with AMX, oneDNN 2.6.3,
 * f32): products 0.5 to 0.65, convolutions 0.8 to 0.9; 0.33 while its host was busy. */
#define LOW_SHARE 0.35

typedef struct {
    json_t *o, *advice;
    FILE *text;
} findings;

static void say(findings *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(findings *f, const char *format, ...)
{
    va_list a;
    va_start(a, format);
    vfprintf(f->text, format, a);
    va_end(a);
}

static const char *text_of(const findings *f, const char *key) { return json_string_value(json_object_get(f->o, key)); }

static void advise(findings *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void advise(findings *f, const char *format, ...)
{
    char text[600];
    va_list a;
    va_start(a, format);
    vsnprintf(text, sizeof text, format, a);
    va_end(a);
    json_array_append_new(f->advice, json_string(text));
}

/* instruction sets that matter, of which this processor has */
static json_t *instructions(void)
{
    static const char *const known[] = {"avx2",     "fma",      "avx512f", "avx512_bf16", "avx512_fp16",
                                        "amx_tile", "amx_bf16", "asimd",   "sve",         "bf16"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ft_processor_has(known[i])) json_array_append_new(list, json_string(known[i]));
    return list;
}

typedef struct {
    double seconds; /* looked at */
    int cores;
    double others, stolen; /* cores that other processes, and the hypervisor, kept busy; negative: not known */
} load;

static load load_now(void)
{
    load l = {.seconds = 0.5};
    double stolen[2] = {0}, before = ft_busy_seconds(&l.cores, &stolen[0]);
    usleep((useconds_t)(1e6 * l.seconds));
    double after = ft_busy_seconds(&l.cores, &stolen[1]);
    l.others = before < 0 ? -1 : (after - before) / l.seconds; /* we slept */
    l.stolen = before < 0 ? -1 : (stolen[1] - stolen[0]) / l.seconds;
    return l;
}

static void look_at_load(findings *f)
{
    load l = load_now();
    json_object_set_new(f->o, "load", json_pack("{s:i,s:f,s:f}", "cores", l.cores, "others", l.others, "stolen", l.stolen));
    say(f, "load         other processes keep %.1f of %d cores busy; a hypervisor takes %.1f\n", l.others, l.cores, l.stolen);
    if (l.others > 0.3)
        advise(f,
               "other processes keep %.1f of %d cores busy: rates below are too low, and networks compute on the cores that are "
               "left",
               l.others, l.cores);
    if (l.stolen > 0.3)
        advise(f, "the hypervisor gives %.1f of %d cores to other guests: times are not to be trusted", l.stolen, l.cores);
}

static void look_at_memory(findings *f)
{
    double all = ft_memory_total() / 1024, left = ft_memory_available() / 1024;
    struct statvfs v;
    double disk = statvfs(".", &v) == 0 ? (double)v.f_bavail * (double)v.f_frsize / 1073741824.0 : -1;
    json_object_set_new(f->o, "memory_gib", json_pack("{s:f,s:f}", "total", all, "available", left));
    json_object_set_new(f->o, "disk_here_gib", json_real(disk));
    say(f, "memory       %.1f GiB, %.1f free; disk here %.1f GiB free\n", all, left, disk);
    if (left < 2) advise(f, "%.1f GiB of memory are free: the quickstart needs about 1", left);
    if (disk >= 0 && disk < 2) advise(f, "%.1f GiB are free in this folder: results of a study take some", disk);
}

static void look_at_rates(findings *f)
{
    ft_rates r;
    if (ft_rates_measure(&r)) {
        advise(f, "rates cannot be measured: %s", ft_error_message());
        return;
    }
    double limit[2] = {ft_rate_registers(false), ft_rate_registers(true)}, copy = ft_rate_copy();
    json_t *choice = json_object();
    say(f, "speed        GFLOP/s           f32    bf16   precision: auto\n");
    for (int w = 0; w < FT_WORKS; w++) {
        const char *takes = ft_bf16_wins(&r, (ft_work)w) ? "bf16" : "f32";
        json_object_set_new(choice, ft_work_name[w], json_string(takes));
        say(f, "             %-14s%7.0f %7.0f   %s\n", ft_work_name[w], r.gflops[w][0], r.gflops[w][1], takes);
        if (w < FT_WORK_DEPTHWISE && r.gflops[w][0] < LOW_SHARE * limit[0])
            advise(f,
                   "%s in f32 run at %.0f GFLOP/s, %.0f %% of what the registers of this processor reach, where 50 to 90 %% is "
                   "usual. "
                   "Is the machine busy?",
                   ft_work_name[w], r.gflops[w][0], 100 * r.gflops[w][0] / limit[0]);
        if (w < FT_WORK_DEPTHWISE && limit[1] > 1.5 * limit[0] && r.gflops[w][1] < 1.05 * r.gflops[w][0])
            advise(
                f,
                "%s are no faster in bf16 although the processor has the instructions: %s does not use them well, so auto takes "
                "f32. oneDNN 3.x may (Debian 13, conda-forge)",
                ft_work_name[w], ft_cpu_library());
    }
    say(f, "             registers     %7.0f %7.0f   what no product can exceed\n", limit[0], limit[1]);
    say(f, "             a plain copy moves %.1f GB/s\n", copy);
    json_object_set_new(f->o, "gflops", ft_rates_json(&r));
    json_object_set_new(f->o, "gflops_of_registers", json_pack("{s:f,s:f}", "f32", limit[0], "bf16", limit[1]));
    json_object_set_new(f->o, "auto", choice);
    json_object_set_new(f->o, "copy_gb_s", json_real(copy));
}

static void look_at_codecs(findings *f)
{
    static const struct {
        enum AVCodecID id;
        const char *name;
        bool write;
    } wanted[] = {{AV_CODEC_ID_H264, "h264", false},   {AV_CODEC_ID_HEVC, "hevc", false}, {AV_CODEC_ID_MPEG4, "mpeg4", false},
                  {AV_CODEC_ID_MJPEG, "mjpeg", false}, {AV_CODEC_ID_VP9, "vp9", false},   {AV_CODEC_ID_AV1, "av1", false},
                  {AV_CODEC_ID_H264, "h264", true},    {AV_CODEC_ID_GIF, "gif", true}};
    json_t *missing = json_array();
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (wanted[i].write ? avcodec_find_encoder(wanted[i].id) != NULL : avcodec_find_decoder(wanted[i].id) != NULL) continue;
        json_array_append_new(missing, json_sprintf("%s %s", wanted[i].write ? "writing" : "reading", wanted[i].name));
        advise(f, "this FFmpeg cannot do %s %s", wanted[i].write ? "writing of" : "reading of", wanted[i].name);
    }
    json_object_set_new(f->o, "codecs_missing", missing);
}

static void look_at_plugins(findings *f)
{
    char path[4096];
    bool usable;
    const char *gpu = ft_backend_gpu(&usable);
    ft_plugin_path(path, sizeof path, "libforty_mpi.so");
    bool mpi = ft_exists(path);
    json_object_set_new(f->o, "cuda", json_pack("{s:b,s:s}", "usable", usable, "says", gpu));
    json_object_set_new(f->o, "mpi", json_boolean(mpi));
    json_object_set_new(f->o, "dicom", json_boolean(ft_dicom_plugin_found()));
    say(f, "GPU          %s\n", gpu);
    say(f, "MPI          %s\n", mpi ? "plugin there" : "no plugin (this build found no MPI): one process trains a network");
    say(f, "DICOM        %s\n", ft_dicom_plugin_found() ? "plugin there" : "no plugin; where it is needed: " FT_GET_DICOM);
    if (!usable && ft_exists("/dev/nvidia0")) advise(f, "there is an NVIDIA device, but: %s", gpu);
}

static int run_doctor(ft_cli *c)
{
    ft_config *cfg;
    FT_TRY(ft_cli_config(c, NULL, &cfg)); /* --threads */
    ft_config_free(cfg);
    findings f = {.o = ft_environment(), .advice = json_array()};
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    f.text = t.f;
    json_t *have = instructions();
    char sets[200] = "";
    for (size_t i = 0; i < json_array_size(have); i++) {
        size_t at = strlen(sets);
        snprintf(sets + at, sizeof sets - at, " %s", json_string_value(json_array_get(have, i)));
    }
    json_object_set_new(f.o, "instructions", have);
    say(&f, "forty        %s, commit %s, %s\n", text_of(&f, "forty"), text_of(&f, "commit"), text_of(&f, "compiler"));
    say(&f, "processor    %s, %d threads;%s; kernels: %s\n", text_of(&f, "processor"), ft_threads_get(), sets,
        ft_backend_cpu()->name);
    say(&f, "libraries    oneDNN %s, HDF5 %s, FFmpeg's libavformat %s\n", text_of(&f, "onednn"), text_of(&f, "hdf5"),
        text_of(&f, "ffmpeg"));
    look_at_memory(&f);
    look_at_load(&f);
    look_at_plugins(&f);
    look_at_codecs(&f);
    look_at_rates(&f);
    size_t n = json_array_size(f.advice);
    if (n == 0) say(&f, "nothing is wrong that doctor can see\n");
    for (size_t i = 0; i < n; i++) say(&f, "note         %s\n", json_string_value(json_array_get(f.advice, i)));
    json_object_set_new(f.o, "notes", f.advice);
    int rc = ft_text_end(&t);
    if (rc == FT_OK) ft_cli_print(c, f.o, "%s", t.text);
    ft_text_free(&t);
    return rc;
}

const ft_verb ft_verb_doctor = {"doctor",
                                "the machine, libraries, what is missing, what `precision: auto` takes, speed; for bug reports",
                                "doctor [--threads N] [--json]",
                                "forty doctor --json",
                                NULL,
                                run_doctor};
