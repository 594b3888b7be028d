/* See cuda_runtime.h beside this: what it promises is done here. */
#include "cuda_runtime.h"

#include <stdio.h>
#include <stdlib.h>

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "shim.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

/* ---- fibres ------------------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
extern "C" void ft_shim_switch(void **save, void *to);
__asm__(".text\n.globl ft_shim_switch\n.type ft_shim_switch,@function\nft_shim_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size ft_shim_switch,.-ft_shim_switch\n");
struct context {
    void *sp;
};
static void switch_to(context *from, context *to) { ft_shim_switch(&from->sp, to->sp); }
static void make(context *c, char *stack, size_t size, void (*entry)(void))
{
    void **top = (void **)(((uintptr_t)stack + size) & ~(uintptr_t)15);
    *--top = NULL; /* a return address that nobody uses: keeps the stack aligned as after a call */
    *--top = (void *)entry;
    for (int i = 0; i < 6; i++) *--top = NULL;
    c->sp = top;
}
#else
#include <ucontext.h>
struct context {
    ucontext_t u;
};
static void switch_to(context *from, context *to) { swapcontext(&from->u, &to->u); }
static void make(context *c, char *stack, size_t size, void (*entry)(void))
{
    getcontext(&c->u);
    c->u.uc_stack.ss_sp = stack;
    c->u.uc_stack.ss_size = size;
    makecontext(&c->u, entry, 0);
}
#endif

enum { STACK = 128 << 10, WARP = 32, MAX_THREADS = 1024 };
typedef enum { READY, AT_BARRIER, AT_EXCHANGE, DONE } state;

struct copy {
    void *to;
    const void *from;
};
struct fibre {
    context at;
    char *stack;
    state is;
    ft_shim_index id;
    const char *file, *what; /* where it waits */
    int line;
    unsigned mask;
    void *fake;                /* the sanitizer's */
    std::vector<copy> *copies; /* begun and not waited for */
};
enum { POST = 4 }; /* words that a lane hands over at once */
struct warp {
    uint64_t posted[2][WARP][POST];
    unsigned turn;
};

ft_shim_index threadIdx, blockIdx, blockDim, gridDim;

static fibre threads[MAX_THREADS];
static warp warps[MAX_THREADS / WARP];
static context scheduler;
#ifdef SANITIZED
static void *scheduler_fake;
static const void *scheduler_bottom;
static size_t scheduler_size;
#endif
static int current, n_threads;
static const std::function<void()> *body;
static const char *kernel;
static std::map<const void *, std::vector<char> *> &all_shared(void)
{
    static std::map<const void *, std::vector<char> *> &m = *new std::map<const void *, std::vector<char> *>;
    return m;
}
static std::vector<char> *dynamic_shared;

static ft_shim_settings settings;
ft_shim_settings *ft_shim(void) { return &settings; }

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "shim: %s\n", text);
    abort();
}

static void fault(const char *what)
{
    die("%s, block (%u,%u,%u) of (%u,%u,%u): %s", kernel, blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x, gridDim.y, gridDim.z,
        what);
}

static void to_scheduler(bool last)
{
    fibre *f = &threads[current];
    (void)last; /* a fibre that ends has no stack to come back to */
#ifdef SANITIZED
    __sanitizer_start_switch_fiber(last ? NULL : &f->fake, scheduler_bottom, scheduler_size);
#endif
    switch_to(&f->at, &scheduler);
#ifdef SANITIZED
    __sanitizer_finish_switch_fiber(f->fake, &scheduler_bottom, &scheduler_size);
#endif
}

static void entry(void)
{
#ifdef SANITIZED
    __sanitizer_finish_switch_fiber(NULL, &scheduler_bottom, &scheduler_size);
#endif
    (*body)();
    if (!threads[current].copies->empty()) fault("a thread ends without waiting for its copies");
    threads[current].is = DONE;
    to_scheduler(true);
}

static void resume(int t)
{
    current = t;
    settings.steps++;
    threadIdx = threads[t].id;
#ifdef SANITIZED
    __sanitizer_start_switch_fiber(&scheduler_fake, threads[t].stack, STACK);
#endif
    switch_to(&scheduler, &threads[t].at);
#ifdef SANITIZED
    __sanitizer_finish_switch_fiber(scheduler_fake, NULL, NULL);
#endif
}

