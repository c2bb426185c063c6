/* Results of the core where Python does not come: softmax and cross_entropy beside their formulas in float64.
   tools/check_platforms.sh builds and runs it. Prints what is wrong; returns 1 if anything is. */
#include "../csoftmax/core/block.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef STAND_IN_FOR_AVX         /* where these levels, which take minutes to compile, are not linked */
const csm_table csm_f32_avx2 = {.isa = "avx2"}, csm_f64_avx2 = {.isa = "avx2"};
const csm_table csm_f32_avx512 = {.isa = "avx512"}, csm_f64_avx512 = {.isa = "avx512"};
static int is_linked(const char *isa) { return strncmp(isa, "avx", 3) != 0; }
#else
static int is_linked(const char *isa) { return isa != NULL; }
#endif

static int checks, failures;

static void check(int right, const char *what, csm_dtype dtype, int swapped, ptrdiff_t rows, ptrdiff_t n)
{
    checks++;
    if (!right && ++failures < 20)
        printf("wrong: %s, dtype %d, swapped %d, (%ld, %ld)\n", what, (int)dtype, swapped, (long)rows, (long)n);
}

/* ---- numbers of any dtype and byte order ---- */

static ptrdiff_t size_of(csm_dtype dtype)
{
    return dtype == CSM_F64 || dtype == CSM_I64 ? 8 : dtype == CSM_F16 ? 2 : 4;
}

/* Of a number that float16 has, and that is not subnormal there. */
static uint16_t half_of(double v)
{
    int exponent;
    const double fraction = frexp(fabs(v), &exponent);
    const int bits = v == 0 ? 0 : ((exponent + 14) << 10) + (int)(fraction * 2048) - 1024;
    return (uint16_t)(bits | (v < 0 ? 0x8000 : 0));
}

static double double_of(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const double size = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return half & 0x8000 ? -size : size;
}

static void swap(char *p, ptrdiff_t size)
{
    for (ptrdiff_t i = 0; i < size / 2; i++) {
        const char c = p[i];
        p[i] = p[size - 1 - i];
        p[size - 1 - i] = c;
    }
}

static void write_number(char *p, csm_dtype dtype, int swapped, double v)
{
    const float single = (float)v;
    const uint16_t half = dtype == CSM_F16 ? half_of(v) : 0;
    const int32_t i32 = (int32_t)v;
    const int64_t i64 = (int64_t)v;
    const void *from = dtype == CSM_F64 ? (const void *)&v : dtype == CSM_F32 ? (const void *)&single
                     : dtype == CSM_F16 ? (const void *)&half : dtype == CSM_I32 ? (const void *)&i32 : &i64;
    memcpy(p, from, (size_t)size_of(dtype));
    if (swapped)
        swap(p, size_of(dtype));
}

static double read_number(const char *from, csm_dtype dtype, int swapped)
{
    char p[8];
    float single;
    double real;
    uint16_t half;
    memcpy(p, from, (size_t)size_of(dtype));
    if (swapped)
        swap(p, size_of(dtype));
    memcpy(&real, p, sizeof real);
    memcpy(&single, p, sizeof single);
    memcpy(&half, p, sizeof half);
    return dtype == CSM_F64 ? real : dtype == CSM_F32 ? (double)single : double_of(half);
}

/* ---- calls ---- */

typedef struct {
    csm_dtype dtype;
    int swapped;
    ptrdiff_t rows, n, shape[2], stride[2], label_stride[1];
    char *x, *y;
} matrix;

/* Logits are eighths between -16 and 16, which every dtype has. */
static double logit(ptrdiff_t i) { return (double)(i * 2654435761u % 257) / 8 - 16; }

static matrix matrix_of(csm_dtype dtype, int swapped, ptrdiff_t rows, ptrdiff_t n)
{
    const ptrdiff_t size = size_of(dtype);
    matrix a = {.dtype = dtype, .swapped = swapped, .rows = rows, .n = n};
    a.shape[0] = rows, a.shape[1] = n;
    a.stride[0] = n * size, a.stride[1] = size;
    a.x = malloc((size_t)(rows * n * size));
    a.y = malloc((size_t)(rows * n * size));
    if (!a.x || !a.y)
        exit(2);
    for (ptrdiff_t i = 0; i < rows * n; i++)
        write_number(a.x + i * size, dtype, swapped, logit(i));
    return a;
}

static void free_matrix(matrix *a)
{
    free(a->x);
    free(a->y);
}

static csm_call call_on(const matrix *a, csm_op op)
{
    return (csm_call){
        .op = op, .dtype = a->dtype == CSM_F64 ? CSM_F64 : CSM_F32, .ndim = 1, .nclass = 1, .shape = a->shape,
        .x = {a->x, a->dtype, a->swapped, a->stride}, .y = {a->y, a->dtype, a->swapped, a->stride}, .temperature = 1,
    };
}

/* log sum e^x of a row. */
static double reference(const matrix *a, ptrdiff_t row)
{
    double sum = 0;
    for (ptrdiff_t j = 0; j < a->n; j++)
        sum += exp(logit(row * a->n + j) - 16);
    return log(sum) + 16;
}

static int is_close(const matrix *a, double found, double expected)
{
    const double relative = a->dtype == CSM_F64 ? 1e-14 : a->dtype == CSM_F32 ? 1e-6 : 1e-3;
    return fabs(found - expected) <= relative * fabs(expected) + (a->dtype == CSM_F16 ? 0x1p-24 : 1e-16);
}

