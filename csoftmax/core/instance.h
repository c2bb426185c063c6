/* The kernels of one instance: every body, in both layouts, and the table that exports them.
   Includes nothing; needs the rest of engine.h before it, and CSM_ISA and CSM_TABLE defined. */

/* Bytes of x, g and y that a batch along rows may take: they stay in the first-level cache between its passes. */
#define BATCH_BYTES (24 * 1024)

/* Rows of a batch. */
static ptrdiff_t batch_rows(const csm_block *b, int along)
{
    const ptrdiff_t row = b->n * (ptrdiff_t)sizeof(elem) * (1 + (b->y != NULL && b->y != b->x) + (b->g != NULL));
    if (!along || row * V_LANES <= BATCH_BYTES)
        return V_LANES;
    const ptrdiff_t fit = BATCH_BYTES / row;
    return fit < 1 ? 1 : fit;
}

/* Across, wide batches while there are so many rows; then, and along, of one vector of rows or less. t: a temperature
   for each lane, and along, where rows have their own, behind it those of each row. */
#define EACH_BATCH(body, ALONG, UNIT)                                                                   \
    do {                                                                                                \
        temper t[(ALONG) && !(UNIT) ? 1 + V_LANES : 1];                                                 \
        t[0] = UNIT ? unit_temper() : temper_of(b->temperature);                                        \
        const int widens = !(ALONG) && WIDTH > 1 && !b->temperatures;                                   \
        const ptrdiff_t most = batch_rows(b, ALONG);                                                    \
        const ptrdiff_t wide = widens ? b->rows / (WIDTH * V_LANES) * WIDTH * V_LANES : 0;              \
        vec max[WIDTH];                                                                                 \
        ptrdiff_t rows = WIDTH * V_LANES;                                                               \
        for (ptrdiff_t row = 0; row < wide; row += rows)                                                \
            body(batch_after(batch_of(b, row, rows, t, ALONG, UNIT, WIDTH), row == 0, wide, rows, max)); \
        for (ptrdiff_t row = wide; row < b->rows; row += rows) {                                        \
            rows = b->rows - row < most ? b->rows - row : most;                                         \
            if (!UNIT && b->temperatures)                                                               \
                tempers_of(t, b->temperatures + row, rows, ALONG);                                      \
            body(batch_after(batch_of(b, row, rows, t, ALONG, UNIT, 1), row == wide, b->rows, most, max)); \
        }                                                                                               \
    } while (0)

/* Without vectors T = 1 has no code of its own: it would be a twentieth of the library. */
#define KERNEL(name, body, ALONG)                                           \
    static void name(const csm_block *b)                                    \
    {                                                                       \
        if (V_LANES > 1 && csm_is_unit(b))                                  \
            EACH_BATCH(body, ALONG, 1);                                     \
        else                                                                \
            EACH_BATCH(body, ALONG, 0);                                     \
    }

/* A kernel for T = 1 alone. */
#define UNIT_KERNEL(name, body, ALONG)                      \
    static void name(const csm_block *b) { EACH_BATCH(body, ALONG, 1); }

/* A kernel for the only row of a call. */
#define LONE_KERNEL(name, body)                             \
    static void name(const csm_block *b)                    \
    {                                                       \
        const temper t = unit_temper();                     \
        vec max;                                            \
        const batch k = lone_row(b, &t, &max);              \
        max_pass(k, &max);                                  \
        body(k);                                            \
    }

/* A kernel along rows: the only one of a call is taken by `lone`, those of few classes are turned, and `wide` takes the
   others. */
#define ALONG_KERNEL(name, lone, wide, across)              \
    static void name(const csm_block *b)                    \
    {                                                       \
        if (is_lone(b))                                     \
            lone(b);                                        \
        else if (pays_to_turn(b))                           \
            turned(b, across);                              \
        else                                                \
            wide(b);                                        \
    }