int ft_shim_lane(void) { return current % WARP; }

void ft_shim_barrier(const char *file, int line)
{
    fibre *f = &threads[current];
    f->is = AT_BARRIER, f->file = file, f->line = line;
    to_scheduler(false);
}

/* Lanes that exist, of a mask */
static unsigned existing(int w, unsigned mask)
{
    int n = n_threads - w * WARP;
    return n >= WARP ? mask : mask & ((1u << n) - 1);
}

static warp *arrive(unsigned mask, const uint64_t *mine, int n, const char *what)
{
    fibre *f = &threads[current];
    warp *w = &warps[current / WARP];
    if (!(mask >> ft_shim_lane() & 1)) fault("a lane outside the mask takes part in an exchange");
    memcpy(w->posted[w->turn & 1][ft_shim_lane()], mine, (size_t)n * sizeof *mine);
    f->is = AT_EXCHANGE, f->mask = mask, f->what = what;
    to_scheduler(false);
    return w;
}

uint64_t ft_shim_exchange(unsigned mask, uint64_t mine, int from, const char *what)
{
    warp *w = arrive(mask, &mine, 1, what);
    if (from < 0) return 0;
    if (!(existing(current / WARP, mask) >> from & 1)) return ~(uint64_t)0; /* NaN */
    return w->posted[(w->turn - 1) & 1][from][0];
}

uint64_t ft_shim_collect(unsigned mask, bool vote, const char *what)
{
    uint64_t mine = vote;
    warp *w = arrive(mask, &mine, 1, what);
    uint64_t all = 0;
    unsigned lanes = existing(current / WARP, mask);
    for (int i = 0; i < WARP; i++)
        if (lanes >> i & 1) all |= (w->posted[(w->turn - 1) & 1][i][0] & 1) << i;
    return all;
}

/* ---- tensor cores, asynchronous copies ---------------------------------------------------------------------------------- */

static const uint64_t (*post(const uint64_t *mine, int n, const char *what))[POST]
{
    if (n_threads % WARP) fault("a warp without all its lanes at a tensor core");
    warp *w = arrive(0xFFFFFFFFu, mine, n, what);
    return w->posted[(w->turn - 1) & 1];
}

static float value_of(uint64_t word, int half) /* one of four bf16 */
{
    uint32_t bits = (uint32_t)(word >> 16 * half & 0xFFFF) << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

void ft_shim_mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    uint64_t mine[3] = {a[0] | (uint64_t)a[1] << 32, a[2] | (uint64_t)a[3] << 32, b0 | (uint64_t)b1 << 32};
    const uint64_t(*all)[POST] = post(mine, 3, "mma");
    int g = ft_shim_lane() / 4, c = ft_shim_lane() % 4;
    for (int i = 0; i < 4; i++) {
        int row = i / 2, n = 2 * c + i % 2;
        float sum = d[i];
        for (int k = 0; k < 16; k++) {
            const uint64_t *lane_a = all[g * 4 + k % 8 / 2], *lane_b = all[n * 4 + k % 8 / 2];
            sum += value_of(lane_a[k / 8], 2 * row + k % 2) * value_of(lane_b[2], k / 8 * 2 + k % 2);
        }
        d[i] = sum;
    }
}

void ft_shim_load_tiles(uint32_t r[4], const void *row, bool turned)
{
    uint64_t mine[2];
    if ((uintptr_t)row % 16) fault("a row of a tile that does not lie on 16 bytes");
    memcpy(mine, row, sizeof mine);
    const uint64_t(*all)[POST] = post(mine, 2, turned ? "ldmatrix.trans" : "ldmatrix");
    int g = ft_shim_lane() / 4, c = ft_shim_lane() % 4;
    for (int q = 0; q < 4; q++) {
        uint16_t v[2];
        for (int i = 0; i < 2; i++) {
            int at = turned ? 2 * c + i : g, k = turned ? g : 2 * c + i;
            v[i] = (uint16_t)(all[8 * q + at][k / 4] >> 16 * (k % 4));
        }
        r[q] = v[0] | (uint32_t)v[1] << 16;
    }
}

