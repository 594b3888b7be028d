/* Every configuration key, once: this table reads YAML, serves --set and --help, and is written out again.
 *  key, type, default, low, high, help. TEXT and CHOICE defaults are strings; a CHOICE lists its values in `help` before ':'. */
#define FT_CONFIG_TABLE(KEY)                                                                                                     \
    KEY("task", CHOICE, "", 0, 0, "vae|generator|classifier: what `forty train` trains")                                         \
    KEY("seed", INT, "0", 0, 1e9, "seed of `forty train`; experiments count seeds from it")                                      \
    KEY("threads", INT, "0", 0, 1024, "0: all cores")                                                                            \
    KEY("precision", CHOICE, "auto", 0, 0, "auto|f32|bf16: storage of activations; auto: bf16 where it is faster")               \
    KEY("device", CHOICE, "auto", 0, 0, "auto|cpu: where to compute")                                                            \
    KEY("data.clips", TEXT, "", 0, 0, "clip store to use")                                                                       \
    KEY("data.phantom", BOOL, "false", 0, 1, "use the procedural colonoscopy phantom (phantom.*)")                               \
    KEY("data.videos", TEXT, "", 0, 0, "folder of videos, ingested once")                                                        \
    KEY("data.labels", TEXT, "", 0, 0, "label list (CSV) of these videos; empty: a folder per class")                            \
    KEY("data.unlabelled", TEXT, "", 0, 0, "clip store of further unlabelled real clips, for the arm real-unlabelled")           \
    KEY("data.map", LIST, "", 0, 0, "renames labels: {covid: ill, pneumonia: ill}")                                              \
    KEY("data.frames", INT, "16", 1, 256, "frames of a clip")                                                                    \
    KEY("data.stride", INT, "3", 1, 1000, "source frames from one frame of a clip to the next")                                  \
    KEY("data.fps", REAL, "0", 0, 1000, "resample to this rate first; 0: as it is")                                              \
    KEY("data.size", INT, "64", 16, 512, "pixels: frames are square")                                                            \
    KEY("data.clips_per_video", INT, "1", 0, 1000, "clips spread evenly over each video; 0: all that fit")                       \
    KEY("data.on_error", CHOICE, "stop", 0, 0, "stop|skip: what a bad video does")                                               \
    KEY("phantom.videos", INT, "320", 4, 100000, "videos, split into pool, validation and test")                                 \
    KEY("phantom.balance", REAL, "0.5", 0.05, 0.95, "share of polyp videos")                                                     \
    KEY("phantom.seed", INT, "0", 0, 1e9, "another seed is another data set")                                                    \
    KEY("positive", TEXT, "", 0, 0, "the class that F1 counts; empty: the last in alphabetical order")                           \
    KEY("labels", INT, "40", 2, 1e6, "labelled videos of each split, balanced over classes; 0 < labels")                         \
    KEY("generated", INT, "200", 1, 1e6, "clips sampled from a generator, and of noise")                                         \
    KEY("protocol", TEXT, "strict", 0, 0, "name printed in the table")                                                           \
    KEY("evaluation", CHOICE, "test-list", 0, 0, "test-list|cross-validation: a fixed test list, or repeated grouped folds")     \
    KEY("test_fraction", REAL, "0.25", 0.05, 0.9, "share of videos drawn as test list where the data name none")                 \
    KEY("validation", INT, "-1", -1, 1e6, "validation videos; -1: those the data name, else as many as fit, at most `labels`")   \
    KEY("folds", INT, "5", 2, 100, "folds of cross-validation")                                                                  \
    KEY("splits", INT, "3", 1, 1000, "label splits (repeats in cross-validation)")                                               \
    KEY("seeds", INT, "1", 1, 1000, "training seeds for each split")                                                             \
    KEY("selection", CHOICE, "last", 0, 0, "last|validation: which weights are scored")                                          \
    KEY("arms", LIST, "supervised", 0, 0, "arms to compare: see `forty models` and `clips: FILE`")                               \
    KEY("vae.model", TEXT, "vae-tiny", 0, 0, "video VAE preset")                                                                 \
    KEY("vae.steps", INT, "2000", 1, 1e8, "training steps")                                                                      \
    KEY("vae.batch", INT, "4", 1, 4096, "clips a step")                                                                          \
    KEY("vae.lr", REAL, "0.002", 0, 1, "learning rate, cosine to 0")                                                             \
    KEY("vae.kl", REAL, "1e-6", 0, 1, "weight of the KL term (sum over latent values)")                                          \
    KEY("vae.ffl", REAL, "0.1", 0, 100, "weight of the focal frequency loss")                                                    \
    KEY("vae.ema", REAL, "0.999", 0, 1, "EMA decay, warmed up")                                                                  \
    KEY("generator.model", TEXT, "medsora-tiny", 0, 0, "generator preset of `forty train`; experiments take it from the arm")    \
    KEY("generator.steps", INT, "5000", 1, 1e8, "training steps")                                                                \
    KEY("generator.batch", INT, "16", 1, 4096, "latent clips a step")                                                            \
    KEY("generator.lr", REAL, "0.001", 0, 1, "learning rate, linear warm-up, cosine to 0")                                       \
    KEY("generator.warmup", INT, "50", 0, 1e8, "steps of linear warm-up")                                                        \
    KEY("generator.ema", REAL, "0.9999", 0, 1, "EMA decay, warmed up; the EMA is sampled")                                       \
    KEY("generator.clip", REAL, "1", 0, 1e9, "gradient norm limit; 0: none")                                                     \
    KEY("generator.scan", CHOICE, "true", 0, 0, "true|released: spiral of the paper, or the gather of the released code")        \
    KEY("generator.sampler", CHOICE, "unipc", 0, 0, "unipc|ddim: sampler")                                                       \
    KEY("generator.sample_steps", INT, "20", 1, 1000, "sampling steps")                                                          \
    KEY("classifier.model", TEXT, "x3d-tiny", 0, 0, "classifier preset")                                                         \
    KEY("classifier.steps", INT, "600", 1, 1e8, "training steps, the same in every arm")                                         \
    KEY("classifier.batch", INT, "8", 2, 4096, "labelled clips a step")                                                          \
    KEY("classifier.mu", INT, "1", 1, 100, "unlabelled clips for each labelled one")                                             \
    KEY("classifier.lr", REAL, "0.002", 0, 1, "learning rate, linear warm-up over a twentieth, cosine to 0")                     \
    KEY("classifier.weight_decay", REAL, "0.01", 0, 10, "AdamW weight decay, on matrices only")                                  \
    KEY("classifier.dropout", REAL, "0.3", 0, 0.99, "dropout before the last layer")                                             \
    KEY("classifier.ema", REAL, "0.99", 0, 1, "EMA decay, warmed up; the EMA is evaluated, in every arm")                        \
    KEY("ssl.algorithm", TEXT, "fixmatch", 0, 0, "semi-supervised algorithm: a row of classify/ssl_table.h")                     \
    KEY("ssl.threshold", REAL, "0.95", 0, 1, "confidence that makes a pseudo-label")                                             \
    KEY("ssl.lambda_u", REAL, "1", 0, 1000, "weight of the unlabelled loss")                                                     \
    KEY("save_every", INT, "500", 1, 1e8, "steps between saved states")                                                          \
    KEY("bootstrap", INT, "10000", 100, 1e7, "bootstrap samples of intervals")