KERNEL(softmax_wide, softmax_body, 1)
KERNEL(softmax_across, softmax_body, 0)
LONE_KERNEL(softmax_lone, softmax_body)
ALONG_KERNEL(softmax_along, softmax_lone, softmax_wide, softmax_across)
KERNEL(log_softmax_wide, log_softmax_body, 1)
KERNEL(log_softmax_across, log_softmax_body, 0)
LONE_KERNEL(log_softmax_lone, log_softmax_body)
ALONG_KERNEL(log_softmax_along, log_softmax_lone, log_softmax_wide, log_softmax_across)
KERNEL(logsumexp_wide, logsumexp_body, 1)
KERNEL(logsumexp_across, logsumexp_body, 0)
LONE_KERNEL(logsumexp_lone, logsumexp_body)
ALONG_KERNEL(logsumexp_along, logsumexp_lone, logsumexp_wide, logsumexp_across)
KERNEL(entropy_wide, entropy_body, 1)
KERNEL(entropy_across, entropy_body, 0)
ALONG_KERNEL(entropy_along, entropy_wide, entropy_wide, entropy_across)
KERNEL(selective_wide, selective_body, 1)
KERNEL(selective_across, selective_body, 0)
ALONG_KERNEL(selective_along, selective_wide, selective_wide, selective_across)
UNIT_KERNEL(factors_wide, factors_body, 1)
UNIT_KERNEL(factors_across, factors_body, 0)
ALONG_KERNEL(factors_along, factors_wide, factors_wide, factors_across)
KERNEL(label_wide, label_body, 1)
KERNEL(label_across, label_body, 0)
LONE_KERNEL(label_lone, label_body)
ALONG_KERNEL(label_along, label_lone, label_wide, label_across)
UNIT_KERNEL(probability_wide, probability_body, 1)
UNIT_KERNEL(probability_across, probability_body, 0)
LONE_KERNEL(probability_lone, probability_body)
ALONG_KERNEL(probability_along, probability_lone, probability_wide, probability_across)
KERNEL(dense_wide, dense_body, 1)
KERNEL(dense_across, dense_body, 0)
ALONG_KERNEL(dense_along, dense_wide, dense_wide, dense_across)
UNIT_KERNEL(label_hessian_wide, label_hessian_body, 1)
UNIT_KERNEL(label_hessian_across, label_hessian_body, 0)
LONE_KERNEL(label_hessian_lone, label_hessian_body)
ALONG_KERNEL(label_hessian_along, label_hessian_lone, label_hessian_wide, label_hessian_across)
UNIT_KERNEL(dense_hessian_wide, dense_hessian_body, 1)
UNIT_KERNEL(dense_hessian_across, dense_hessian_body, 0)
ALONG_KERNEL(dense_hessian_along, dense_hessian_wide, dense_hessian_wide, dense_hessian_across)

/* Of labels alone; of probabilities as they are, at T = 1; of all that is smoothed or weighted, labels too. */
static int is_smoothed(const csm_block *b) { return b->smooth != 0 || b->g; }
static void label_loss_along(const csm_block *b) { is_smoothed(b) ? dense_along(b) : label_along(b); }
static void label_loss_across(const csm_block *b) { is_smoothed(b) ? dense_across(b) : label_across(b); }
static int is_weighed(const csm_block *b)
{
    return b->smooth != 0 || b->keep != 1 || b->weight || b->ignores || !csm_is_unit(b);
}

static void soft_loss_along(const csm_block *b) { is_weighed(b) ? dense_along(b) : probability_along(b); }
static void soft_loss_across(const csm_block *b) { is_weighed(b) ? dense_across(b) : probability_across(b); }
static void hessian_along(const csm_block *b) { b->g ? dense_hessian_along(b) : label_hessian_along(b); }
static void hessian_across(const csm_block *b) { b->g ? dense_hessian_across(b) : label_hessian_across(b); }

const csm_table CSM_TABLE = {
    CSM_ISA, V_LANES, {
        [CSM_SOFTMAX] = {softmax_along, softmax_across},
        [CSM_LOG_SOFTMAX] = {log_softmax_along, log_softmax_across},
        [CSM_LOGSUMEXP] = {logsumexp_along, logsumexp_across},
        [CSM_ENTROPY] = {entropy_along, entropy_across},
        [CSM_SELECTIVE] = {selective_along, selective_across},
        [CSM_LOGSUMEXP_B] = {factors_along, factors_across},
        [CSM_CROSS_ENTROPY] = {label_loss_along, label_loss_across},
        [CSM_SOFT_CROSS_ENTROPY] = {soft_loss_along, soft_loss_across},
        [CSM_GRAD_HESS] = {hessian_along, hessian_across},
        [CSM_JACOBIAN] = {jacobian_along, NULL},
        [CSM_VJP] = {vjp_along, vjp_across},
        [CSM_LOG_VJP] = {log_vjp_along, log_vjp_across},
        [CSM_LOG_JVP] = {log_jvp_along, log_jvp_across},
        [CSM_KL] = {kl_along, NULL},
    },
    cap_logits, uncap_gradient, check_labels, transpose, hide, reverse,
    CONVERSIONS
};