static void check_softmax(csm_dtype dtype, int swapped, ptrdiff_t rows, ptrdiff_t n)
{
    matrix a = matrix_of(dtype, swapped, rows, n);
    csm_call call = call_on(&a, CSM_SOFTMAX);
    check(csm_run(&call) == CSM_OK, "status of softmax", dtype, swapped, rows, n);
    for (ptrdiff_t i = 0; i < rows; i++) {
        const double lse = reference(&a, i);
        for (ptrdiff_t j = i * n; j < (i + 1) * n; j++)
            check(is_close(&a, read_number(a.y + j * size_of(dtype), dtype, swapped), exp(logit(j) - lse)),
                  "softmax", dtype, swapped, rows, n);
    }
    free_matrix(&a);
}

static ptrdiff_t label_of(ptrdiff_t row, ptrdiff_t n) { return row * 7 % n; }

static csm_call loss_call(matrix *a, csm_dtype labels, char *label, double *loss)
{
    csm_call call = call_on(a, CSM_CROSS_ENTROPY);
    a->label_stride[0] = size_of(labels);
    for (ptrdiff_t i = 0; i < a->rows; i++)
        write_number(label + i * size_of(labels), labels, a->swapped, (double)label_of(i, a->n));
    call.target = (csm_array){label, labels, a->swapped, a->label_stride};
    call.reduction = CSM_MEAN;
    call.loss = loss;
    return call;
}

static void check_cross_entropy(csm_dtype dtype, int swapped, csm_dtype labels, ptrdiff_t rows, ptrdiff_t n)
{
    matrix a = matrix_of(dtype, swapped, rows, n);
    char *const label = malloc((size_t)(rows * 8));
    double loss = 0, expected = 0;
    if (!label)
        exit(2);
    csm_call call = loss_call(&a, labels, label, &loss);
    check(csm_run(&call) == CSM_OK, "status of cross_entropy", dtype, swapped, rows, n);
    for (ptrdiff_t i = 0; i < rows; i++) {
        const double lse = reference(&a, i);
        const ptrdiff_t target = i * n + label_of(i, n);
        expected += (lse - logit(target)) / (double)rows;
        for (ptrdiff_t j = i * n; j < (i + 1) * n; j++) {
            const double found = read_number(a.y + j * size_of(dtype), dtype, swapped);
            const double right = (exp(logit(j) - lse) - (j == target)) / (double)rows;
            const int is_near = fabs(found - right) < 1e-14;        /* 1 - p cancels here, not in the core */
            check(is_near || is_close(&a, found, right), "gradient", dtype, swapped, rows, n);
        }
    }
    check(fabs(loss - expected) <= 2e-6 * fabs(expected) + 1e-14, "loss", dtype, swapped, rows, n);
    write_number(label, labels, swapped, (double)n);
    const int refused = csm_run(&call) == CSM_BAD_LABEL && call.bad_row == 0 && atol(call.bad_label) == n;
    check(refused, "bad label", dtype, swapped, rows, n);
    free(label);
    free_matrix(&a);
}

/* The same bits from four threads as from one. */
static void check_threads(ptrdiff_t rows, ptrdiff_t n)
{
    matrix a = matrix_of(CSM_F32, 0, rows, n), b = matrix_of(CSM_F32, 0, rows, n);
    csm_call one = call_on(&a, CSM_SOFTMAX), four = call_on(&b, CSM_SOFTMAX);
    csm_assume_cpus(1);
    int right = csm_run(&one) == CSM_OK;
    csm_assume_cpus(4);
    for (int i = 0; i < 3; i++) {
        right = right && csm_run(&four) == CSM_OK && !memcmp(a.y, b.y, (size_t)(rows * n * size_of(CSM_F32)));
        memset(b.y, 0, (size_t)(rows * n * size_of(CSM_F32)));
    }
    csm_assume_cpus(0);
    check(right, "threads", CSM_F32, 0, rows, n);
    free_matrix(&a);
    free_matrix(&b);
}

static void check_level(void)
{
    static const csm_dtype floats[] = {CSM_F32, CSM_F64, CSM_F16};
    static const ptrdiff_t shapes[][2] = {{1, 10}, {3, 1}, {3, 2}, {70, 3}, {70, 16}, {5, 33}, {70, 100}, {2, 1000}};
    for (int s = 0; s < (int)(sizeof shapes / sizeof *shapes); s++)
        for (int f = 0; f < 3; f++)
            for (int swapped = 0; swapped < 2; swapped++) {
                check_softmax(floats[f], swapped, shapes[s][0], shapes[s][1]);
                check_cross_entropy(floats[f], swapped, CSM_I32, shapes[s][0], shapes[s][1]);
                check_cross_entropy(floats[f], swapped, CSM_I64, shapes[s][0], shapes[s][1]);
            }
    check_threads(6000, 100);
    check_threads(1, 700000);
}

int main(void)
{
    csm_guard_forks();
    for (int i = 0; csm_isa_built(i); i++)
        if (is_linked(csm_isa_built(i)) && csm_isa_runs(i) && !csm_init(csm_isa_built(i))) {
            check_level();
            printf("%s ", csm_isa());
        }
    printf("%d of %d checks failed; threads: %s, %d; %s\n", failures, checks, csm_threading(), csm_get_num_threads(),
           csm_compiler());
    return failures || !checks;
}
