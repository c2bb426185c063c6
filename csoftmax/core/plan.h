/* How a call is cut into blocks that a kernel takes: the axes in computing order, the layout, what goes through
   scratch, and what is given per row, in that order. Includes convert.h, block.h, labels.h, fpenv.h. */
#ifndef CSM_PLAN_H
#define CSM_PLAN_H

#include "convert.h"
#include "fpenv.h"
#include "block.h"
#include "labels.h"
#include "tuning.h"

enum { X, G, Y, H, WHERE, OPERANDS };

/* Axes in the order in which they are computed, largest stride of x first, joined where all operands allow it. */
typedef struct {
    int ndim;
    ptrdiff_t shape[CSM_MAX_NDIM];
    ptrdiff_t stride[OPERANDS][CSM_MAX_NDIM];   /* bytes */
} axes;

/* Memory that a call owns; each knows the one before it. */
typedef struct owned {
    struct owned *before;
    double memory[];
} owned;

/* What comes with the rows, per row in computing order; see block.h. */
typedef struct {
    ptrdiff_t *label;
    ptrdiff_t *ignored;                 /* of block.h; NULL: no row is                        */
    void *coefficient, *weight;
    double weight_scale;                /* a power of two, by which weights were divided        */
    const double *sample_weight, *temperatures;
    void *result;
    ptrdiff_t valid;                    /* rows that count in the mean                          */
    double divisor;                     /* of the loss                                          */
    owned *last;                        /* what csm_free_rows frees                             */
    size_t used;                        /* bytes of `inline_buffer`                                       */
} row_data;

typedef struct {
    csm_call *call;
    const csm_table *table;
    csm_array operand[OPERANDS];
    ptrdiff_t count, n, run;            /* rows, classes, rows that follow each other at one stride */
    int run_axes;                       /* axes of rows in a run: 1, or 2 of joined Jacobians */
    int layout;                         /* CSM_ROWS, CSM_COLS */
    int staged[OPERANDS];               /* operands that go through scratch */
    ptrdiff_t grain;                    /* threads take so many rows, or a multiple of that */
    ptrdiff_t stage_rows;               /* at most so many rows at a time */
    ptrdiff_t stage_bytes;              /* of scratch of one thread; PTRDIFF_MAX: more than there can be */
    ptrdiff_t slopes_at, mask_at;       /* where in it are slopes of capped logits, bytes of `where`; 0: nowhere */
    int smooths;                        /* smoothing depends on `where`: it is part of a staged g */
    ptrdiff_t slots, results;           /* labels and results per row */
    row_data per_row;
    double scale, scale_rest;           /* of the loss gradient: 1/(temperature divisor), and what it lost */
    int threads, together;              /* how many compute; whether they share each row */
    char *scratch;                      /* of all threads */
    ptrdiff_t begin, end;               /* the rows of this slice */
    ptrdiff_t chunk_rows;               /* of it that a thread takes at a time */
    csm_fpenv env;                      /* the caller's */
    axes rows, classes;
    ptrdiff_t position[CSM_MAX_NDIM];   /* of a row in computing order, per step along the call's axes */
    double inline_buffer[32];                     /* per-row data of few rows: malloc would take as long as they */
} plan;

void csm_make_plan(plan *p, csm_call *c);

/* Of what kernels write per row: losses that will be added are doubles. */
static inline csm_dtype csm_result_dtype(const csm_call *c) { return c->loss ? CSM_F64 : c->dtype; }

/* The stride of an operand along the last axis of rows, or along the classes if there is one axis of them. Of joined
   Jacobians, x moves along the last axis but one. */
static inline ptrdiff_t row_stride(const plan *p, int k)
{
    return p->rows.ndim ? p->rows.stride[k][p->rows.ndim - (k == X ? p->run_axes : 1)] : 0;
}

static inline ptrdiff_t class_stride(const plan *p, int k) { return p->classes.ndim ? p->classes.stride[k][0] : 0; }

/* The stride of an operand along the last axis of classes. */
static inline ptrdiff_t line_stride(const plan *p, int k)
{
    return p->classes.ndim ? p->classes.stride[k][p->classes.ndim - 1] : 0;
}

/* a b of numbers that are not negative; PTRDIFF_MAX, which no memory has, where it is more. */
static inline ptrdiff_t csm_times(ptrdiff_t a, ptrdiff_t b)
{
    ptrdiff_t product;
    return __builtin_mul_overflow(a, b, &product) ? PTRDIFF_MAX : product;
}

static inline ptrdiff_t distance(ptrdiff_t stride) { return stride < 0 ? -stride : stride; }

/* Whether of `lines` lines of `count` numbers the lines lie closer together than the numbers of each. */
static inline int lines_are_closer(ptrdiff_t step, ptrdiff_t stride, ptrdiff_t lines, ptrdiff_t count)
{
    return lines > 1 && count > 1 && step != 0 && distance(step) < distance(stride);
}

/* Numbers of scratch for `rows` rows of operand k. Of rows of Jacobians, each n have one x. */
static inline ptrdiff_t staged_numbers(const plan *p, int k, ptrdiff_t rows)
{
    return k == X && p->call->op == CSM_JACOBIAN ? rows + 2 * p->n : rows * p->n;
}

/* Where the index-th of the elements counted over `ndim` axes lies. */
static inline ptrdiff_t offset_of(ptrdiff_t index, int ndim, const ptrdiff_t *shape, const ptrdiff_t *stride)
{
    ptrdiff_t offset = 0;
    for (int i = ndim - 1; i >= 0 && index; i--) {
        offset += index % shape[i] * stride[i];
        index /= shape[i];
    }
    return offset;
}

/* Reads and checks all that is given per row; nothing has been written when it fails. */
csm_status csm_take_rows(plan *p);

/* Refuses the first option, or temperature of a row, that is out of its range. */
csm_status csm_check_options(csm_call *c);
csm_status csm_check_temperatures(csm_call *c);

/* Refuses a normalizer of 0 if there are `valid` rows to divide. */
csm_status csm_check_normalizer(csm_call *c, ptrdiff_t valid);

/* What the mean of a loss divides by. */
double csm_divisor_of(const plan *p);

/* Whether a signal asks the call to stop; looked for between slices. */
int csm_is_stopped(plan *p);

/* Rows of various lengths, as csm_call has them: their work, in numbers of long rows; and all of them, `first` being
   the block of the first. */
ptrdiff_t csm_work_of_segments(const plan *p);
csm_status csm_run_segments(plan *p, const csm_block *first);

/* The results of rows without classes. */
void csm_clear_results(const plan *p);

/* Gives the results to the caller, and frees what csm_take_rows took. */
void csm_give_results(const plan *p);
void csm_free_rows(plan *p);

/* `rows` rows of the arrays at `array`, to scratch where they are staged, and back; `at` is where the kernel has them.
   x has `inputs` rows, fewer than its Jacobians. On the way back they are rows of the plan from `first` on, and of
   Jacobians the first is row `within` of one. */
void csm_stage_in(const plan *p, char *scratch, char *const array[], char *at[], ptrdiff_t inputs, ptrdiff_t rows);
void csm_stage_out(const plan *p, char *scratch, char *const array[], char *const at[], char *results, ptrdiff_t first,
                   ptrdiff_t within, ptrdiff_t rows);

/* The results of the rows of a block of CSM_LOGSUMEXP_B that its kernel left to this. */
void csm_settle_sums(const csm_block *b, csm_dtype dtype, int layout);

#endif
