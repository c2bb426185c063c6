/* What this machine can do: bare loops that move bytes or compute, timed on one or more threads.
 *
 * Compiled at run time by timing.py with the system's C compiler, once per real type (-DREAL_IS_DOUBLE), and called
 * through ctypes. Nothing here is shared with the library: these loops are the yardstick it is held against.
 *
 * A loop gets four streams a, b (read) and c, d (written), each `n` elements long, all aligned to 64 bytes.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#ifdef REAL_IS_DOUBLE
typedef double real;
typedef int64_t bits;
#else
typedef float real;
typedef int32_t bits;
#endif

/* The widest vector of the target, its maximum and its non-temporal store. */
#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 64
#define STREAM(p, v) _mm512_stream_si512((void *)(p), (__m512i)(v))
#define FENCE() _mm_sfence()
#elif defined(__AVX__)
#include <immintrin.h>
#define WIDTH 32
#define STREAM(p, v) _mm256_stream_si256((void *)(p), (__m256i)(v))
#define FENCE() _mm_sfence()
#elif defined(__SSE2__)
#include <emmintrin.h>
#define WIDTH 16
#define STREAM(p, v) _mm_stream_si128((void *)(p), (__m128i)(v))
#define FENCE() _mm_sfence()
#else
#define WIDTH 16
#define STREAM(p, v) (*(p) = (v))
#define FENCE() ((void)0)
#endif

enum { LANES = WIDTH / sizeof(real) };
typedef real vec __attribute__((vector_size(WIDTH), may_alias));
typedef bits ivec __attribute__((vector_size(WIDTH), may_alias));

static inline vec v_max(vec a, vec b)
{
#if defined(__AVX512F__) && defined(REAL_IS_DOUBLE)
    return (vec)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__) && defined(REAL_IS_DOUBLE)
    return (vec)_mm256_max_pd((__m256d)a, (__m256d)b);
#elif defined(__AVX__)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    for (int i = 0; i < LANES; i++) a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
#endif
}

static inline vec v_set1(real x) { return x - (vec){0}; }

/* ---- the loops ------------------------------------------------------------------------------------------- */

#define LOOP(name) \
    static __attribute__((noinline)) void name(const vec *restrict a, const vec *restrict b, vec *c, vec *d, size_t n)
#define EACH for (size_t i = 0; i < n; i++)

static volatile real sink;

/* Reductions run on eight accumulators, so that their latency does not count. */
#define REDUCE(step)                                                     \
    vec s[8] = {{0}};                                                    \
    size_t j = 0;                                                        \
    for (; j + 8 <= n; j += 8)                                           \
        for (int k = 0; k < 8; k++) s[k] = step(s[k], j + k);            \
    for (; j < n; j++) s[0] = step(s[0], j);                             \
    for (int k = 1; k < 8; k++) s[0] += s[k];                            \
    sink = s[0][0]

#define READ(s, j) ((vec)((ivec)(s) | (ivec)a[j]))
#define MAX(s, j) v_max(s, a[j])
#define DOT(s, j) ((s) + a[j] * b[j])
LOOP(loop_read) { REDUCE(READ); }
LOOP(loop_max) { REDUCE(MAX); }
LOOP(loop_dot) { REDUCE(DOT); }

LOOP(loop_fill) { EACH c[i] = v_set1(1); }
LOOP(loop_fill_nt) { EACH STREAM(&c[i], v_set1(1)); FENCE(); }
LOOP(loop_copy) { EACH c[i] = a[i]; }
LOOP(loop_copy_nt) { EACH STREAM(&c[i], a[i]); FENCE(); }
LOOP(loop_join) { EACH c[i] = a[i] + b[i]; }
LOOP(loop_join_nt) { EACH STREAM(&c[i], a[i] + b[i]); FENCE(); }
LOOP(loop_fork) { EACH { c[i] = a[i]; d[i] = a[i]; } }
LOOP(loop_fork_nt) { EACH { STREAM(&c[i], a[i]); STREAM(&d[i], a[i]); } FENCE(); }
LOOP(loop_update) { EACH c[i] = -c[i]; }
LOOP(loop_update_join) { EACH c[i] = a[i] - c[i]; }
LOOP(loop_scale) { EACH c[i] = a[i] * (real)0.99; }

/* exp(x) for |x| < 80: x = k ln2 + t, a polynomial in t, 2^k added to the exponent. About one ULP; no special values.
 * q(t) = (e^t - 1 - t) / t^2 is interpolated at Chebyshev nodes (machine.py checks the result against NumPy). */
#ifdef REAL_IS_DOUBLE
enum { MANTISSA = 52 };
static const real MAGIC = 0x1.8p52, LOG2E = 0x1.71547652b82fep0, LN2_HI = 0x1.62e42fefa3000p-1, LN2_LO = 0x1.3de6af278ece6p-42;
static const real Q[] = {0x1.0000000000001p-1, 0x1.5555555555556p-3, 0x1.5555555553d68p-5, 0x1.11111111109b5p-7,
                         0x1.6c16c17889ef1p-10, 0x1.a01a01a7c2efep-13, 0x1.a019b9149a41cp-16, 0x1.71de0db2f6b19p-19,
                         0x1.28917c89a43a7p-22, 0x1.af389ecfc4b9cp-26};
#else
enum { MANTISSA = 23 };
static const real MAGIC = 0x1.8p23f, LOG2E = 0x1.715476p0f, LN2_HI = 0x1.62e400p-1f, LN2_LO = 0x1.7f7d1cp-20f;
static const real Q[] = {0x1p-1f, 0x1.5554dcp-3f, 0x1.5554eap-5f, 0x1.120b70p-7f, 0x1.6d4326p-10f};
#endif