void ft_shim_copy(void *to, const void *from, bool inside)
{
    if ((uintptr_t)to % 16 || (inside && (uintptr_t)from % 16)) fault("an asynchronous copy that does not lie on 16 bytes");
    threads[current].copies->push_back({to, inside ? from : NULL});
}
void ft_shim_copies_done(void)
{
    for (const copy &c : *threads[current].copies) {
        if (c.from) memcpy(c.to, c.from, 16);
        else memset(c.to, 0, 16);
    }
    threads[current].copies->clear();
}

/* Lets an exchange happen once all lanes of its mask have come. */
static bool release(int w)
{
    unsigned mask = 0, here = 0;
    const char *what = NULL;
    for (int t = w * WARP; t < n_threads && t < (w + 1) * WARP; t++) {
        if (threads[t].is != AT_EXCHANGE) continue;
        if (here && (threads[t].mask != mask || strcmp(what, threads[t].what)))
            fault("lanes of a warp meet in different exchanges");
        mask = threads[t].mask, what = threads[t].what;
        here |= 1u << (t - w * WARP);
    }
    if (!here || here != existing(w, mask)) return false;
    warps[w].turn++;
    for (int t = w * WARP; t < n_threads && t < (w + 1) * WARP; t++)
        threads[t].is = threads[t].is == AT_EXCHANGE ? READY : threads[t].is;
    return true;
}

/* ---- schedules ---------------------------------------------------------------------------------------------------------- */

static uint64_t random_state;
static unsigned draw(unsigned n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((random_state >> 33) % n);
}
static void order_of(int *order, int n)
{
    for (int i = 0; i < n; i++) order[i] = settings.schedule == 1 ? n - 1 - i : i;
    for (int i = n - 1; settings.schedule > 1 && i > 0; i--) {
        int k = (int)draw((unsigned)i + 1), keep = order[i];
        order[i] = order[k], order[k] = keep;
    }
}

static void run_block(void)
{
    int n_warps = (n_threads + WARP - 1) / WARP, warp_order[MAX_THREADS / WARP], lane_order[WARP];
    order_of(warp_order, n_warps);
    order_of(lane_order, WARP);
    for (auto &s : all_shared()) memset(s.second->data(), 0xFF, s.second->size());
    if (dynamic_shared) memset(dynamic_shared->data(), 0xFF, dynamic_shared->size());
    for (int w = 0; w < n_warps; w++) warps[w].turn = 0;
    for (int t = 0; t < n_threads; t++) {
        fibre *f = &threads[t];
        unsigned u = (unsigned)t;
        f->is = READY;
        f->id.x = u % blockDim.x, f->id.y = u / blockDim.x % blockDim.y, f->id.z = u / blockDim.x / blockDim.y;
        if (!f->stack) f->stack = (char *)malloc(STACK), f->copies = new std::vector<copy>;
#ifdef SANITIZED
        __asan_unpoison_memory_region(f->stack + STACK - 4096, 4096); /* entry() of the block before never returned */
#endif
        make(&f->at, f->stack, STACK, entry);
    }
    for (;;) {
        bool moved = false;
        int done = 0, waiting = 0;
        for (int i = 0; i < n_warps; i++) {
            int w = warp_order[i];
            do
                for (int k = 0; k < WARP; k++) {
                    int t = w * WARP + lane_order[k];
                    if (t < n_threads && threads[t].is == READY) resume(t), moved = true;
                }
            while (release(w));
        }
        const fibre *first = NULL;
        for (int t = 0; t < n_threads; t++) {
            done += threads[t].is == DONE;
            waiting += threads[t].is == AT_BARRIER;
            if (threads[t].is == AT_BARRIER && !first) first = &threads[t];
            else if (threads[t].is == AT_BARRIER && (first->line != threads[t].line || strcmp(first->file, threads[t].file)))
                fault("threads of a block wait at different barriers");
        }
        if (done == n_threads) return;
        if (waiting == n_threads)
            for (int t = 0; t < n_threads; t++) threads[t].is = READY;
        else if (waiting && waiting + done == n_threads) fault("a barrier that some threads have left the kernel before");
        else if (!moved) fault("a deadlock: lanes wait for an exchange that others never reach");
    }
}

void *ft_shim_shared(const void *site, size_t size)
{
    std::vector<char> *&v = all_shared()[site];
    if (!v) {
        v = new std::vector<char>(size);
        memset(v->data(), 0xFF, size);
    }
    return v->data();
}
void *ft_shim_dynamic_shared(void)
{
    if (!dynamic_shared) fault("dynamic shared memory that the launch did not ask for");
    return dynamic_shared->data();
}

