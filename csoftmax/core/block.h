/* The contract between run.c, which cuts arrays into blocks, and the instances under isa/, which compute
   them: what a block is, which operations there are, what an instance exports. Includes csoftmax.h.

   A block has one class axis and one row axis, and every array of it one stride, in elements:

     CSM_ROWS   the classes of a row are adjacent; strides lead from row to row
     CSM_COLS   rows are adjacent (axis 0 of a C array); strides lead from class to class

   x and y may be the same memory, element for element; other overlap is the caller's error. */
#ifndef CSM_BLOCK_H
#define CSM_BLOCK_H

#include "csoftmax.h"
#include "tuning.h"

#include <stdint.h>

/* The phases of a row that threads share. Each thread calls the kernel once for each phase, and waits for the others in
   between. In a phase, the passes of the other phases go through no vectors. */
typedef enum { CSM_FIND_MAX, CSM_GATHER_LABELS, CSM_ADD_EXP, CSM_APPLY, CSM_PATCH, CSM_PHASES } csm_phase;

/* Threads that share one row at a time: each goes through some segments of it, and what a phase finds is exchanged. */
typedef struct {
    int threads, me;            /* how many, and which of them calls                                       */
    csm_phase phase;
    double *exchange;           /* CSM_EXCHANGE doubles for each thread and each segment                   */
} csm_team;

/* How a kernel treats memory, and what else it does by the size of the block; see regime.c. */
typedef struct {
    ptrdiff_t tile_rows;        /* rows layout: rows of a tile                                             */
    int prefetch_next;          /* what is computed next is fetched                                        */
    int row_fits_l2;            /* a row stays in the second-level cache from one pass to the next         */
    int arrays_fit_llc;         /* the arrays are likely to be in a cache                                  */
    int stream_output;          /* y is written by non-temporal stores                                     */
    int compare_labels;         /* columns layout: each class is compared with the labels                  */
    int transpose_p;            /* Jacobians: several p are transposed for their dominants                 */
} csm_policy;

typedef struct {
    ptrdiff_t rows, n;          /* rows and classes of the block                                           */
    csm_policy policy;
    const void *x;              /* logits; probabilities in derivatives                                    */
    const void *g;              /* soft targets; what a derivative is multiplied with; factors             */
    void *y, *h;                /* result, Hessian; y NULL: only r is wanted                               */
    ptrdiff_t xs, gs, ys, hs;   /* their strides                                                           */
    void *r;                    /* `results` numbers a row, adjacent: logsumexp, loss, log p of labels     */
    ptrdiff_t results;
    int factors;                /* g holds factors of exponentials                                         */
    int sums;                   /* r is double: losses that will be added                                  */
    ptrdiff_t *label;           /* `slots` a row, checked: in [0, n), or -1 for none; a result of CSM_TOP_K */
    const ptrdiff_t *ignored;   /* `slots` a row, the first negative if it is to be ignored: the labels, if there
                                   are any                                                                 */
    ptrdiff_t slots;
    int ignores;                /* some row is; else `ignored` is not read                                 */
    const void *coefficient;    /* what each label counts; NULL: 1                                         */
    const void *weight;         /* of each class; NULL: 1; the values of which there is an expectation     */
    const double *sample_weight;/* of each row; NULL: 1                                                    */
    double one_minus_eps, eps_over_n;   /* coefficient of a class: weight (one_minus_eps g + eps_over_n)           */
    double z_loss;
    double hessian_factor, hessian_floor;
    int residual;
    ptrdiff_t first;            /* Jacobian: rows are those of one after another, from its row first on;
                                   x moves by xs after each n                                              */
    double temperature;
    const double *temperatures; /* of each row, instead                                                    */
    const csm_team *team;       /* NULL: the caller is alone; else there is one row, in the rows layout    */
    double scale, scale_rest;   /* of the loss gradient: 1/divisor, over the temperature unless per row; and what
                                   its rounding lost                                                       */
    double loss_scale;          /* of the losses, or an expectation: what the weights were divided by      */
    double focal_gamma;         /* of one label per row: its loss counts (1 - p)^focal_gamma times; ...    */
    double focal_least;         /* ... where 1 - p is below this, nothing of it is left                    */
} csm_block;

/* The sign by which a kernel says that it leaves the sum of a row to csm_settle_sums. */
enum { CSM_UNSETTLED = 2 };

