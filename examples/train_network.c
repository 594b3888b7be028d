/* A network of one's own, trained with libforty's graph alone: which way does a bar move through a short clip, left or right?
 *
 *     cc train_network.c -o train_network $(pkg-config --cflags --libs forty) && ./train_network bars.safetensors
 *
 * A network is a function that notes operators (graph.h); it is recorded once for training and once for testing, planned, and
 * replayed. All of it belongs to the context that the thread has entered: how many threads compute, on which device. Activations
 * are (B,T,H,W,C), parameters are found by name. */
#include <forty/graph.h>

enum { BATCH = 16, FRAMES = 4, SIZE = 16, STEPS = 60, PIXELS = FRAMES * SIZE * SIZE };

/* clip (B,4,16,16,1) -> logits (B,2), f32 */
static ft_t network(ft_graph *g, ft_t clip)
{
    ft_conv_opt strided = {.stride = {1, 2, 2}, .pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}, .act = FT_ACT_RELU};
    ft_t x = ft_cast(g, clip, ft_compute(g));
    x = ft_layer_conv(g, "conv1", x, 16, (int64_t[]){3, 3, 3}, strided, true); /* (B,4,8,8,16) */
    x = ft_layer_conv(g, "conv2", x, 16, (int64_t[]){3, 3, 3}, strided, true); /* (B,4,4,4,16) */
    x = ft_reduce(g, x, 1u << 1 | 1u << 2 | 1u << 3, true);                    /* (B,1,1,1,16) */
    x = ft_reshape(g, x, 2, (int64_t[]){-1, 16});                              /* (B,16) */
    return ft_cast(g, ft_layer_linear(g, "head", x, 2, true), FT_F32);         /* (B,2) */
}

static unsigned draw(unsigned *state) { return *state = *state * 1664525u + 1013904223u, *state >> 16; }

/* A bright bar that moves by two pixels a frame, over noise. 1: to the right */
static int32_t draw_clip(unsigned *state, float *clip)
{
    int32_t right = (int32_t)(draw(state) & 1);
    int at = (int)(draw(state) % SIZE);
    for (int t = 0; t < FRAMES; t++)
        for (int y = 0; y < SIZE; y++)
            for (int x = 0; x < SIZE; x++) {
                int bar = ((at + (right ? 2 : -2) * t) % SIZE + SIZE) % SIZE;
                clip[(t * SIZE + y) * SIZE + x] = (float)(draw(state) % 100) / 200 + (x == bar ? 1.0f : 0.0f);
            }
    return right;
}

typedef struct {
    ft_graph *g;
    ft_plan *plan;
    ft_t clip, answer, logits, loss;
} recorded;

static int record(recorded *r, ft_params *params, bool training)
{
    r->g = ft_graph_new(params, FT_F32, training ? 1 : 2);
    if (!r->g) return FT_ENOMEM;
    ft_training(r->g, training);
    r->clip = ft_input(r->g, "clip", FT_F32, 5, (int64_t[]){BATCH, FRAMES, SIZE, SIZE, 1});
    r->answer = ft_input(r->g, "answer", FT_I32, 1, (int64_t[]){BATCH});
    r->logits = network(r->g, r->clip);
    r->loss = ft_softmax_xent(r->g, r->logits, r->answer, NULL);
    ft_keep(r->logits);
    ft_keep(r->loss);
    if (training) {
        ft_backward(r->g, r->loss);
        ft_optimise(r->g, (ft_optim_opt){.weight_decay = 0.01f}); /* AdamW, then the average of the weights */
    }
    return ft_plan_new(&r->plan, r->g, training ? FT_WEIGHTS : FT_EMA);
}

static int run(recorded *r, unsigned *state, ft_step step, int *right)
{
    float *clip = ft_data(r->clip);
    int32_t *answer = ft_data(r->answer);
    for (int b = 0; b < BATCH; b++) answer[b] = draw_clip(state, clip + b * PIXELS);
    int rc = ft_run(r->plan, &step);
    const float *logit = ft_data(r->logits);
    for (int b = 0; b < BATCH; b++) *right += (logit[2 * b + 1] > logit[2 * b]) == answer[b];
    return rc;
}

int main(int argc, char **argv)
{
    ft_context *context = NULL;
    int rc = ft_context_new(&context, (ft_context_opt){.device = "cpu"}); /* all cores */
    if (rc == FT_OK) ft_context_enter(context);
    ft_params *params = ft_params_new(1); /* a seed */
    recorded train = {0}, test = {0};
    unsigned learned_from = 1, tested_on = 2;
    int seen = 0, right = 0;
    if (rc == FT_OK && !params) rc = FT_ENOMEM;
    if (rc == FT_OK) rc = record(&train, params, true);
    if (rc == FT_OK) rc = record(&test, params, false);
    for (int64_t i = 0; rc == FT_OK && i < STEPS; i++) {
        ft_step step = {.seed = 1, .step = i, .lr = (float)ft_lr_cosine(0.01, i, STEPS, 5), .ema = (float)ft_ema_decay(0.9, i)};
        rc = run(&train, &learned_from, step, &seen);
        if (rc == FT_OK && i % 20 == 0) printf("step %d: loss %.3f\n", (int)i, (double)*(float *)ft_data(train.loss));
    }
    for (int i = 0; rc == FT_OK && i < 10; i++) rc = run(&test, &tested_on, (ft_step){.seed = 1}, &right);
    if (rc == FT_OK) printf("%d of %d new clips are right\n", right, 10 * BATCH);
    if (rc == FT_OK && argc > 1) rc = ft_weights_save(argv[1], params, FT_EMA, NULL);
    if (rc < 0) fprintf(stderr, "train_network: %s\n", ft_error_message());
    ft_plan_free(train.plan);
    ft_plan_free(test.plan);
    ft_graph_free(train.g);
    ft_graph_free(test.g);
    ft_params_free(params);
    ft_context_free(context);
    return rc < 0 || right < 9 * BATCH;
}
