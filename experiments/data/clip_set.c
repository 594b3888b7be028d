#include "experiments/data/clip_set.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/stills.h"
#include "common/io/video.h"

/* ---- opening --------------------------------------------------------------------------------------------------------------- */

static int no_memory(const char *path) { return FT_FAIL(FT_ENOMEM, "%s: no memory for a set of clips", path); }

static bool holds_images(const char *folder)
{
    char **name;
    int n;
    bool found = false;
    if (ft_list_dir(folder, &name, &n) < 0) return false;
    for (int i = 0; i < n; i++) found |= ft_still_name(name[i]);
    ft_free_names(name, n);
    return found;
}

/* a folder per class: folders alone, and none holds pictures */
static bool by_class(const ft_clip_set *s)
{
    bool classes = true;
    for (int i = 0; classes && i < s->list.n; i++) {
        char *path = ft_format("%s/%s", s->path, s->list.row[i].video);
        classes = path && ft_is_dir(path) && !holds_images(path);
        ft_free(path);
    }
    return classes;
}

static int open_folder(ft_clip_set *s)
{
    FT_TRY(ft_labels_from_files(&s->list, s->path));
    if (by_class(s)) {
        ft_labels_free(&s->list);
        FT_TRY(ft_labels_from_folders(&s->list, s->path, NULL));
    }
    for (int i = 0; i < s->list.n; i++)
        if (!(s->list.row[i].file = ft_format("%s/%s", s->path, s->list.row[i].video))) return no_memory(s->path);
    return FT_OK;
}