static void run_kernel(const char *name, dim3 grid, dim3 block, size_t smem, const std::function<void()> &f)
{
    int64_t blocks = (int64_t)grid.x * grid.y * grid.z;
    kernel = name;
    body = &f;
    n_threads = (int)(block.x * block.y * block.z);
    gridDim = {grid.x, grid.y, grid.z}, blockDim = {block.x, block.y, block.z}, blockIdx = {0, 0, 0};
    random_state = (uint64_t)settings.schedule * 977 + 1;
    if (smem) dynamic_shared = new std::vector<char>(smem);
    for (int64_t i = 0; i < blocks; i++) {
        int64_t b = settings.schedule % 2 ? blocks - 1 - i : i;
        blockIdx = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
        run_block();
    }
    size_t total = smem;
    for (auto &s : all_shared()) {
        total += s.second->size();
        delete s.second;
    }
    all_shared().clear();
    delete dynamic_shared;
    dynamic_shared = NULL;
    if (total > (smem ? 227u << 10 : 48u << 10)) fault("more shared memory than a block can have");
    kernel = NULL;
}

/* ---- streams, graphs, memory -------------------------------------------------------------------------------------------- */

typedef std::vector<std::function<void()>> work_list;
struct captured_work {
    std::function<void()> f;
    std::set<int> after;
    int stream;
};
struct capture { /* of a stream and all that have followed it */
    ft_shim_stream *origin;
    bool invalid, ended;
    std::vector<captured_work> work;
    std::vector<ft_shim_stream *> streams;
};
struct ft_shim_stream {
    work_list queue;
    std::shared_ptr<capture> in;
    std::set<int> tail; /* what comes next, comes after these */
};
struct ft_shim_event {
    ft_shim_stream *stream = NULL;
    double at = 0;
    std::shared_ptr<capture> in; /* recorded while it ran */
    std::set<int> tail;
};
struct ft_shim_graph {
    std::vector<captured_work> work;
};
struct ft_shim_graph_exec {
    std::vector<captured_work> work;
};
static std::vector<ft_shim_stream *> &all_streams(void) /* made at first use, maybe before main; never destroyed */
{
    static std::vector<ft_shim_stream *> &v = *new std::vector<ft_shim_stream *>;
    return v;
}
static cudaError_t last_error = cudaSuccess;

static cudaError_t failed(cudaError_t e)
{
    if (e != cudaSuccess) last_error = e;
    return e;
}

static void flush(ft_shim_stream *s)
{
    while (!s->queue.empty()) {
        work_list now;
        now.swap(s->queue);
        for (auto &f : now) f();
    }
}

static void begin(cudaStream_t s, std::function<void()> f)
{
    if (!s) die("work on the default stream: forty has its own");
    if (settings.count_only) return;
    if (!s->in) return s->queue.push_back(std::move(f));
    int k = 0;
    while (s->in->streams[(size_t)k] != s) k++;
    s->in->work.push_back({std::move(f), s->tail, k});
    s->tail = {(int)s->in->work.size() - 1};
}