/* Whether T = 1 in every row. */
static inline int csm_T_is_1(const csm_block *b) { return b->temperature == 1 && !b->temperatures; }

typedef void csm_kernel(const csm_block *);

/* What a block is computed by: the kernel of its layout; or in the rows layout that of the only row of a call, a short
   one; of rows of few classes, which are transposed; or of products of such rows, which are computed together. */
typedef enum { CSM_ROWS, CSM_COLS, CSM_SINGLE, CSM_TILE, CSM_SHORT, CSM_REGIMES } csm_regime;

/* What is computed: an operation; or where every class of a row has a coefficient, a loss of its own. */
enum { CSM_DENSE_CROSS_ENTROPY = CSM_OPS, CSM_DENSE_GRAD_HESS, CSM_ALGORITHMS };

/* What the choice of a regime depends on: lanes; rows of a tile; classes up to which many rows are transposed; and from
   which and up to which products are computed together. */
typedef struct { ptrdiff_t lanes, tile_rows, more_classes, packed_product, short_product; } csm_vectors;

/* `n` adjacent 16-bit numbers, at any address, to float32; and back, each rounded to the nearest. */
typedef void csm_widen(float *dst, const char *src, ptrdiff_t n);
typedef void csm_narrow(char *dst, const float *src, ptrdiff_t n);

/* Labels may be in [0, n); `ignores` is 1 if they may be `ignored`, else 0. */
typedef struct { ptrdiff_t n; int ignores; int64_t ignored; } csm_range;

/* `count` labels, -1 for those that are ignored, which are counted; returns whether all are in range. */
typedef int csm_check_labels(ptrdiff_t *to, const int64_t *from, ptrdiff_t count, const csm_range *range,
                             ptrdiff_t *skipped);

typedef struct {
    const char *isa;
    ptrdiff_t size;             /* bytes of a number */
    csm_vectors vectors;
    csm_kernel *kernel[CSM_ALGORITHMS][CSM_REGIMES];    /* NULL: there is none; in columns, the rows are staged */
    void (*cap)(void *x, void *slopes, ptrdiff_t n, double cap);    /* x = cap tanh(x/cap); NULL: no slopes */
    void (*uncap)(void *g, const void *slopes, ptrdiff_t n);        /* g = g times them                     */
    csm_check_labels *check_labels;
    void (*transpose)(void *to, ptrdiff_t ts, const void *from, ptrdiff_t fs, ptrdiff_t rows, ptrdiff_t n);
                                                /* to[j ts + i] = from[i fs + j], i < rows, j < n */
    void (*hide)(void *x, const char *where, ptrdiff_t n, double v);    /* x = v where the byte is 0 */
    void (*reverse)(void *to, const void *from, ptrdiff_t n);           /* to[n - 1 - i] = from[i] */
    csm_widen *widen[2];        /* of dtype CSM_F16 + i; NULL in the float64 instances */
    csm_narrow *narrow[2];
} csm_table;

/* The kernel for a block, to which it gives the policy. `all_rows` are the rows of the call, `thread_rows` those that a
   thread goes through, the block's among them. */
csm_kernel *csm_choose_kernel(csm_block *b, const csm_table *table, csm_op op, int layout, ptrdiff_t all_rows,
                              ptrdiff_t thread_rows);

/* Per-row data of a block begin `rows` rows later; its arrays stay where they are. `size` is that of a number. */
static inline void csm_skip_per_row(csm_block *b, ptrdiff_t rows, ptrdiff_t size)
{
    const ptrdiff_t result = b->sums ? (ptrdiff_t)sizeof(double) : size;
    b->r = b->r ? (char *)b->r + rows * b->results * result : NULL;
    b->label = b->label ? b->label + rows * b->slots : NULL;
    b->ignored = b->ignored ? b->ignored + rows * b->slots : NULL;
    b->coefficient = b->coefficient ? (const char *)b->coefficient + rows * b->slots * size : NULL;
    b->sample_weight = b->sample_weight ? b->sample_weight + rows : NULL;
    b->temperatures = b->temperatures ? b->temperatures + rows : NULL;
}

/* The instance for a dtype on the instruction set chosen at import. */
const csm_table *csm_table_of(csm_dtype dtype);

#endif
