/* The kernels of one instance, and the table that exports them: a line for each algorithm, a column for each regime. */
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
#include "top_k.h"
#include "transpose.h"
#include "transpose_matrix.h"

/* What an operation computes of a tile. A constant wherever it is given. */
typedef void tile_body(tile t);

/* In columns, full tiles while there are so many rows; then, and in rows, tiles of one row vector or less. `temp` has
   room for the temperature of all; in rows, where T is not 1, and behind it for that of each row of a tile. */
CSM_INLINE void for_each_tile(const csm_block *b, tile_body *body, temp_consts *temp, int by_rows, int T_is_1)
{
    temp[0] = T_is_1 ? temp_consts_T1() : temp_consts_of(b->temperature);
    const mode several = {by_rows, T_is_1, TILE_VECTORS, 0}, one = {by_rows, T_is_1, 1, 0};
    const int widens = !by_rows && TILE_VECTORS > 1 && !b->temperatures;
    const ptrdiff_t most = by_rows ? b->policy.tile_rows : V_LANES, many = TILE_VECTORS * V_LANES;
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

/* Without vectors T = 1 has no code of its own: it would be a twentieth of the library. A frame has no more than its
   kernel needs, for threads with a small stack. */
#define KERNEL(name, body, BY_ROWS)                             \
    static void name(const csm_block *b)                        \
    {                                                           \
        if (V_LANES > 1 && csm_T_is_1(b)) {                     \
            temp_consts one[1];                                 \
            for_each_tile(b, body, one, BY_ROWS, 1);            \
        } else {                                                \
            temp_consts temp[(BY_ROWS) ? 1 + V_LANES : 1];      \
            for_each_tile(b, body, temp, BY_ROWS, 0);           \
        }                                                       \
    }

#define T1_KERNEL(name, body, BY_ROWS)              \
    static void name(const csm_block *b)            \
    {                                               \
        temp_consts one[1];                         \
        for_each_tile(b, body, one, BY_ROWS, 1);    \
    }

/* A kernel for rows of few classes, which are transposed for that of the columns layout. */
#define TILE_KERNEL(name, cols) \
    static void name(const csm_block *b) { run_transposed(b, cols); }

/* The kernels of a body: in rows, in columns, and transposed; for any T, or for T = 1 alone. */
#define KERNELS(rows, cols, tile, body) KERNEL(rows, body, 1) KERNEL(cols, body, 0) TILE_KERNEL(tile, cols)
#define T1_KERNELS(rows, cols, tile, body) T1_KERNEL(rows, body, 1) T1_KERNEL(cols, body, 0) TILE_KERNEL(tile, cols)

/* A kernel for the only row of a call. */
#define SINGLE_KERNEL(name, body)                   \
    static void name(const csm_block *b)            \
    {                                               \
        const temp_consts temp = temp_consts_T1();  \
        vec max;                                    \
        const tile t = single_row(b, &temp, &max);  \
        max_pass(t, &max);                          \
        body(t);                                    \
    }

KERNELS(softmax_rows, softmax_cols, softmax_tile, softmax_body)
KERNELS(log_softmax_rows, log_softmax_cols, log_softmax_tile, log_softmax_body)
KERNELS(logsumexp_rows, logsumexp_cols, logsumexp_tile, logsumexp_body)
KERNELS(entropy_rows, entropy_cols, entropy_tile, entropy_body)
KERNELS(selective_rows, selective_cols, selective_tile, selective_body)
KERNEL(top_k_rows, top_k_body, 1)
T1_KERNELS(factors_rows, factors_cols, factors_tile, factors_body)
KERNELS(label_rows, label_cols, label_tile, label_body)
T1_KERNELS(probability_rows, probability_cols, probability_tile, probability_body)
KERNELS(dense_rows, dense_cols, dense_tile, dense_body)
T1_KERNELS(label_hessian_rows, label_hessian_cols, label_hessian_tile, label_hessian_body)
T1_KERNELS(dense_hessian_rows, dense_hessian_cols, dense_hessian_tile, dense_hessian_body)
TILE_KERNEL(vjp_tile, vjp_cols)
TILE_KERNEL(log_vjp_tile, log_vjp_cols)
TILE_KERNEL(log_jvp_tile, log_jvp_cols)
SINGLE_KERNEL(softmax_single, softmax_body)
SINGLE_KERNEL(log_softmax_single, log_softmax_body)
SINGLE_KERNEL(logsumexp_single, logsumexp_body)
SINGLE_KERNEL(label_single, label_body)
SINGLE_KERNEL(probability_single, probability_body)
SINGLE_KERNEL(label_hessian_single, label_hessian_body)

/* Without vectors rows are computed by themselves. */
#define V(kernel) (V_LANES > 1 ? (kernel) : NULL)

const csm_table CSM_TABLE = {
    CSM_ISA, sizeof(elem), {V_LANES, TILE_ROWS, MORE_CLASSES, PACKED_PRODUCT, FEW_PRODUCT}, {
        [CSM_SOFTMAX] = {softmax_rows, softmax_cols, V(softmax_single), V(softmax_tile)},
        [CSM_LOG_SOFTMAX] = {log_softmax_rows, log_softmax_cols, V(log_softmax_single), V(log_softmax_tile)},
        [CSM_LOGSUMEXP] = {logsumexp_rows, logsumexp_cols, V(logsumexp_single), V(logsumexp_tile)},
        [CSM_ENTROPY] = {entropy_rows, entropy_cols, NULL, V(entropy_tile)},
        [CSM_SELECTIVE] = {selective_rows, selective_cols, NULL, V(selective_tile)},
        [CSM_LOGSUMEXP_B] = {factors_rows, factors_cols, NULL, V(factors_tile)},
        [CSM_CROSS_ENTROPY] = {label_rows, label_cols, V(label_single), V(label_tile)},
        [CSM_SOFT_CROSS_ENTROPY] = {probability_rows, probability_cols, V(probability_single), V(probability_tile)},
        [CSM_DENSE_CROSS_ENTROPY] = {dense_rows, dense_cols, NULL, V(dense_tile)},
        [CSM_GRAD_HESS] = {label_hessian_rows, label_hessian_cols, V(label_hessian_single), V(label_hessian_tile)},
        [CSM_DENSE_GRAD_HESS] = {dense_hessian_rows, dense_hessian_cols, NULL, V(dense_hessian_tile)},
        [CSM_JACOBIAN] = {jacobian_rows, NULL, NULL, V(jacobian_tile)},
        [CSM_VJP] = {vjp_rows, vjp_cols, NULL, V(vjp_tile), V(vjp_short)},
        [CSM_LOG_VJP] = {log_vjp_rows, log_vjp_cols, NULL, V(log_vjp_tile), V(log_vjp_short)},
        [CSM_LOG_JVP] = {log_jvp_rows, log_jvp_cols, NULL, V(log_jvp_tile), V(log_jvp_short)},
        [CSM_KL] = {kl_rows},
        [CSM_EXPECTATION] = {entropy_rows, entropy_cols, NULL, V(entropy_tile)},
        [CSM_TOP_K] = {top_k_rows},
    },
    cap_logits, uncap_gradient, check_labels, transpose, hide, reverse,
    CONVERSIONS
};

#endif