static uint64_t mixed(uint64_t x)
{
    x = (x + 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u;
    return (x ^ x >> 31) * 0x94D049BB133111EBu >> 16;
}

/* Work of a graph in an order that its streams and events allow. The seed decides: streams have ranks, and one runs as far as it
 * can go before one of a lower rank moves, so that this lags as far behind as events let it; or each piece is drawn. */
static void run_graph(const std::vector<captured_work> &work)
{
    if (!settings.order) {
        for (auto &w : work) w.f();
        return;
    }
    std::vector<size_t> lacks(work.size());
    std::vector<std::vector<size_t>> next(work.size());
    std::vector<size_t> ready;
    for (size_t i = 0; i < work.size(); i++) {
        lacks[i] = work[i].after.size();
        for (int k : work[i].after) next[(size_t)k].push_back(i);
        if (!lacks[i]) ready.push_back(i);
    }
    for (uint64_t turn = 0; !ready.empty(); turn++) {
        size_t at = 0;
        uint64_t most = 0;
        for (size_t i = 0; i < ready.size(); i++) {
            uint64_t by = settings.order % 4 ? (uint64_t)work[ready[i]].stream : turn * 64 + i,
                     rank = mixed(settings.order * 1000003u + mixed(by));
            if (rank >= most) most = rank, at = i;
        }
        size_t now = ready[at];
        ready.erase(ready.begin() + (ptrdiff_t)at);
        work[now].f();
        for (size_t k : next[now])
            if (!--lacks[k]) ready.push_back(k);
    }
}

void ft_shim_enqueue(cudaStream_t s, std::function<void()> f)
{
    settings.launches++;
    begin(s, std::move(f));
}

/* A device takes 65535; what grows with the batch has no place there, and tests are small. */
enum { GRID_ROWS = 256 };

void ft_shim_launch(const char *name, dim3 grid, dim3 block, size_t smem, cudaStream_t s, std::function<void()> f)
{
    size_t threads_ = (size_t)block.x * block.y * block.z;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > GRID_ROWS || grid.z > GRID_ROWS || grid.x > 2147483647u ||
        threads_ == 0 || threads_ > MAX_THREADS || block.z > 64)
        die("%s: a grid of (%u,%u,%u) blocks of (%u,%u,%u) cannot be launched", name, grid.x, grid.y, grid.z, block.x, block.y,
            block.z);
    ft_shim_enqueue(s, [=] { run_kernel(name, grid, block, smem, f); });
}

static bool capture_forbids(void) /* a call that a device refuses while a stream records */
{
    for (ft_shim_stream *s : all_streams())
        if (s->in) return s->in->invalid = true;
    return false;
}

extern "C" {
cudaError_t cudaGetDeviceCount(int *count)
{
    const char *clock = getenv("FT_SHIM_CLOCK");
    if (clock) settings.algorithms = 3, settings.clock = (unsigned)atoi(clock);
    const char *devices = getenv("FT_SHIM_DEVICES"); /* "2 FILE": two; which one a process took is added to FILE */
    return *count = devices ? atoi(devices) : 1, cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "host shim");
    p->major = 9, p->multiProcessorCount = 4, p->totalGlobalMem = (size_t)8 << 30;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device)
{
    const char *devices = getenv("FT_SHIM_DEVICES"), *file = devices ? strchr(devices, ' ') : NULL;
    if (FILE *f = file ? fopen(file + 1, "a") : NULL) fprintf(f, "%d\n", device), fclose(f);
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *v) { return *v = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *v) { return *v = 13000, cudaSuccess; }
cudaError_t cudaMemGetInfo(size_t *f, size_t *t) /* FT_SHIM_MEMORY=MIB: a device with little */
{
    const char *mib = getenv("FT_SHIM_MEMORY");
    return *f = *t = mib ? (size_t)atoll(mib) << 20 : (size_t)8 << 30, cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) { return *device = 0, cudaSuccess; }