/* one after another, each once */
static void add_word(char *words, size_t size, const char *word)
{
    size_t n = strlen(word), at = strlen(words);
    for (const char *p = words; (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (!p[n] || p[n] == ',')) return;
    snprintf(words + at, size - at, "%s%s", at ? ", " : "", *word ? word : "(none)");
}

/* Videos of one class are left: of a store the clips of the others go out of its list. */
static int keep_class(ft_clip_set *s, const char *class)
{
    int64_t kept = 0;
    char words[400] = "";
    if (!class || !*class) return FT_OK;
    for (int64_t i = 0; s->of_store && i < s->store.n_clip; i++) {
        const char *label = s->store.video[s->store.clip[i].video].label;
        add_word(words, sizeof words, label);
        if (strcmp(label, class)) continue;
        if (kept != i)
            memmove(s->store.pixels + kept * ft_clip_bytes(&s->store), ft_clip_pixels(&s->store, i),
                    (size_t)ft_clip_bytes(&s->store));
        s->store.clip[kept++] = s->store.clip[i];
    }
    if (s->of_store) s->store.n_clip = kept;
    for (int i = s->list.n - 1; i >= 0; i--) {
        add_word(words, sizeof words, s->list.row[i].label);
        if (strcmp(s->list.row[i].label, class)) ft_labels_drop(&s->list, i);
        else kept++;
    }
    return kept ? FT_OK : FT_FAIL(FT_EDATA, "%s: holds no clips of the class %s. Its classes: %s", s->path, class, words);
}

static int add_sum(ft_text *t, const char *name, const char *path)
{
    char hex[65];
    FT_TRY(ft_sha256_file(path, hex));
    fprintf(t->f, "%s  %s\n", hex, name);
    return FT_OK;
}

/* of the names and bytes of all videos */
static int sum_folder(ft_clip_set *s)
{
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    int rc = FT_OK;
    for (int i = 0; rc == FT_OK && i < s->list.n; i++) {
        const ft_label *v = &s->list.row[i];
        char **name = NULL;
        int n = 0;
        if (!ft_is_dir(v->file)) {
            rc = add_sum(&t, v->video, v->file);
            continue;
        }
        rc = ft_list_dir(v->file, &name, &n);
        for (int k = 0; rc == FT_OK && k < n; k++) {
            char *path = ft_format("%s/%s", v->file, name[k]), *as = ft_format("%s/%s", v->video, name[k]);
            if (!path || !as) rc = no_memory(s->path);
            else if (ft_still_name(name[k])) rc = add_sum(&t, as, path);
            ft_free(path), ft_free(as);
        }
        ft_free_names(name, n);
    }
    if (rc == FT_OK && (rc = ft_text_end(&t)) == FT_OK) ft_sha256(t.text, t.size, s->id);
    ft_text_free(&t);
    return rc;
}

int ft_clip_set_open(ft_clip_set *s, const char *path, const char *class)
{
    const char *dot = strrchr(path, '.');
    *s = (ft_clip_set){.path = ft_strdup(path), .of_store = !ft_is_dir(path)};
    int rc = s->path ? FT_OK : no_memory(path);
    if (rc == FT_OK && s->of_store && !(dot && !strcmp(dot, ".h5")))
        rc = FT_FAIL(
            ft_exists(path) ? FT_EDATA : FT_EIO,
            "%s: %s. A set of clips is a clip store (.h5), a folder of videos, of folders of frames or of pictures, or stored "
            "features (.npy, .safetensors, a folder of .npy)",
            path, ft_exists(path) ? "not a set of clips" : "is not there");
    if (rc == FT_OK) rc = s->of_store ? ft_clipstore_read(&s->store, path) : open_folder(s);
    if (rc == FT_OK && s->of_store && s->store.n_clip == 0) rc = FT_FAIL(FT_EDATA, "%s: holds no clips", path);
    if (rc == FT_OK) rc = keep_class(s, class);
    if (rc == FT_OK && !s->of_store) rc = sum_folder(s);
    if (rc == FT_OK && s->of_store)
        rc = ft_json_sha256(json_pack("{s:s,s:s}", "store", s->store.id, "class", class ? class : ""), s->id);
    if (rc < 0) ft_clip_set_free(s);
    return rc;
}

void ft_clip_set_free(ft_clip_set *s)
{
    ft_clipstore_free(&s->store);
    ft_labels_free(&s->list);
    ft_free(s->path);
    memset(s, 0, sizeof *s);
}

/* ---- taking ---------------------------------------------------------------------------------------------------------------- */

/* What is kept from video to video */
typedef struct {
    const ft_take_opt *o;
    ft_taker take;
    void *of;
    ft_resizer *first, *second; /* for pictures of `from` pixels */
    int from;
    float *stored, *between; /* a picture as it comes; after the first resizing */
    int64_t video, given;    /* those that had clips; clips */
    /* of this video: */
    int64_t *start, clips, next;
    int64_t *wanted, *place, n_wanted; /* frames in rising order; where each stands among them */
    float *ring, *clip;                /* prepared frames, the k-th at k % room; one clip */
    int64_t room;
} walk;

static int64_t frame_of(const walk *w, int64_t clip, int64_t k) { return w->start[clip] + k * w->o->stride; }
static int64_t picture(const walk *w) { return (int64_t)w->o->size * w->o->size * 3; }

static int pictures_of(walk *w, int from)
{
    const ft_take_opt *o = w->o;
    int middle = o->first ? o->first : from;
    if (w->from == from) return FT_OK;
    ft_resizer_free(w->first), ft_resizer_free(w->second), ft_free(w->stored), ft_free(w->between);
    w->first = w->second = NULL, w->from = from;
    w->stored = ft_alloc_n((int64_t)from * from * 3, sizeof(float)),
    w->between = ft_alloc_n((int64_t)middle * middle * 3, sizeof(float));
    if (!w->stored || !w->between) return FT_FAIL(FT_ENOMEM, "no memory for pictures of %d pixels", from);
    if (o->first) FT_TRY(ft_resizer_new(&w->first, from, middle, o->first_filter));
    return ft_resizer_new(&w->second, middle, o->size, middle == o->size ? FT_FILTER_none : o->filter);
}

/* one clip or none, and the middles of what is left over where several are evenly spread */
static int choose(walk *w, int64_t total)
{
    const ft_take_opt *o = w->o;
    int64_t span = (int64_t)(o->frames - 1) * o->stride + 1, spare = total - span, n = o->clips ? o->clips : total / span;
    ft_rng r = ft_rng_make(o->seed, FT_STREAM_WINDOW_OF_VIDEO, (uint64_t)w->video);
    w->clips = w->next = 0;
    if (spare < 0) return FT_OK;
    if (o->clips > 1 && n > spare + 1) n = spare + 1;
    if (o->most && n > o->most - w->given) n = o->most - w->given;
    ft_free(w->start);
    if (!(w->start = ft_alloc_n(n + 1, sizeof *w->start))) return FT_FAIL(FT_ENOMEM, "no memory for %lld clips", (long long)n);
    for (int64_t k = 0; k < n; k++)
        w->start[k] = o->clips == 0  ? k * span
                      : o->clips > 1 ? k * spare / (o->clips - 1)
                      : o->random    ? ft_rng_below(&r, spare + 1)
                                     : 0;
    w->clips = n;
    return FT_OK;
}

static int plan(walk *w, int64_t total)
{
    int64_t frames = w->o->frames;
    ft_free(w->wanted), ft_free(w->place), ft_free(w->ring);
    w->n_wanted = 0, w->room = 1, w->ring = NULL;
    w->wanted = ft_alloc_n(total + 1, sizeof *w->wanted), w->place = ft_alloc_n(total + 1, sizeof *w->place);
    if (!w->wanted || !w->place) return FT_FAIL(FT_ENOMEM, "no memory for %lld frames", (long long)total);
    for (int64_t i = 0; i < w->clips * frames; i++) w->place[frame_of(w, i / frames, i % frames)] = 1;
    for (int64_t f = 0; f < total; f++)
        if (w->place[f]) w->place[f] = w->n_wanted, w->wanted[w->n_wanted++] = f;
    for (int64_t k = 0; k < w->clips; k++) {
        int64_t needs = w->place[frame_of(w, k, frames - 1)] - w->place[frame_of(w, k, 0)] + 1;
        if (needs > w->room) w->room = needs;
    }
    if (!(w->ring = ft_alloc_n(w->room * picture(w), sizeof *w->ring)))
        return FT_FAIL(FT_ENOMEM, "no memory for %lld frames of %d pixels", (long long)w->room, w->o->size);
    return FT_OK;
}

/* the clips whose last frame is the k-th */
static int give(walk *w, int64_t k)
{
    size_t each = (size_t)picture(w);
    for (; w->next < w->clips && w->place[frame_of(w, w->next, w->o->frames - 1)] <= k; w->next++, w->given++) {
        for (int64_t f = 0; f < w->o->frames; f++)
            memcpy(w->clip + (size_t)f * each, w->ring + (size_t)(w->place[frame_of(w, w->next, f)] % w->room) * each,
                   each * sizeof(float));
        FT_TRY(w->take(w->of, w->video, w->clip));
    }
    return FT_OK;
}

static int take_frame(void *of, int64_t k, const uint8_t *rgb)
{
    walk *w = of;
    const float *x = w->stored;
    for (int64_t i = 0; i < (int64_t)w->from * w->from * 3; i++) w->stored[i] = rgb[i];
    if (w->first) ft_resize_picture(w->first, x, true, w->between), x = w->between;
    ft_resize_picture(w->second, x, false, w->ring + (k % w->room) * picture(w));
    return give(w, k);
}

static int walk_file(walk *w, const ft_label *label)
{
    ft_video v;
    FT_TRY(ft_video_open(&v, label->file));
    int lying = v.width * v.aspect < v.height, from = lying ? v.width : v.height; /* the short side, as it is stored */
    int rc = choose(w, v.frames);
    if (rc == FT_OK && w->clips) rc = plan(w, v.frames);
    if (rc == FT_OK && w->clips) rc = pictures_of(w, from);
    if (rc == FT_OK && w->clips) rc = ft_video_each(&v, w->wanted, w->n_wanted, from, FT_CROP_CENTRE, take_frame, w);
    ft_video_close(&v);
    return rc;
}

/* clips of a store: the first of each video where one is taken, some, or all, of each as many windows as it has */
static int walk_clip(walk *w, const ft_clipstore *s, int64_t i)
{
    int64_t frame = (int64_t)s->size * s->size * 3;
    FT_TRY(choose(w, s->frames));
    if (!w->clips) return FT_OK;
    FT_TRY(plan(w, s->frames));
    FT_TRY(pictures_of(w, s->size));
    for (int64_t k = 0; k < w->n_wanted; k++) FT_TRY(take_frame(w, k, ft_clip_pixels(s, i) + w->wanted[k] * frame));
    return FT_OK;
}

static int walk_store(walk *w, const ft_clip_set *set, int64_t *left_out, ft_progress *bar)
{
    const ft_clipstore *s = &set->store;
    ft_take_opt one = *w->o;
    int64_t *mine = ft_alloc_n(s->n_clip + 1, sizeof *mine), done = 0;
    int rc = mine ? FT_OK : no_memory(set->path);
    if (one.clips > 1) one.clips = 1; /* of each of its clips that is taken */
    const ft_take_opt *asked = w->o;
    w->o = &one;
    for (int64_t v = 0; rc == FT_OK && v < s->n_video; v++) {
        int64_t n = 0, given = w->given;
        for (int64_t i = 0; i < s->n_clip; i++)
            if (s->clip[i].video == v) mine[n++] = i;
        int64_t some = asked->clips == 0 || asked->clips > n ? n : asked->clips;
        for (int64_t k = 0; rc == FT_OK && k < some && !(one.most && w->given >= one.most); k++)
            rc = walk_clip(w, s, mine[k * n / some]);
        if (ft_interrupted) rc = FT_FAIL(FT_EINTERRUPTED, "interrupted");
        w->video += w->given > given;
        *left_out += n > 0 && w->given == given && !(one.most && w->given >= one.most);
        ft_progress_step(bar, done += n);
    }
    ft_free(mine);
    return rc;
}

int ft_clip_set_each(const ft_clip_set *s, const ft_take_opt *o, ft_taker take, void *of, int64_t *left_out)
{
    walk w = {.o = o, .take = take, .of = of, .clip = ft_alloc_n((int64_t)o->frames * o->size * o->size * 3, sizeof(float))};
    int64_t all = s->of_store ? s->store.n_clip : s->list.n;
    ft_progress bar;
    *left_out = 0;
    if (!w.clip) return FT_FAIL(FT_ENOMEM, "no memory for clips of %d frames and %d pixels", o->frames, o->size);
    ft_progress_start(&bar, s->path, all);
    int rc = s->of_store ? walk_store(&w, s, left_out, &bar) : FT_OK;
    for (int i = 0; rc == FT_OK && i < s->list.n && !(o->most && w.given >= o->most); i++) {
        int64_t given = w.given;
        rc = walk_file(&w, &s->list.row[i]);
        if (ft_interrupted) rc = FT_FAIL(FT_EINTERRUPTED, "interrupted");
        w.video += w.given > given, *left_out += w.given == given;
        ft_progress_step(&bar, i + 1);
    }
    ft_progress_end(&bar, all);
    if (rc == FT_OK && w.given == 0)
        rc = FT_FAIL(FT_EDATA,
                     "%s: none of its videos has the %d frames that a clip of %d at stride %d spans. Use fewer frames or a "
                     "smaller stride",
                     s->path, (o->frames - 1) * o->stride + 1, o->frames, o->stride);
    ft_resizer_free(w.first), ft_resizer_free(w.second);
    ft_free(w.stored), ft_free(w.between), ft_free(w.start), ft_free(w.wanted), ft_free(w.place), ft_free(w.ring),
        ft_free(w.clip);
    return rc;
}
