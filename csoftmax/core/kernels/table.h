/* The kernels of one instance: every body, in both layouts, and the table that exports them. */
#ifndef CSM_TABLE_H
#define CSM_TABLE_H

#include "check_labels.h"
#include "cross_entropy.h"
#include "entropy.h"
#include "grad_hess.h"
#include "half.h"
#include "hide.h"
#include "jacobian.h"
#include "kl_divergence.h"
#include "selective.h"
#include "short_products.h"
#include "softcap.h"
#include "softmax.h"
#include "transpose.h"
#include "transpose_matrix.h"

/* Rows of a tile. */
CSM_INLINE ptrdiff_t rows_of_tile(const csm_block *b, int by_rows)
{
    const ptrdiff_t row = b->n * (ptrdiff_t)sizeof(elem) * (1 + (b->y != NULL && b->y != b->x) + (b->g != NULL));
    if (!by_rows || row * V_LANES <= TILE_BYTES)
        return V_LANES;
    const ptrdiff_t fit = TILE_BYTES / row;
    return fit < 1 ? 1 : fit;
}

/* What an operation computes of a tile. A constant wherever it is given. */
typedef void tile_body(tile t);

/* In columns, full tiles while there are so many rows; then, and in rows, tiles of one row vector or less. */
CSM_INLINE void for_each_tile(const csm_block *b, tile_body *body, int by_rows, int T_is_1)
{
    temp_consts temp[1 + V_LANES];    /* of each lane; and in rows that have their own, behind it, of each row */
    temp[0] = T_is_1 ? temp_consts_T1() : temp_consts_of(b->temperature);
    const mode several = {by_rows, T_is_1, TILE_VECTORS, 0}, one = {by_rows, T_is_1, 1, 0};
    const int widens = !by_rows && TILE_VECTORS > 1 && !b->temperatures;
    const ptrdiff_t most = rows_of_tile(b, by_rows), many = TILE_VECTORS * V_LANES;
    const ptrdiff_t full = widens ? b->rows / many * many : 0;
    vec max[TILE_VECTORS];
    for (ptrdiff_t row = 0; row < full; row += many)
        body(next_tile(tile_of(b, row, many, temp, several), row == 0, full, many, max));
    for (ptrdiff_t row = full; row < b->rows; row += most) {
        const ptrdiff_t rows = b->rows - row < most ? b->rows - row : most;
        if (!T_is_1 && b->temperatures)
            temp_consts_of_rows(temp, b->temperatures + row, rows, by_rows);
        body(next_tile(tile_of(b, row, rows, temp, one), row == full, b->rows, most, max));
    }
}

/* Without vectors T = 1 has no code of its own: it would be a twentieth of the library. */
#define KERNEL(name, body, BY_ROWS)         \
    static void name(const csm_block *b)    \
    {                                       \
        if (V_LANES > 1 && csm_T_is_1(b))           \
            for_each_tile(b, body, BY_ROWS, 1);     \
        else                                        \
            for_each_tile(b, body, BY_ROWS, 0);     \
    }

/* A kernel for T = 1 alone. */
#define T1_KERNEL(name, body, BY_ROWS)  \
    static void name(const csm_block *b) { for_each_tile(b, body, BY_ROWS, 1); }

/* A kernel for the only row of a call. */
#define SINGLE_KERNEL(name, body)               \
    static void name(const csm_block *b)        \
    {                                           \
        const temp_consts t = temp_consts_T1(); \
        vec max;                                \
        const tile k = single_row(b, &t, &max); \
        max_pass(k, &max);                      \
        body(k);                                \
    }

/* A kernel in rows: `single` computes the only row of a call, rows of few classes are transposed for `cols`, and
   `by_rows` computes the others. */
#define ROWS_KERNEL(name, single, by_rows, cols)    \
    static void name(const csm_block *b)            \
    {                                               \
        if (is_single_row(b))                       \
            single(b);                              \
        else if (pays_to_transpose(b))              \
            run_transposed(b, cols);                \
        else                                        \
            by_rows(b);                             \
    }

