/* Chooses the kernel that computes a block: its algorithm by the options, its regime by the shape, and by the sizes how
   it treats memory. Includes block.h. */
#include "block.h"
#include "tuning.h"

/* Labels may be smoothed or have weights, and targets may be more than probabilities as they are, at T = 1. */
static int algorithm_of(csm_op op, const csm_block *b)
{
    const int is_weighed = b->eps_over_n != 0 || b->one_minus_eps != 1 || b->weight || b->ignores || !csm_T_is_1(b);
    switch (op) {
    case CSM_CROSS_ENTROPY: return b->eps_over_n != 0 || b->g ? CSM_DENSE_CROSS_ENTROPY : op;
    case CSM_SOFT_CROSS_ENTROPY: return is_weighed ? CSM_DENSE_CROSS_ENTROPY : op;
    case CSM_GRAD_HESS: return b->g ? CSM_DENSE_GRAD_HESS : op;
    default: return op;
    }
}

static int is_product(csm_op op) { return op == CSM_VJP || op == CSM_LOG_VJP || op == CSM_LOG_JVP; }

/* Whether so many Jacobians are computed that several p, one a lane, pay. */
static int jacobians_fill_lanes(const csm_vectors *v, const csm_block *b, ptrdiff_t all_rows)
{
    return all_rows >= v->lanes * b->n;
}

/* Products of rows of few classes are computed together where T = 1, so that no row is transposed; else transposed, so
   that a row with a temperature of its own has the bits of rows that share it. */
static csm_regime product_regime(const csm_vectors *v, const csm_block *b)
{
    if (csm_T_is_1(b) && b->n > v->packed_product && b->n <= v->short_product)
        return CSM_SHORT;
    return b->n <= TRANSPOSED_PRODUCT ? CSM_TILE : CSM_ROWS;
}

/* A thread may have a small stack: it has room for two tiles of few classes, or for one of more. Rows of more classes
   with a second operand, g or h, are therefore not transposed. That is faster from 60 classes on: gradients of soft
   targets of 80 classes take 0.76 instead of 1.04 ns per element, of 50 classes 1.31 instead of 1.06 (16 lanes, Zen 4,
   2026-11-30). */
static csm_regime tile_or_rows(const csm_vectors *v, const csm_block *b, ptrdiff_t all_rows)
{
    const ptrdiff_t most = b->g || b->h ? FEW_CLASSES : v->more_classes;
    const ptrdiff_t least = b->n <= FEW_CLASSES ? v->lanes : 4 * v->tile_rows;
    return b->n <= most && all_rows >= least ? CSM_TILE : CSM_ROWS;
}

/* Of classes that are adjacent. It does not depend on how the rows of a call are cut into blocks, nor do their bits. */
static csm_regime regime_of(const csm_vectors *v, csm_op op, const csm_block *b, ptrdiff_t all_rows)
{
    if (v->lanes == 1)
        return CSM_ROWS;
    if (op == CSM_JACOBIAN)
        return b->n <= FEW_SQUARE && b->ys == b->n && jacobians_fill_lanes(v, b, all_rows) && !b->temperatures
             ? CSM_TILE : CSM_ROWS;
    if (all_rows == 1)
        return b->n <= SINGLE_VECTORS * v->lanes && csm_T_is_1(b) ? CSM_SINGLE : CSM_ROWS;
    if (is_product(op))
        return all_rows >= v->lanes ? product_regime(v, b) : CSM_ROWS;
    return tile_or_rows(v, b, all_rows);
}

/* Whether results are written by non-temporal stores: a line that is stored to otherwise is read from memory first
   (docs/notes/memory.md). Those of log_softmax are, if a row stays in no cache from its sums to its results. */
static int streams(const csm_vectors *v, csm_op op, csm_regime regime, const csm_block *b, ptrdiff_t size, int arrays,
                   ptrdiff_t thread)
{
    const ptrdiff_t adjacent = (regime == CSM_COLS ? b->rows : b->n) * size;
    if (op == CSM_LOG_SOFTMAX)
        return v->lanes > 1 && b->y != b->x && b->n * size > CACHED_ARRAY && arrays * thread > LAST_CACHE;
    const int lines = is_product(op) ? STREAM_LINES : op == CSM_JACOBIAN ? JACOBIAN_LINES : 0;
    return lines && b->y != b->x && b->y != b->g && thread >= STREAM_BYTES && adjacent >= lines * CSM_LINE;
}

/* Rows of a tile in the rows layout: as many as lanes, unless they would not stay in the first-level cache. */
static ptrdiff_t rows_of_tile(const csm_vectors *v, const csm_block *b, ptrdiff_t size)
{
    const ptrdiff_t row = b->n * size * (1 + (b->y && b->y != b->x) + (b->g != NULL));
    const ptrdiff_t fit = row ? TILE_BYTES / row : v->lanes;
    return fit >= v->lanes ? v->lanes : fit < 1 ? 1 : fit;
}

static csm_policy policy_of(const csm_vectors *v, csm_op op, csm_regime regime, const csm_block *b, ptrdiff_t size,
                            ptrdiff_t all_rows, ptrdiff_t thread_rows)
{
    const ptrdiff_t row = b->n * size, thread = row * thread_rows;
    const int arrays = 1 + (b->y && b->y != b->x) + (b->g != NULL) + (b->h != NULL);
    const int alike = b->ys == b->xs && (!b->g || b->gs == b->xs);
    return (csm_policy){
        .tile_rows = rows_of_tile(v, b, size),
        .prefetch_next = thread > CACHED_ARRAY && (regime == CSM_TILE || regime == CSM_SHORT
                                                   || (alike && row <= SHORT_ROW)),
        .row_fits_l2 = row <= CACHED_ARRAY,
        .arrays_fit_llc = arrays * thread <= LAST_CACHE,
        .stream_output = streams(v, op, regime, b, size, arrays, thread),
        .compare_labels = b->n <= FEW_LABELS,
        .transpose_p = v->lanes > 1 && b->n <= FEW_CLASSES && jacobians_fill_lanes(v, b, all_rows),
    };
}

csm_kernel *csm_choose_kernel(csm_block *b, const csm_table *table, csm_op op, int layout, ptrdiff_t all_rows,
                              ptrdiff_t thread_rows)
{
    csm_kernel *const *const kernels = table->kernel[algorithm_of(op, b)];
    csm_regime regime = layout == CSM_COLS ? CSM_COLS : regime_of(&table->vectors, op, b, all_rows);
    if (!kernels[regime])
        regime = CSM_ROWS;
    if (regime == CSM_SINGLE)
        b->policy = (csm_policy){.tile_rows = 1, .arrays_fit_llc = 1};
    else
        b->policy = policy_of(&table->vectors, op, regime, b, table->size, all_rows, thread_rows);
    return kernels[regime];
}
