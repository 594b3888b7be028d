/* Every configuration key, once: this table reads YAML, serves --set and --help, and is written out again.
 *  key, type, default, low, high, help. TEXT and CHOICE defaults are strings; a CHOICE lists its values in `help` before ':'. */
#define FT_CONFIG_TABLE(KEY)                                                                                                     \
    KEY("task", CHOICE, "", 0, 0, "vae|generator|classifier|mil: what `forty train` trains")                                     \
    KEY("seed", INT, "0", 0, 1e9, "seed of `forty train`; experiments count seeds from it")                                      \
    KEY("threads", INT, "0", 0, 1024, "0: all cores, or OMP_NUM_THREADS")                                                        \
    KEY("precision", CHOICE, "auto", 0, 0, "auto|f32|bf16: storage of activations; auto: whatever was measured to be faster")    \
    KEY("auto.products", CHOICE, "measure", 0, 0, "measure|f32|bf16: what precision: auto is for transformers and Mamba")        \
    KEY("auto.convolutions", CHOICE, "measure", 0, 0, "measure|f32|bf16: the same for VAEs, U-Nets and R(2+1)D")                 \
    KEY("auto.depthwise", CHOICE, "measure", 0, 0, "measure|f32|bf16: the same for X3D")                                         \
    KEY("device", TEXT, "auto", 0, 0, "auto, cpu, cuda or cuda:N: where to compute; auto: a GPU if there is one")                \
    KEY("train", BOOL, "false", 0, 1, "`forward`: batch statistics and dropout, as in training")                                 \
    KEY("scan", CHOICE, "", 0, 0, "true|released|raster: `forward`: as generator.scan")                                          \
    KEY("data.clips", TEXT, "", 0, 0, "clip store to use")                                                                       \
    KEY("data.phantom", BOOL, "false", 0, 1, "use the procedural colonoscopy phantom (phantom.*)")                               \
    KEY("data.videos", TEXT, "", 0, 0, "folder of videos, ingested once")                                                        \
    KEY("data.labels", TEXT, "", 0, 0,                                                                                           \
        "label list (CSV) of these videos, or a folder of train.txt, val.txt; empty: a folder per class")                        \
    KEY("data.as", TEXT, "", 0, 0,                                                                                               \
        "the data set that data.videos is a copy of (`forty ingest --help`): its list, columns, groups")                         \
    KEY("data.columns", TEXT, "", 0, 0,                                                                                          \
        "what the list calls its columns: video=FileName,label=EF,group=patient,split= (empty: it has none)")                    \
    KEY("data.group_from", TEXT, "", 0, 0,                                                                                       \
        "regular expression whose (...) in the group, or in the video's name, is the patient: '^(P[0-9]+)_'")                    \
    KEY("data.threshold", TEXT, "", 0, 0, "labels that are numbers become two classes, below it and from it")                    \
    KEY("data.bins", TEXT, "", 0, 0, "labels that are numbers become classes between these bounds: 30,50")                       \
    KEY("data.window", INT, "16", 1, 100000, "data sets whose frames are labelled: so many become one window with one label")    \
    KEY("data.window_positive", CHOICE, "any", 0, 0, "any|majority: of its frames make a window positive")                       \
    KEY("data.multilabel", BOOL, "false", 0, 0,                                                                                  \
        "a video may have several labels, A|B, or columns of 0 and 1 (data.columns: label=A+B): a sigmoid for each class")       \
    KEY("data.licence", TEXT, "", 0, 0, "licence and source of the videos, a sentence for the report")                           \
    KEY("data.outside", BOOL, "false", 0, 0, "the label list may name videos outside of data.videos, by .. or from the root")    \
    KEY("data.checksums", TEXT, "", 0, 0, "SHA-256 list of the videos: verified when they are read, written if it is not there") \
    KEY("data.unlabelled", TEXT, "", 0, 0, "clip store of further unlabelled real clips, for the arm real-unlabelled")           \
    KEY("data.map", LIST, "", 0, 0, "renames labels: {covid: ill, pneumonia: ill}")                                              \
    KEY("data.frames", INT, "16", 1, 256, "frames of a clip")                                                                    \
    KEY("data.stride", INT, "3", 1, 1000, "source frames from one frame of a clip to the next")                                  \
    KEY("data.fps", REAL, "0", 0, 1000, "resample to this rate first; 0: as it is")                                              \
    KEY("data.size", INT, "64", 16, 512, "pixels: frames are square")                                                            \
    KEY("data.clips_per_video", INT, "1", 0, 1000, "clips spread evenly over each video; 0: all of it")                          \
    KEY("data.overlap", REAL, "0", 0, 0.99, "of neighbours, where all of a video is taken: 0.5 shares half")                     \
    KEY("data.crop", TEXT, "none", 0, 0,                                                                                         \
        "none, auto (ultrasound sector, endoscope's circle), dicom-region or x,y,w,h: part of the picture")                      \
    KEY("data.sampler", CHOICE, "stride", 0, 0,                                                                                  \
        "stride|released|uniform|dense: which frames of a video make a clip, see common/io/clip_sampler.h")                      \
    KEY("data.view", CHOICE, "centre", 0, 0, "centre|left|3crop: which square of the picture; 3crop: three clips for each")      \
    KEY("data.test_clips", INT, "0", 0, 1000,                                                                                    \
        "clips of a test video whose answers are averaged; 0: all; published: 1, the first")                                     \
    KEY("data.on_error", CHOICE, "stop", 0, 0, "stop|skip: what a bad video does")                                               \
    KEY("phantom.videos", INT, "320", 1, 100000, "videos, split into pool, validation and test")                                 \
    KEY("phantom.balance", REAL, "0.5", 0.05, 0.95, "share of polyp videos")                                                     \
    KEY("phantom.visibility", REAL, "1", 0.01, 10, "of polyps: scales their height and colour; under 1 they are harder to see")  \
    KEY("phantom.seed", INT, "0", 0, 1e9, "another seed is another data set")                                                    \
    KEY("phantom.list", CHOICE, "balanced", 0, 0,                                                                                \
        "balanced|polypdiag: phantom.videos at phantom.balance, or the lists and order of PolypDiag (173 and 80)")               \
    KEY("phantom.lengths", CHOICE, "by-class", 0, 0,                                                                             \
        "by-class|equal: of polypdiag: normal videos are 20 times as long, as there, or not")                                    \
    KEY("data.features", TEXT, "", 0, 0,                                                                                         \
        "features of videos for task: mil: a folder of VIDEO.npy, or a file of `forty features`")                                \
    KEY("data.frame_labels", TEXT, "", 0, 0, "which frames are positive: CSV of video,start,end, or .npy with a value a frame")  \
    KEY("positive", TEXT, "", 0, 0,                                                                                              \
        "the class that F1 counts; empty: the last in alphabetical order. Of data.multilabel: one label, which makes two "       \
        "classes")                                                                                                               \
    KEY("labels", INT, "40", 2, 1e6, "labelled videos of each split, balanced over classes; 0 < labels")                         \
    KEY("labels_from", CHOICE, "random", 0, 0,                                                                                   \
        "random|first: labelled videos of a class are drawn by the split's number, or the first of the list")                    \
    KEY("unlabelled.clips", INT, "0", 0, 1e6, "take only so many of an arm's unlabelled clips; 0: all")                          \
    KEY("unlabelled.frames", CHOICE, "whole", 0, 0,                                                                              \
        "whole|frozen|shuffled: controls: every unlabelled clip stands still, or has its frames in random order")                \
    KEY("unlabelled.sampler", CHOICE, "same", 0, 0,                                                                              \
        "same|released|uniform|dense: frames of unlabelled clips that are longer than the labelled ones; same: data.sampler")    \
    KEY("unlabelled.fps", REAL, "8", 0.1, 1000, "rate that files of generated clips claim, for the sampler released")            \
    KEY("clips.use", CHOICE, "unlabelled", 0, 0,                                                                                 \
        "unlabelled|labelled|both: an arm's own clips as unlabelled ones, as published; their class taught as a label, in a "    \
        "loss of their own; or both")                                                                                            \
    KEY("clips.weight", REAL, "1", 0, 1000, "weight of that loss beside the labelled videos'; 0: these clips teach nothing")     \
    KEY("clips.filter", LIST, "", 0, 0,                                                                                          \
        "which clips of an arm are used, rule by rule: [agreement, likeness, copies] drop those whose label a probe doubts, "    \
        "that are unlike real ones, that show a training clip again")                                                            \
    KEY("clips.agreement", REAL, "0.5", 0, 1, "least probability that the probe, taught by the split's labels, gives the label") \
    KEY("generated", INT, "200", 1, 1e6, "clips sampled from a generator, and of its controls")                                  \
    KEY("protocol", TEXT, "strict", 0, 0, "strict|endora-paper|endora-repo|quickstart: a set of settings, see `forty models`")   \
    KEY("evaluation", CHOICE, "test-list", 0, 0, "test-list|cross-validation: a fixed test list, or repeated grouped folds")     \
    KEY("test_fraction", REAL, "0.25", 0.05, 0.9, "share of videos drawn as test list where the data name none")                 \
    KEY("validation", INT, "-1", -1, 1e6,                                                                                        \
        "validation videos, drawn; -1: those the data name, else as many as fit, at most `labels`; 0: none")                     \
    KEY("folds", INT, "5", 2, 100, "folds of cross-validation")                                                                  \
    KEY("splits", INT, "3", 1, 1000, "label splits (repeats in cross-validation)")                                               \
    KEY("seeds", INT, "1", 1, 1000, "training seeds for each split")                                                             \
    KEY("selection", CHOICE, "last", 0, 0,                                                                                       \
        "last|validation|best-on-test: which weights are scored; the third only in protocol endora-repo")                        \
    KEY("looks", INT, "0", 0, 100, "how often the test list is scored while training, beside its end (published protocols: 20)") \
    KEY("rehearse", CHOICE, "auto", 0, 0,                                                                                        \
        "auto|always|never: first every kind of stage with a few steps: does it run, how long, how much memory?")                \
    KEY("slurm.cpus", INT, "4", 1, 1024, "threads of a job of --launcher slurm")                                                 \
    KEY("slurm.options", LIST, "", 0, 0, "further lines for sbatch: [--partition=cpu, --account=lab]")                           \
    KEY("arms", LIST, "supervised", 0, 0,                                                                                        \
        "arms to compare (`forty models` lists them), each with settings of its own: `noise unlabelled.clips=50`")               \
    KEY("baseline", TEXT, "supervised", 0, 0, "the arm that differences refer to")                                               \
    KEY("curve", LIST, "", 0, 0,                                                                                                 \
        "label-efficiency curve: F1 of the baseline with so many labelled videos, which says what an arm is worth: [10, 20, "    \
        "80, all]")                                                                                                              \
    KEY("margin", REAL, "2", 0.01, 100, "points of F1: arms that differ by less are equivalent")                                 \
    KEY("vae.model", TEXT, "vae-tiny", 0, 0, "video VAE preset")                                                                 \
    KEY("vae.steps", INT, "2000", 0, 1e8, "training steps; 0: vae.weights as they are")                                          \
    KEY("vae.batch", INT, "4", 1, 4096, "clips a step")                                                                          \
    KEY("vae.accumulate", INT, "1", 1, 64, "parts of a batch, one after the other: less memory, gradients are summed")           \
    KEY("vae.lr", REAL, "0.002", 0, 1, "learning rate, cosine to 0")                                                             \
    KEY("vae.kl", REAL, "1e-6", 0, 1, "weight of the KL term (sum over latent values)")                                          \
    KEY("vae.ffl", REAL, "0.1", 0, 100, "weight of the focal frequency loss")                                                    \
    KEY("vae.ema", REAL, "0.999", 0, 1, "EMA decay, warmed up")                                                                  \
    KEY("vae.frequency_compensation", CHOICE, "preset", 0, 0, "preset|none|clean|released: MedSora's residual branches")         \
    KEY("vae.weights", TEXT, "", 0, 0, "weights to start from (`forty weights import`); new branches may be missing in it")      \
    KEY("vae.train_only", LIST, "", 0, 0, "train only tensors whose names hold one of these: [frequency_comp, up_freq_comp]")    \
    KEY("vae.perceptual", REAL, "0", 0, 100, "weight of the perceptual loss; needs vae.perceptual_weights")                      \
    KEY("vae.perceptual_model", TEXT, "lpips-vgg", 0, 0, "its features: lpips-vgg, lpips-alex, dinov2-s14 ...")                  \
    KEY("vae.perceptual_weights", TEXT, "", 0, 0,                                                                                \
        "imported weights of that model; without them the term is left out, and said so")                                        \
    KEY("vae.perceptual_size", INT, "0", 0, 4096, "pixels of the side that it sees; 0: those of the clips")                      \
    KEY("vae.perceptual_frames", INT, "0", 0, 65536, "frames of each clip that it sees, drawn anew each step; 0: all")           \
    KEY("vae.equivariance", REAL, "0", 0, 100,                                                                                   \
        "weight of EQ-VAE's term: a turned, halved latent decodes to the turned, halved clip")                                   \
    KEY("vae.gan", REAL, "0", 0, 100, "weight of the PatchGAN (made adaptive); 0: none. VQ-GAN: 0.8")                            \
    KEY("vae.gan_from", INT, "1000", 0, 1e8, "step from which the discriminator moves the VAE")                                  \
    KEY("vae.gan_lr", REAL, "0.0002", 0, 1, "learning rate of the discriminator")                                                \
    KEY("generator.model", TEXT, "medsora-tiny", 0, 0, "generator preset of `forty train`; experiments take it from the arm")    \
    KEY("generator.steps", INT, "5000", 1, 1e8, "training steps")                                                                \
    KEY("generator.batch", INT, "16", 1, 4096, "latent clips a step")                                                            \
    KEY("generator.accumulate", INT, "1", 1, 64, "parts of a batch, one after the other: less memory, gradients are summed")     \
    KEY("generator.lr", REAL, "0", 0, 1, "learning rate, linear warm-up, cosine to 0; 0: the preset's, 0.001 but for forty-*")   \
    KEY("generator.warmup", INT, "50", 0, 1e8, "steps of linear warm-up")                                                        \
    KEY("generator.ema", REAL, "0.9999", 0, 1, "EMA decay, warmed up; the EMA is sampled")                                       \
    KEY("generator.clip", REAL, "1", 0, 1e9, "gradient norm limit; 0: none")                                                     \
    KEY("generator.clip_from", INT, "0", 0, 1e8, "step from which it holds")                                                     \
    KEY("generator.weight_decay", REAL, "0", 0, 10, "AdamW weight decay, on matrices only")                                      \
    KEY("generator.schedule", CHOICE, "cosine", 0, 0, "cosine|constant: learning rate behind the warm-up")                       \
    KEY("generator.first_steps", INT, "0", 0, 1e8, "a first phase of so many steps, with its own rate and batch")                \
    KEY("generator.first_lr", REAL, "0.001", 0, 1, "its learning rate, constant")                                                \
    KEY("generator.first_batch", INT, "16", 1, 4096, "its batch")                                                                \
    KEY("generator.ema_warmup", BOOL, "true", 0, 1, "false: the decay from step 0, as published; the first weights then linger") \
    KEY("generator.flip", BOOL, "true", 0, 1, "every other clip is mirrored")                                                    \
    KEY("generator.posterior", CHOICE, "sample", 0, 0, "sample|mean: a latent is drawn from the VAE's posterior, or its mean")   \
    KEY("generator.latent_scale", REAL, "0", 0, 1000,                                                                            \
        "of latents; 0: each channel by its own mean and deviation (CogVideoX: 1.15258426)")                                     \
    KEY("generator.objective", CHOICE, "preset", 0, 0,                                                                           \
        "preset|eps|flow: noise, or a rectified flow's velocity; forty's is flow")                                               \
    KEY("generator.flow_time", CHOICE, "logit-normal", 0, 0, "logit-normal|uniform: times that a rectified flow is trained at")  \
    KEY("generator.loss", CHOICE, "preset", 0, 0, "preset|mse|l1: of the prediction; LVDM's is l1")                              \
    KEY("generator.beta", CHOICE, "preset", 0, 0, "preset|linear|sqrt: noise schedule; LVDM's is sqrt")                          \
    KEY("generator.vlb", BOOL, "false", 0, 1,                                                                                    \
        "learn the variance too, by the variational bound (the released code; ddpm uses it)")                                    \
    KEY("generator.weighting", CHOICE, "none", 0, 0, "none|min-snr: weight of the loss over t (gamma 5)")                        \
    KEY("generator.images", INT, "0", 0, 64, "frames of other videos beside each clip; the paper has 8")                         \
    KEY("generator.image_mode", CHOICE, "single", 0, 0,                                                                          \
        "single|pairs: each its own latent, or encoded as one clip, as published")                                               \
    KEY("generator.condition", CHOICE, "none", 0, 0,                                                                             \
        "none|labels|pseudo-labels|shuffled-labels: the generator learns clips as they are, or is told the class of labelled "   \
        "videos; in an experiment, of the split's labelled videos alone, or of the rest of the pool as well as a probe of "      \
        "these labels sees it (features.model), or, a control, the split's labels dealt out so that they say nothing")           \
    KEY("generator.confidence", REAL, "0", 0, 1, "least probability of a pseudo-label that it is told; 0: all are told")         \
    KEY("generator.class_drop", REAL, "0.1", 0, 1, "share of labels that it is not told, so that it learns clips of no class")   \
    KEY("generator.class_guidance", REAL, "1", 1, 100,                                                                           \
        "clips lean so many times towards their class, away from clips of none; 1: as learned, 2 to 4: more")                    \
    KEY("generator.class_from", REAL, "0", 0, 1e6, "least noise, sigma / alpha, at which they lean")                             \
    KEY("generator.class_until", REAL, "0", 0, 1e6, "most noise at which they lean; 0: any")                                     \
    KEY("generator.autoguidance", REAL, "1", 1, 100,                                                                             \
        "clips lean so many times away from what the network would draw with its weights of a quarter of its steps; 1: not, "    \
        "2 to 3: sharper clips, two passes a step")                                                                              \
    KEY("generator.autoguidance_until", REAL, "1", 0, 1e6, "most noise, sigma / alpha, at which they do; 0: any")                \
    KEY("generator.scan", CHOICE, "true", 0, 0,                                                                                  \
        "true|released|raster: spiral of the paper, gather of the released code, row by row")                                    \
    KEY("generator.mixer", CHOICE, "mamba", 0, 0, "mamba|attention: what mixes tokens; attention is an ablation")                \
    KEY("generator.guidance", CHOICE, "released", 0, 0,                                                                          \
        "released|paper: FEAT's value guidance in its WKV blocks, or in its channel attention too")                              \
    KEY("generator.kernel", CHOICE, "true", 0, 0,                                                                                \
        "true|released: FEAT's WKV over space, exact, or with the flaw of the code that its weights were trained with")          \
    KEY("generator.relative", CHOICE, "true", 0, 0,                                                                              \
        "true|released: LVDM's relative positions of keys, or transposed as its weights need them")                              \
    KEY("generator.recompute", CHOICE, "preset", 0, 0,                                                                           \
        "preset|none|mixers: mixers are computed again in the backward pass, not kept: half the activations")                    \
    KEY("generator.sheet_every", INT, "0", 0, 1e8, "steps between sheets of samples (PNG and GIF) in the run folder; 0: none")   \
    KEY("generator.stop", CHOICE, "none", 0, 0,                                                                                  \
        "none|memorisation: training ends when quick samples copy more training clips than held-out clips do; those weights "    \
        "count that were the last before")                                                                                       \
    KEY("generator.stop_every", INT, "500", 1, 1e8, "steps between these looks")                                                 \
    KEY("gan.lr", REAL, "-1", -1, 1,                                                                                             \
        "generators of pixels: learning rate of both networks, constant; -1: as published, 0.0025 at width 512, and with the "   \
        "root of 512 / width more where networks are narrower; generator.lr is that of the others")                              \
    KEY("gan.r1", REAL, "-1", -1, 1e6,                                                                                           \
        "weight of the gradient penalty on real clips; -1: as published, StyleGAN-V 0.0002 pixels / batch, MoStGAN-V 10, but "   \
        "of the tiny presets, which are trained for few steps, 4; 0: none")                                                      \
    KEY("gan.r2", REAL, "-1", -1, 1e6,                                                                                           \
        "weight of the same penalty on drawn clips, in the same steps; -1: gan.r1 if gan.loss is relativistic, else 0, as "      \
        "published")                                                                                                             \
    KEY("gan.loss", CHOICE, "preset", 0, 0,                                                                                      \
        "preset|logistic|relativistic: each clip is judged by itself, as published, or a drawn one beside a real one, by how "   \
        "much more real it looks (R3GAN); preset: logistic, relativistic for tiny ones, which are trained for few steps")        \
    KEY("gan.r1_every", INT, "16", 1, 1000, "steps from one penalty to the next, which counts as often")                         \
    KEY("gan.ema_half_life", REAL, "312.5", 0, 1e8, "half-life of the average of the weights, in steps; the average is sampled") \
    KEY("gan.ema_ramp", REAL, "-1", -1, 1e8,                                                                                     \
        "and at most this share of the steps so far; -1: 0.15, as published, but of the tiny presets 0.02")                      \
    KEY("gan.distance", INT, "32", 2, 1024, "most frames between the first and the last that the discriminator sees of a clip")  \
    KEY("gan.augment", CHOICE, "none", 0, 0,                                                                                     \
        "none|bgc|bgc_noro: what the discriminator sees: clips as they are, or, the surer it is of real ones (in pairs: that "   \
        "they are the real ones), shifted, scaled, turned (but for noro) and recoloured, as published (ADA)")                    \
    KEY("gan.truncation", REAL, "1", 0, 1,                                                                                       \
        "how far styles of samples reach from their mean: 1 as learned; published medical clips: 0.9")                           \
    KEY("align.weight", REAL, "0", 0, 1000, "alpha of the optical-flow alignment (the paper: 0.01, its code: 0.1); 0: off")      \
    KEY("align.mode", CHOICE, "spatial", 0, 0,                                                                                   \
        "paper|released|spatial|trd|endora: Eq 14, its code, a spatially right form, token relations, Endora's prior")           \
    KEY("align.margin", REAL, "0.01", 0, 2, "hinge of Eq 15; of trd: tolerance of a relation (its authors: 0.1)")                \
    KEY("align.decay", BOOL, "true", 0, 1, "weigh by g(t) = 1 / (t + 1)")                                                        \
    KEY("align.input", CHOICE, "flow", 0, 0, "flow|frames: what the teacher sees")                                               \
    KEY("align.teacher", TEXT, "dino-vits8", 0, 0, "dino-vits8, dino-vitb16, dinov2-s14 ..., or vae: whose features")            \
    KEY("align.weights", TEXT, "", 0, 0,                                                                                         \
        "imported weights of the teacher; without them a network of fixed random weights, and said so")                          \
    KEY("align.flow", CHOICE, "lucas-kanade", 0, 0, "raft-large|raft-small|lucas-kanade: where the flow comes from")             \
    KEY("align.flow_weights", TEXT, "", 0, 0, "imported weights of RAFT")                                                        \
    KEY("align.flow_iterations", INT, "20", 1, 100, "of RAFT")                                                                   \
    KEY("align.flow_range", CHOICE, "full", 0, 0,                                                                                \
        "full|released: pixels for RAFT: 0..255, or [-1,1] as the released code feeds them")                                     \
    KEY("align.colors", CHOICE, "wheel", 0, 0, "wheel|hsv: flow to RGB by the Middlebury wheel, or by Eq 13")                    \
    KEY("generator.sampler", CHOICE, "unipc", 0, 0, "unipc|ddim|ddpm: sampler")                                                  \
    KEY("generator.sample_steps", INT, "20", 1, 1000, "sampling steps")                                                          \
    KEY("classifier.model", TEXT, "eye", 0, 0, "classifier preset: a row of `forty models`")                                     \
    KEY("classifier.steps", INT, "600", 1, 1e8, "training steps, the same in every arm")                                         \
    KEY("classifier.batch", INT, "8", 2, 4096, "labelled clips a step")                                                          \
    KEY("classifier.accumulate", INT, "1", 1, 64, "parts of a batch, one after the other: less memory, gradients are summed")    \
    KEY("classifier.mu", INT, "1", 1, 100, "unlabelled clips for each labelled one")                                             \
    KEY("classifier.lr", REAL, "0.006", 0, 1, "learning rate, linear warm-up over a twentieth, cosine to 0")                     \
    KEY("classifier.weight_decay", REAL, "0.01", 0, 10, "AdamW weight decay, on matrices only")                                  \
    KEY("classifier.dropout", REAL, "0.3", 0, 0.99, "dropout before the last layer")                                             \
    KEY("classifier.ema", REAL, "0.99", 0, 1, "EMA decay, warmed up; the EMA is evaluated, in every arm")                        \
    KEY("classifier.optimizer", CHOICE, "adamw", 0, 0, "adamw|sgd: SGD has momentum 0.9")                                        \
    KEY("classifier.clip", REAL, "5", 0, 1e9, "gradient norm limit; 0: none")                                                    \
    KEY("classifier.warmup", REAL, "0.05", 0, 1, "share of the steps with linear warm-up")                                       \
    KEY("classifier.epoch", INT, "0", 0, 1e8,                                                                                    \
        "steps of an epoch: the rate changes, and released memories begin anew, once in each; 0: none")                          \
    KEY("classifier.ema_warmup", BOOL, "true", 0, 1, "false: the decay from step 0, as released; the first weights then linger") \
    KEY("classifier.evaluate", CHOICE, "ema", 0, 0,                                                                              \
        "ema|raw|released: weights that are scored; released: EMA, but of supervised arms the raw ones with drop path on")       \
    KEY("classifier.augment", CHOICE, "dihedral", 0, 0,                                                                          \
        "dihedral|horizontal|released: views of clips; horizontal: where one side of the picture is up; see classify/views.h")   \
    KEY("classifier.weights", TEXT, "", 0, 0, "weights to start from (`forty weights import`); what they lack starts anew")      \
    KEY("classifier.lora", INT, "0", 0, 256,                                                                                     \
        "rank of adapters on a transformer's attention, which then learn alone with the head; 0: none")                          \
    KEY("classifier.lora_alpha", REAL, "16", 0, 1e4, "adapters count alpha / rank")                                              \
    KEY("classifier.strength", REAL, "0", 0, 1e6,                                                                                \
        "linear-probe: scikit-learn's C, inverse of its penalty; 0: chosen inside the labels")                                   \
    KEY("features.model", TEXT, "", 0, 0,                                                                                        \
        "frozen network that probes look through: a preset (dinov2-s14, i3d), or a run; vae: that of the experiment")            \
    KEY("features.weights", TEXT, "", 0, 0, "imported weights of the preset")                                                    \
    KEY("features.size", INT, "224", 0, 2048, "pixels that DINO sees; 0: as clips are")                                          \
    KEY("features.frames", INT, "4", 0, 256, "frames of a clip that it looks at, evenly spread; 0: all")                         \
    KEY("features.grid", INT, "1", 0, 64, "its patches are averaged to this many places a side; 0: the class token alone")       \
    KEY("features.offset", REAL, "0", 0, 1, "DINOv2 at another size: 0 resamples positions exactly, 0.1 as its first code")      \
    KEY("features.views", INT, "4", 1, 64, "weak views, and as many strong ones, of each clip that is learned from")             \
    KEY("probe.steps", INT, "300", 1, 1e8,                                                                                       \
        "training steps of the linear probe that gives pseudo-labels and is asked by clips.filter: agreement; it looks through " \
        "features.model whatever the classifier is, and has the defaults of classifier.* else")                                  \
    KEY("probe.lr", REAL, "0.001", 0, 1, "its learning rate")                                                                    \
    KEY("mil.model", TEXT, "mil", 0, 0, "preset of the multiple-instance learner")                                               \
    KEY("mil.tokens", CHOICE, "channel", 0, 0, "channel|snippet: of its transformer; as the authors' code, or as their paper")   \
    KEY("mil.steps", INT, "200", 1, 1e8, "training steps")                                                                       \
    KEY("mil.batch", INT, "32", 1, 2048, "negative videos a step, and as many positive ones")                                    \
    KEY("mil.lr", REAL, "0.001", 0, 1, "learning rate, constant")                                                                \
    KEY("mil.weight_decay", REAL, "0.005", 0, 10, "AdamW weight decay, on matrices only")                                        \
    KEY("mil.margin", REAL, "1", -1, 10, "between the top three snippets of both classes; below 0: no ranking loss")             \
    KEY("mil.smooth", REAL, "8e-5", 0, 10, "weight of the squared steps between scores of neighbours in positive videos")        \
    KEY("mil.sparse", REAL, "8e-5", 0, 10, "weight of the norm of their scores")                                                 \
    KEY("mil.contrast", REAL, "0.25", 0, 100, "weight of the contrast of hard and easy snippets; 0: none")                       \
    KEY("mil.snippet", INT, "16", 1, 10000, "frames of a snippet, where the features do not say it")                             \
    KEY("ssl.algorithm", TEXT, "fixmatch", 0, 0, "semi-supervised algorithm: a row of classify/ssl_table.h")                     \
    KEY("ssl.threshold", REAL, "0.95", 0, 1, "confidence that makes a pseudo-label")                                             \
    KEY("ssl.lambda_u", REAL, "-1", -1, 1000, "weight of the unlabelled loss; -1: as published (1; Mean Teacher 50)")            \
    KEY("ssl.from", REAL, "0", 0, 1, "share of the training in which the labels teach alone; 0: none, as published")             \
    KEY("ssl.momentum", REAL, "0.999", 0, 1, "of running means in FreeMatch, SoftMatch and alignment")                           \
    KEY("ssl.ramp", REAL, "0.4", 0, 1,                                                                                           \
        "share of the training over which Pseudo-Label's and Mean Teacher's weight grows; 0: none")                              \
    KEY("ssl.fairness", REAL, "0.001", 0, 10, "weight of FreeMatch's fairness term")                                             \
    KEY("ssl.alignment", CHOICE, "none", 0, 0,                                                                                   \
        "none|uniform|labelled: distribution alignment of FixMatch's and Pseudo-Label's predictions")                            \
    KEY("log.tensorboard", BOOL, "false", 0, 1, "also write log.csv's columns as TensorBoard event files into the run folder")   \
    KEY("save_every", INT, "500", 1, 1e8, "steps between saved states")                                                          \
    KEY("bootstrap", INT, "10000", 100, 1e7, "bootstrap samples of intervals")
