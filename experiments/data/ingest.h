/* Videos and labels to a clip store. */
#ifndef FT_INGEST_H
#define FT_INGEST_H

#include <stdbool.h>

#include "common/io/clip_sampler.h"
#include "experiments/data/lists.h"

typedef struct {
    const char *videos, *labels; /* folder; label list, or NULL for a folder per class */
    ft_sampling sampling;        /* which frames; its clips: of a video */
    const char *view;            /* "centre", "left", "3crop": three clips for each */
    int size;
    double fps; /* resample to this rate first; 0: as it is. Images are taken to have it */
    bool skip;  /* a bad video is reported and left out instead of ending everything */
    bool gzip;
    const char
        *checksums;     /* SHA-256 of the videos, as sha256sum writes them: verified, or written if it is not there; NULL: no */
    bool outside;       /* the label list may name videos outside of the folder: by ".." or from the root */
    ft_list_words list; /* how the list is read */
    const char *crop;   /* ft_video_crop; NULL: none. A picture of what is kept goes beside the store: CLIPS.crop.png */
} ft_ingest_opt;

typedef struct {
    int videos, clips, skipped;
    int shortened, repeating; /* videos that were taken at a smaller stride; whose clips repeat frames (sampler released) */
    int burnt_in, may_be;     /* DICOM videos that say text is burnt into the picture; that do not say whether it is */
} ft_ingest_result;

int ft_ingest(const ft_ingest_opt *opt, const char *path, ft_ingest_result *result);

#endif
