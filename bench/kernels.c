/* ns per element of every kernel of one instance, one thread, in memory that is warm, or with -DCOLD (x86) in no cache:
   what a change of a kernel does, without Python and without the driver. Of the shapes below, or of one that is given:
   rows, classes, and "cols" for rows along axis 0. From the project's root, for avx512_f32:

     cc -O2 -mtune=skylake -std=gnu11 -ffp-contract=off -fno-math-errno -fno-trapping-math \
        -DINSTANCE='"../csoftmax/core/isa/avx512_f32.c"' bench/kernels.c -lm -o /tmp/kernels && /tmp/kernels */
#include INSTANCE
#include "../csoftmax/core/regime.c"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const names[CSM_OPS] = {
    "softmax", "log_softmax", "logsumexp", "entropy", "selective", "logsumexp, b", "loss+grad", "soft+grad", "grad+hess",
    "Jacobian", "vjp", "log_vjp", "log_jvp", "KL",
};
typedef struct { ptrdiff_t rows, n; int layout; } shape;
static const shape usual[] = {
    {10000, 3, CSM_ROWS}, {10000, 10, CSM_ROWS}, {4096, 32, CSM_ROWS}, {4096, 100, CSM_ROWS}, {4096, 128, CSM_ROWS},
    {64, 1000, CSM_ROWS}, {1024, 1000, CSM_ROWS}, {8, 4096, CSM_ROWS}, {8, 32000, CSM_ROWS},
    {100000, 10, CSM_COLS},
};

static double seconds(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Takes an array out of all caches. */
static void forget(const void *a, ptrdiff_t count)
{
#ifdef COLD
    for (ptrdiff_t i = 0; a && i < count * (ptrdiff_t)sizeof(elem); i += 64)
        __builtin_ia32_clflush((const char *)a + i);
    __builtin_ia32_mfence();
#else
    (void)a, (void)count;
#endif
}

/* The best of nine rounds of some milliseconds each, per element; x has `inputs`. The block is all that there is. */
static double measure(csm_op op, int layout, csm_block *b, ptrdiff_t inputs)
{
    csm_kernel *const kernel = csm_choose_kernel(b, &CSM_TABLE, op, layout, b->rows, b->rows);
    const ptrdiff_t size = b->rows * b->n;
    double best = INFINITY;
    const int calls = (int)(1 + 2000000 / size);
    for (int round = 0; round < 9; round++) {
        double each = 0;
        for (int i = 0; i < calls; i++) {
            forget(b->x, inputs), forget(b->g, size), forget(b->y, size), forget(b->h, size);
            const double start = seconds();
            kernel(b);
            each += (seconds() - start) / calls;
        }
        best = each < best ? each : best;
    }
    return best / (double)size * 1e9;
}

/* Of as many Jacobians, or rows of them, as 256 MB hold. */
static double jacobian(ptrdiff_t rows, ptrdiff_t n, const elem *p)
{
    const ptrdiff_t most = (1 << 28) / (ptrdiff_t)sizeof *p / n, all = rows * n < most ? rows * n : most;
    elem *y = calloc((size_t)(all * n), sizeof *y);
    csm_block b = {.rows = all, .n = n, .x = p, .y = y, .xs = n, .ys = n, .temperature = 1};
    const double each = measure(CSM_JACOBIAN, CSM_ROWS, &b, all);
    free(y);
    return each;
}

/* A line: every operation on one shape. */
static void measure_shape(shape of)
{
    const ptrdiff_t rows = of.rows, n = of.n, size = rows * n, stride = of.layout == CSM_ROWS ? n : rows;
    elem *x = malloc((size_t)size * sizeof *x), *y = calloc((size_t)size, sizeof *y);
    elem *p = malloc((size_t)size * sizeof *p), *h = calloc((size_t)size, sizeof *h);
    ptrdiff_t *label = malloc((size_t)rows * sizeof *label);
    double *r = malloc(2 * (size_t)rows * sizeof *r);
    for (ptrdiff_t i = 0; i < size; i++)
        x[i] = (elem)((double)(rand() % 10000 - 5000) * 1e-3);
    csm_block to_p = {.rows = rows, .n = n, .x = x, .y = p, .xs = stride, .ys = stride, .temperature = 1};
    csm_choose_kernel(&to_p, &CSM_TABLE, CSM_SOFTMAX, of.layout, rows, rows)(&to_p);
    for (ptrdiff_t i = 0; i < rows; i++)
        label[i] = rand() % n;
    printf("\n%8td %8td", rows, n);
    for (int op = 0; op < CSM_OPS; op++) {
        if (op == CSM_JACOBIAN) {
            printf(" %11.3f", of.layout == CSM_ROWS ? jacobian(rows, n, p) : NAN);
            continue;
        }
        if (!CSM_TABLE.kernel[op][of.layout]) {
            printf(" %11s", "");
            continue;
        }
        const int takes_p = op == CSM_SOFT_CROSS_ENTROPY || op == CSM_LOGSUMEXP_B;
        csm_block b = {
            .rows = rows, .n = n, .x = op >= CSM_VJP ? p : x,
            .g = op >= CSM_VJP ? x : takes_p ? p : NULL, .factors = op == CSM_LOGSUMEXP_B,
            .y = op >= CSM_LOGSUMEXP && op <= CSM_LOGSUMEXP_B ? NULL : y, .h = op == CSM_GRAD_HESS ? h : NULL,
            .xs = stride, .gs = stride, .ys = stride, .hs = stride, .r = r, .results = op == CSM_LOGSUMEXP_B ? 2 : 1,
            .label = op == CSM_SOFT_CROSS_ENTROPY ? NULL : label, .slots = 1, .one_minus_eps = 1,
            .hessian_factor = 1,
            .temperature = 1, .scale = 1 / (double)rows, .loss_scale = 1,
            .sums = op == CSM_CROSS_ENTROPY || op == CSM_SOFT_CROSS_ENTROPY || op == CSM_KL,
        };
        printf(" %11.3f", measure((csm_op)op, of.layout, &b, size));
    }
    free(x), free(y), free(p), free(h), free(label), free(r);
}

int main(int count, char **argument)
{
    printf("%8s %8s", "rows", "n");
    for (int op = 0; op < CSM_OPS; op++)
        printf(" %11s", names[op]);
    if (count > 2) {
        const int cols = count > 3 && !strcmp(argument[3], "cols");
        measure_shape((shape){atol(argument[1]), atol(argument[2]), cols ? CSM_COLS : CSM_ROWS});
    } else {
        for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
            measure_shape(usual[i]);
    }
    printf("\n");
    return 0;
}