KERNEL(softmax_rows, softmax_body, 1)
KERNEL(softmax_cols, softmax_body, 0)
SINGLE_KERNEL(softmax_single, softmax_body)
ROWS_KERNEL(softmax_any, softmax_single, softmax_rows, softmax_cols)
KERNEL(log_softmax_rows, log_softmax_body, 1)
KERNEL(log_softmax_cols, log_softmax_body, 0)
SINGLE_KERNEL(log_softmax_single, log_softmax_body)
ROWS_KERNEL(log_softmax_any, log_softmax_single, log_softmax_rows, log_softmax_cols)
KERNEL(logsumexp_rows, logsumexp_body, 1)
KERNEL(logsumexp_cols, logsumexp_body, 0)
SINGLE_KERNEL(logsumexp_single, logsumexp_body)
ROWS_KERNEL(logsumexp_any, logsumexp_single, logsumexp_rows, logsumexp_cols)
KERNEL(entropy_rows, entropy_body, 1)
KERNEL(entropy_cols, entropy_body, 0)
ROWS_KERNEL(entropy_any, entropy_rows, entropy_rows, entropy_cols)
KERNEL(selective_rows, selective_body, 1)
KERNEL(selective_cols, selective_body, 0)
ROWS_KERNEL(selective_any, selective_rows, selective_rows, selective_cols)
T1_KERNEL(factors_rows, factors_body, 1)
T1_KERNEL(factors_cols, factors_body, 0)
ROWS_KERNEL(factors_any, factors_rows, factors_rows, factors_cols)
KERNEL(label_rows, label_body, 1)
KERNEL(label_cols, label_body, 0)
SINGLE_KERNEL(label_single, label_body)
ROWS_KERNEL(label_any, label_single, label_rows, label_cols)
T1_KERNEL(probability_rows, probability_body, 1)
T1_KERNEL(probability_cols, probability_body, 0)
SINGLE_KERNEL(probability_single, probability_body)
ROWS_KERNEL(probability_any, probability_single, probability_rows, probability_cols)
KERNEL(dense_rows, dense_body, 1)
KERNEL(dense_cols, dense_body, 0)
ROWS_KERNEL(dense_any, dense_rows, dense_rows, dense_cols)
T1_KERNEL(label_hessian_rows, label_hessian_body, 1)
T1_KERNEL(label_hessian_cols, label_hessian_body, 0)
SINGLE_KERNEL(label_hessian_single, label_hessian_body)
ROWS_KERNEL(label_hessian_any, label_hessian_single, label_hessian_rows, label_hessian_cols)
T1_KERNEL(dense_hessian_rows, dense_hessian_body, 1)
T1_KERNEL(dense_hessian_cols, dense_hessian_body, 0)
ROWS_KERNEL(dense_hessian_any, dense_hessian_rows, dense_hessian_rows, dense_hessian_cols)

/* Of labels alone; of probabilities as they are, at T = 1; of all that is smoothed or weighted, labels too. */
static int is_smoothed(const csm_block *b) { return b->eps_over_n != 0 || b->g; }
static void label_loss_any(const csm_block *b) { is_smoothed(b) ? dense_any(b) : label_any(b); }
static void label_loss_cols(const csm_block *b) { is_smoothed(b) ? dense_cols(b) : label_cols(b); }
static int is_weighed(const csm_block *b)
{
    return b->eps_over_n != 0 || b->one_minus_eps != 1 || b->weight || b->ignores || !csm_T_is_1(b);
}

static void soft_loss_any(const csm_block *b) { is_weighed(b) ? dense_any(b) : probability_any(b); }
static void soft_loss_cols(const csm_block *b) { is_weighed(b) ? dense_cols(b) : probability_cols(b); }
static void hessian_any(const csm_block *b) { b->g ? dense_hessian_any(b) : label_hessian_any(b); }
static void hessian_cols(const csm_block *b) { b->g ? dense_hessian_cols(b) : label_hessian_cols(b); }

const csm_table CSM_TABLE = {
    CSM_ISA, V_LANES, {
        [CSM_SOFTMAX] = {softmax_any, softmax_cols},
        [CSM_LOG_SOFTMAX] = {log_softmax_any, log_softmax_cols},
        [CSM_LOGSUMEXP] = {logsumexp_any, logsumexp_cols},
        [CSM_ENTROPY] = {entropy_any, entropy_cols},
        [CSM_SELECTIVE] = {selective_any, selective_cols},
        [CSM_LOGSUMEXP_B] = {factors_any, factors_cols},
        [CSM_CROSS_ENTROPY] = {label_loss_any, label_loss_cols},
        [CSM_SOFT_CROSS_ENTROPY] = {soft_loss_any, soft_loss_cols},
        [CSM_GRAD_HESS] = {hessian_any, hessian_cols},
        [CSM_JACOBIAN] = {jacobian_any, NULL},
        [CSM_VJP] = {vjp_any, vjp_cols},
        [CSM_LOG_VJP] = {log_vjp_any, log_vjp_cols},
        [CSM_LOG_JVP] = {log_jvp_any, log_jvp_cols},
        [CSM_KL] = {kl_rows, NULL},
    },
    cap_logits, uncap_gradient, check_labels, transpose, hide, reverse,
    CONVERSIONS
};

#endif
