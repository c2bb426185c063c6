/* The classes of the largest logits of a row, and their log-probabilities.

   Logits are ordered from the largest on, equal ones by their class; NaN counts as -inf. The first k of what was read
   so far are a heap with the last of them at its root: a later class enters it where its logit is larger, which few
   are. */
#ifndef CSM_TOP_K_H
#define CSM_TOP_K_H

#include "selective.h"

CSM_INLINE real logit_of(real v) { return v == v ? v : (real)-INFINITY; }

/* Whether class i comes behind class j in the order. */
CSM_INLINE int is_behind(const elem *x, ptrdiff_t i, ptrdiff_t j)
{
    const real a = logit_of(x[i]), b = logit_of(x[j]);
    return a < b || (a == b && i > j);
}

/* Brings the class at `at` of a heap of k down to its place. */
static CSM_SHARED void sift_down(const elem *x, ptrdiff_t *heap, ptrdiff_t k, ptrdiff_t at)
{
    const ptrdiff_t moved = heap[at];
    for (ptrdiff_t child; (child = 2 * at + 1) < k; at = child) {
        if (child + 1 < k && is_behind(x, heap[child + 1], heap[child]))
            child++;
        if (!is_behind(x, heap[child], moved))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* Takes those of classes [i, end) into the heap that belong there; returns the logit at its root. */
static CSM_SHARED real take_larger(const elem *x, ptrdiff_t i, ptrdiff_t end, ptrdiff_t *heap, ptrdiff_t k, real least)
{
    for (; i < end; i++)
        if (x[i] > least) {
            heap[0] = i;
            sift_down(x, heap, k, 0);
            least = logit_of(x[heap[0]]);
        }
    return least;
}

/* The first k of n classes in the order, to `top`. */
static CSM_SHARED void select_top(const elem *x, ptrdiff_t n, ptrdiff_t *top, ptrdiff_t k)
{
    ptrdiff_t i = k;
    for (ptrdiff_t j = 0; j < k; j++)
        top[j] = j;
    for (ptrdiff_t j = k / 2; j > 0; j--)
        sift_down(x, top, k, j - 1);
    real least = logit_of(x[top[0]]);
    for (; i + 4 * V_LANES <= n; i += 4 * V_LANES) {
        vec most = v_set(least);
        EACH(u, 4) most = v_max(v_load(x + i + u * V_LANES), most);
        if (RARELY(m_any(v_lt(v_set(least), most))))
            least = take_larger(x, i, i + 4 * V_LANES, top, k, least);
    }
    take_larger(x, i, n, top, k, least);
    for (ptrdiff_t left = k - 1; left > 0; left--) {
        const ptrdiff_t last = top[0];
        top[0] = top[left];
        top[left] = last;
        sift_down(x, top, left, 0);
    }
}

CSM_INLINE void top_k_body(tile t)
{
    const csm_block *b = t.b;
    lse_terms a[TILE_VECTORS];
    lse_terms_of(t, a);
    for (ptrdiff_t r = t.row; r < t.row + t.rows; r++)
        select_top((const elem *)b->x + r * b->xs, b->n, b->label + r * b->slots, b->slots);
    store_log_probs(t, a);
}

#endif