LOOP(loop_exp)
{
    for (size_t i = 0; i < n; i++) {
        vec z = a[i] * LOG2E + v_set1(MAGIC), k = z - MAGIC;
        vec t = (a[i] - k * LN2_HI) - k * LN2_LO;
        int last = sizeof Q / sizeof Q[0] - 1;
        vec q = v_set1(Q[last]);
        for (int j = last - 1; j >= 0; j--) q = q * t + Q[j];
        vec e = (t * t) * q + t + 1;
        c[i] = (vec)((ivec)e + ((ivec)z << MANTISSA));
    }
}

/* The same with 2^(j/16) from a table in registers and a shorter polynomial: only where one instruction looks it up. */
#ifdef __AVX512F__
static real table[16];

static inline vec lookup(ivec index)
{
#ifdef REAL_IS_DOUBLE
    return (vec)_mm512_permutex2var_pd(_mm512_loadu_pd(table), (__m512i)index, _mm512_loadu_pd(table + 8));
#else
    return (vec)_mm512_permutexvar_ps((__m512i)index, _mm512_loadu_ps(table));
#endif
}

static void make_table(void)
{
    for (int j = 0; j < 16; j++) {
        real x = (real)j / 16 * (real)0.69314718055994530942, term = 1, sum = 1;
        for (int k = 1; k < 25; k++) { term *= x / k; sum += term; }
        bits b;
        memcpy(&b, &sum, sizeof b);
        b -= (bits)j << (MANTISSA - 4); /* taken off here: the shift in the loop brings j along */
        memcpy(&table[j], &b, sizeof b);
    }
}

LOOP(loop_exp_table)
{
    for (size_t i = 0; i < n; i++) {
        vec z = a[i] * (16 * LOG2E) + v_set1(MAGIC), k = z - MAGIC;
        vec t = (a[i] - k * (LN2_HI / 16)) - k * (LN2_LO / 16);
        vec s = (vec)((ivec)lookup((ivec)z) + ((ivec)z << (MANTISSA - 4)));
#ifdef REAL_IS_DOUBLE
        vec q = ((((t * (real)(1. / 720) + (real)(1. / 120)) * t + (real)(1. / 24)) * t + (real)(1. / 6)) * t + (real).5) * t + 1;
#else
        vec q = (t * (real)(1. / 6) + (real).5) * t + 1;
#endif
        c[i] = s + s * (q * t);
    }
}
#endif

/* ---- what machine.py calls ------------------------------------------------------------------------------- */

typedef void (*loop)(const vec *restrict, const vec *restrict, vec *, vec *, size_t);

static const struct { const char *name; loop run; } loops[] = {
    {"read", loop_read}, {"fill", loop_fill}, {"fill_nt", loop_fill_nt}, {"copy", loop_copy}, {"copy_nt", loop_copy_nt},
    {"join", loop_join}, {"join_nt", loop_join_nt}, {"fork", loop_fork}, {"fork_nt", loop_fork_nt},
    {"update", loop_update}, {"update_join", loop_update_join},
    {"max", loop_max}, {"dot", loop_dot}, {"scale", loop_scale}, {"exp", loop_exp},
#ifdef __AVX512F__
    {"exp_table", loop_exp_table},
#endif
};
enum { LOOPS = sizeof loops / sizeof loops[0] };

const char *limits_name(int which) { return which < LOOPS ? loops[which].name : NULL; }

typedef struct {
    loop run;
    const vec *a, *b;
    vec *c, *d;
    size_t n;
    long passes, repeats;
    int threads;
    atomic_int *arrived;
} task;

/* Every repetition ends here, as every call of a library ends with all of its threads done. */
static void barrier(const task *t, int round)
{
    if (t->threads == 1) return;
    atomic_fetch_add(t->arrived, 1);
    for (long spins = 0; atomic_load_explicit(t->arrived, memory_order_acquire) < round * t->threads; spins++)
        if (spins > 20000) sched_yield();
}

static void *repeat(void *argument)
{
    const task *t = argument;
    for (int r = 1; r <= t->repeats; r++) {
        for (long p = 0; p < t->passes; p++) t->run(t->a, t->b, t->c, t->d, t->n);
        barrier(t, r + 1);
    }
    return NULL;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

static void *start_and_repeat(void *argument)
{
    barrier(argument, 1);
    return repeat(argument);
}

/* Seconds per repetition of `passes` loops over `bytes` per stream, shared out over `threads`; negative: no such threads. */
double limits_time(int which, size_t bytes, long passes, int threads, long repeats, char *a, char *b, char *c, char *d)
{
    enum { MOST = 256 };
    task tasks[MOST];
    pthread_t ids[MOST];
    atomic_int arrived = 0;
    size_t vectors = (bytes + WIDTH - 1) / WIDTH, start = 0;
#ifdef __AVX512F__
    make_table();
#endif
    if (threads > MOST) return -1;
    for (int k = 0; k < threads; k++) {
        size_t stop = vectors * (k + 1) / threads, skip = start * WIDTH;
        tasks[k] = (task){loops[which].run, (void *)(a + skip), (void *)(b + skip), (void *)(c + skip), (void *)(d + skip),
                          stop - start, passes, repeats, threads, &arrived};
        start = stop;
    }
    for (int k = 1; k < threads; k++)
        if (pthread_create(&ids[k], NULL, start_and_repeat, &tasks[k])) return -1;
    barrier(&tasks[0], 1);
    double begin = seconds();
    repeat(&tasks[0]);
    double taken = seconds() - begin;
    for (int k = 1; k < threads; k++) pthread_join(ids[k], NULL);
    return taken / repeats;
}
