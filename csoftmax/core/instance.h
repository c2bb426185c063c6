/* The kernels of one instance: every body, in both layouts, and the table that exports them.
   Includes nothing; needs turn.h, maps.h, losses.h and derivatives.h before it, and CSM_ISA and CSM_TABLE defined. */

#define EACH_WALK(body, ALONG, UNIT)                                                                    \
    do {                                                                                                \
        const temper t = temper_of(UNIT ? 1 : b->temperature);                                          \
        for (ptrdiff_t row = 0; row < b->rows; row += ALONG ? 1 : V_LANES) {                            \
            const ptrdiff_t left = b->rows - row, lanes = left < V_LANES ? left : V_LANES;              \
            const walk w = ALONG ? walk_along(b->n) : walk_across(b->n, lanes);                         \
            const elem *x = (const elem *)b->x + row * (ALONG ? b->xs : 1);                             \
            const elem *g = b->g ? (const elem *)b->g + row * (ALONG ? b->gs : 1) : NULL;               \
            elem *y = b->y ? (elem *)b->y + row * (ALONG ? b->ys : 1) : NULL;                           \
            body(b, &w, row, x, g, y, &t, UNIT);                                                        \
        }                                                                                               \
    } while (0)

#define KERNEL(name, body, ALONG)               \
    static void name(const csm_block *b)        \
    {                                           \
        if (b->temperature == 1)                \
            EACH_WALK(body, ALONG, 1);          \
        else                                    \
            EACH_WALK(body, ALONG, 0);          \
    }

/* A kernel along rows that turns those of up to `few` classes; `wide` takes the others. */
#define TURNING(name, wide, across, few)                                            \
    static void name(const csm_block *b)                                            \
    {                                                                               \
        if (V_LANES > 1 && b->n <= (few) && b->all_rows >= V_LANES)                 \
            turned(b, across);                                                      \
        else                                                                        \
            wide(b);                                                                \
    }

/* Products move twice the data for a tenth of the arithmetic: turning stops to pay sooner. */
enum { FEW_PRODUCT = 16 };

KERNEL(softmax_wide, softmax_body, 1)
KERNEL(softmax_across, softmax_body, 0)
TURNING(softmax_along, softmax_wide, softmax_across, FEW_CLASSES)
KERNEL(log_softmax_wide, log_softmax_body, 1)
KERNEL(log_softmax_across, log_softmax_body, 0)
TURNING(log_softmax_along, log_softmax_wide, log_softmax_across, FEW_CLASSES)
KERNEL(logsumexp_wide, logsumexp_body, 1)
KERNEL(logsumexp_across, logsumexp_body, 0)
TURNING(logsumexp_along, logsumexp_wide, logsumexp_across, FEW_CLASSES)
KERNEL(label_wide, label_body, 1)
KERNEL(label_across, label_body, 0)
TURNING(label_along, label_wide, label_across, FEW_CLASSES)
KERNEL(soft_wide, soft_body, 1)
KERNEL(soft_across, soft_body, 0)
TURNING(soft_along, soft_wide, soft_across, FEW_CLASSES)
KERNEL(vjp_wide, vjp_body, 1)
KERNEL(vjp_across, vjp_body, 0)
TURNING(vjp_along, vjp_wide, vjp_across, FEW_PRODUCT)
KERNEL(log_vjp_wide, log_vjp_body, 1)
KERNEL(log_vjp_across, log_vjp_body, 0)
TURNING(log_vjp_along, log_vjp_wide, log_vjp_across, FEW_PRODUCT)
KERNEL(log_jvp_wide, log_jvp_body, 1)
KERNEL(log_jvp_across, log_jvp_body, 0)
TURNING(log_jvp_along, log_jvp_wide, log_jvp_across, FEW_PRODUCT)

static void jacobian_along(const csm_block *b)
{
    const temper t = temper_of(b->temperature);
    if (b->temperature == 1)
        jacobian_rows(b, &t, 1);
    else
        jacobian_rows(b, &t, 0);
}

const csm_table CSM_TABLE = {
    CSM_ISA, V_LANES, {
        [CSM_SOFTMAX] = {softmax_along, softmax_across},
        [CSM_LOG_SOFTMAX] = {log_softmax_along, log_softmax_across},
        [CSM_LOGSUMEXP] = {logsumexp_along, logsumexp_across},
        [CSM_CROSS_ENTROPY] = {label_along, label_across},
        [CSM_SOFT_CROSS_ENTROPY] = {soft_along, soft_across},
        [CSM_JACOBIAN] = {jacobian_along, NULL},
        [CSM_VJP] = {vjp_along, vjp_across},
        [CSM_LOG_VJP] = {log_vjp_along, log_vjp_across},
        [CSM_LOG_JVP] = {log_jvp_along, log_jvp_across},
    }
};
