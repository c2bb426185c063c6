/* The log-probabilities of chosen classes. */
#ifndef CSM_SELECTIVE_H
#define CSM_SELECTIVE_H

#include "softmax.h"
#include "targets.h"

/* r = log p of each label, 0 where there is none. */
CSM_INLINE void store_log_probs(tile t, const lse_terms *a)
{
    const csm_block *b = t.b;
    vec L[TILE_VECTORS];
    target_logit l[TILE_VECTORS];
    EACH_ROW_VECTOR(u, t) L[u] = v_log1p(a[u].rest_ratio);
    for (ptrdiff_t slot = 0; slot < b->slots; slot++) {
        gather_slot(t, slot, l);
        EACH_ROW_VECTOR(u, t) {
            const tile part = row_vector_of(t, u);
            real lane[V_LANES];
            vec v = v_sub(scaled_diff(l[u].logit, a[u].m, t.temp, t.mode.T_is_1), L[u]);
            if (RARELY(a[u].any_tiny))
                v = a_result(a_sub(a_of(v), a[u].tiny));
            v_put(lane, v);
            for (ptrdiff_t i = 0; i < part.rows && leads(t); i++) {
                const ptrdiff_t at = (part.row + i) * b->slots + slot;
                ((real *)b->r)[at] = b->label[at] < 0 ? 0 : lane[i];
            }
        }
    }
}

CSM_INLINE void selective_body(tile t)
{
    lse_terms a[TILE_VECTORS];
    lse_terms_of(t, a);
    store_log_probs(t, a);
}

#endif