cudaError_t cudaMalloc(void **p, size_t size)
{
    if (capture_forbids()) return failed(cudaErrorStreamCaptureUnsupported);
    if (settings.fail_alloc > 0 && --settings.fail_alloc == 0) return failed(cudaErrorMemoryAllocation);
    if (posix_memalign(p, 256, size ? size : 1)) return failed(cudaErrorMemoryAllocation);
    if (!settings.count_only) memset(*p, 0xFF, size);
    settings.allocations++;
    return cudaSuccess;
}
cudaError_t cudaFree(void *p)
{
    for (ft_shim_stream *s : all_streams()) flush(s);
    if (p) settings.allocations--;
    free(p);
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **p, size_t size)
{
    return posix_memalign(p, 64, size ? size : 1) ? failed(cudaErrorMemoryAllocation) : cudaSuccess;
}
cudaError_t cudaFreeHost(void *p)
{
    for (ft_shim_stream *s : all_streams()) flush(s);
    free(p);
    return cudaSuccess;
}
/* FT_SHIM_COPIES=FILE: at the end, how many copies and bytes went in and out */
static struct copies {
    int64_t count[2], bytes[2];
    ~copies()
    {
        const char *path = getenv("FT_SHIM_COPIES");
        FILE *f = path ? fopen(path, "w") : NULL;
        if (!f) return;
        for (int way = 0; way < 2; way++) fprintf(f, "%lld %lld\n", (long long)count[way], (long long)bytes[way]);
        fclose(f);
    }
} copied;
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, cudaMemcpyKind kind, cudaStream_t s)
{
    begin(s, [=] {
        memcpy(dst, src, n);
        if (kind == cudaMemcpyDeviceToDevice) return;
        int way = kind == cudaMemcpyDeviceToHost;
        settings.copies++, settings.bytes += (int64_t)n, copied.count[way]++, copied.bytes[way] += (int64_t)n;
    });
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *dst, int value, size_t n, cudaStream_t s)
{
    begin(s, [=] { memset(dst, value, n); });
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    *s = new ft_shim_stream;
    all_streams().push_back(*s);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (s->in) return s->in->invalid = true, failed(cudaErrorStreamCaptureUnsupported);
    flush(s);
    return cudaSuccess;
}
static void join(ft_shim_stream *s, std::shared_ptr<capture> c)
{
    flush(s);
    s->in = c;
    s->tail.clear();
    c->streams.push_back(s);
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    if (e->in && settings.refuse_streams > 1) {
        e->in->invalid = settings.refuse_streams == 2;
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    if (!s->in && e->in && !e->in->ended) join(s, e->in);
    if (s->in != e->in) { /* of another capture, or of none */
        if (s->in) s->in->invalid = true;
        return failed(cudaErrorStreamCaptureIsolation);
    }
    if (!s->in) return e->stream && e->stream != s ? flush(e->stream), cudaSuccess : cudaSuccess;
    if (e->stream != s) settings.edges++;
    s->tail.insert(e->tail.begin(), e->tail.end());
    return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    if (s->in) return failed(cudaErrorStreamCaptureUnsupported);
    join(s, std::make_shared<capture>(capture{s, settings.refuse_capture, false, {}, {}}));
    settings.edges = settings.beside = 0;
    return cudaSuccess;
}
/* what has happened when `tail` has */
static std::set<int> past(const std::vector<captured_work> &work, std::set<int> tail)
{
    std::set<int> all = tail;
    for (int i = (int)work.size(); i-- > 0;)
        if (all.count(i)) all.insert(work[(size_t)i].after.begin(), work[(size_t)i].after.end());
    return all;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph)
{
    std::shared_ptr<capture> c = s->in;
    *graph = NULL;
    if (!c || c->origin != s) return failed(cudaErrorStreamCaptureUnsupported);
    std::set<int> done = past(c->work, s->tail);
    cudaError_t e =
        c->invalid || (settings.refuse_streams == 1 && c->streams.size() > 1) ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
    for (ft_shim_stream *t : c->streams) {
        for (int i : t->tail)
            if (!done.count(i) && e == cudaSuccess) e = cudaErrorStreamCaptureUnjoined;
        t->in.reset();
    }
    c->ended = true;
    for (auto &w : c->work) settings.beside += w.stream > 0;
    if (e == cudaSuccess) *graph = new ft_shim_graph{std::move(c->work)};
    return failed(e);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status)
{
    *status = !s->in           ? cudaStreamCaptureStatusNone
              : s->in->invalid ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new ft_shim_graph_exec{graph->work};
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    settings.replays++;
    begin(s, [work = exec->work] { run_graph(work); });
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return delete exec, cudaSuccess; }
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { return *e = new ft_shim_event, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    e->stream = s, e->in = s->in;
    if (s->in) return e->tail = s->tail, cudaSuccess;
    begin(s, [=] { e->at = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); });
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (e->stream) flush(e->stream);
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    if (!settings.clock) return *ms = (float)(1000 * (to->at - from->at)), cudaSuccess;
    settings.clock = settings.clock * 1664525u + 1013904223u; /* never 0 for a seed's whole period but once */
    return *ms = 1 + (float)(settings.clock >> 16) / 65536, cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    if (e->stream) flush(e->stream);
    return delete e, cudaSuccess;
}
cudaError_t cudaGetLastError(void)
{
    cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}
cudaError_t cudaPeekAtLastError(void) { return last_error; }
const char *cudaGetErrorString(cudaError_t e)
{
    return e == cudaErrorMemoryAllocation ? "out of memory" : "an error of the shim";
}
}

void ft_shim_forbid(const void *p, size_t n)
{
    (void)p, (void)n;
#ifdef SANITIZED
    __asan_poison_memory_region(p, n);
#endif
}
void ft_shim_allow(const void *p, size_t n)
{
    (void)p, (void)n;
#ifdef SANITIZED
    __asan_unpoison_memory_region(p, n);
#endif
}
