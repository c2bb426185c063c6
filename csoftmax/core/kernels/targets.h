/* The logits of the targets of a tile, one label slot at a time, and what is written at their classes. */
#ifndef CSM_TARGETS_H
#define CSM_TARGETS_H

#include "pass.h"
#include "per_row.h"

/* Where in an array row i of a tile has the class j. */
CSM_INLINE ptrdiff_t element_offset(tile t, ptrdiff_t i, ptrdiff_t j, ptrdiff_t stride)
{
    return t.mode.by_rows ? (t.row + i) * stride + j : j * stride + t.row + i;
}

CSM_INLINE int compares(tile t) { return !t.mode.by_rows && t.b->policy.compare_labels; }

/* What the labels in one slot of the rows bring: their logits, and what is added to c at them, 0 without a label. */
typedef struct { vec label, logit, coefficient; } target_logit;

/* Those of one row vector, without the logits. */
CSM_INLINE target_logit label_of(tile t, ptrdiff_t slot)
{
    const csm_block *b = t.b;
    const vec zero = v_set(0), label = labels_in(t, slot);
    real coefficient[V_LANES] = {0};
    if (!b->coefficient)
        return (target_logit){label, zero, v_where(v_le(zero, label), v_set(1))};
    if (b->slots == 1)
        return (target_logit){label, zero, load_per_row(t, b->coefficient)};
    for (ptrdiff_t i = 0; i < t.rows; i++)
        coefficient[i] = ((const real *)b->coefficient)[(t.row + i) * b->slots + slot];
    return (target_logit){label, zero, get_rows(t, coefficient)};
}

CSM_INLINE void gather_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    target_logit *const l = state;
    (void)o;
    const vec class = v_set((real)i);
    EACH(u, count)
        l[u].logit = v_select(v_eq(l[u].label, class), load_at(t, p->x, i, u, p->xs, whole, 0), l[u].logit);
}

CSM_INLINE void gather_targets_in(tile t, ptrdiff_t slot, target_logit *l)
{
    const csm_block *b = t.b;
    EACH_ROW_VECTOR(u, t) l[u] = label_of(row_vector_of(t, u), slot);
    if (compares(t)) {
        const cursor p = cursor_of(t, 0);
        for_each_vector(t, &p, full_range(t), gather_step, l, (pass_opts){0});
        return;
    }
    EACH_ROW_VECTOR(u, t) {
        const tile part = row_vector_of(t, u);
        real logit[V_LANES] = {0};
        for (ptrdiff_t i = 0; i < part.rows; i++) {
            const ptrdiff_t at = b->label[(part.row + i) * b->slots + slot];
            logit[i] = at < 0 ? 0 : ((const elem *)b->x)[element_offset(part, i, at, b->xs)];
        }
        l[u].logit = get_rows(part, logit);
    }
}

static CSM_SHARED void gather_targets(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, int by_rows, ptrdiff_t slot,
                                   target_logit *l)
{
    gather_targets_in(tile_of(b, row, rows, NULL, (mode){.by_rows = by_rows, .width = 1}), slot, l);
}

static CSM_SHARED void gather_targets_full_cols(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t slot,
                                                target_logit *l)
{
    gather_targets_in(tile_of(b, row, rows, NULL, (mode){.width = TILE_VECTORS}), slot, l);
}

CSM_INLINE void gather_slot(tile t, ptrdiff_t slot, target_logit *l)
{
    if (t.mode.single)
        gather_targets_in(t, slot, l);
    else if (t.mode.width > 1)
        gather_targets_full_cols(t.b, t.row, t.rows, slot, l);
    else
        gather_targets(t.b, t.row, t.rows, t.mode.by_rows, slot, l);
}

/* What is found of the logits of labels, which the exponentials may replace, as y may be x: in a row that a team shares
   it is kept for the phases after that. */
CSM_INLINE void carry(tile t, void *found, size_t size)
{
    const csm_team *team = team_of(t);
    if (!team)
        return;
    double *const kept = team->exchange + team->me * CSM_EXCHANGE + 1;      /* behind its max */
    if (is_past(t, CSM_GATHER_LABELS))
        memcpy(found, kept, size);
    else
        memcpy(kept, found, size);
}

/* What an array gets at the labels of a slot. */
typedef struct { vec label, v; } scatter_value;

CSM_INLINE void scatter_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const scatter_value *const to = state;
    const vec class = v_set((real)i);
    EACH(u, count) {
        vec old = load_at(t, p->y, i, u, p->ys, whole, 0), v = o.adds ? v_add(old, to[u].v) : to[u].v;
        store_at(t, p->y, i, u, p->ys, whole, v_select(v_eq(to[u].label, class), v, old));
    }
}

/* Replacing what is there, or added to it. */
CSM_INLINE void scatter_targets(tile t, ptrdiff_t slot, elem *y, ptrdiff_t ys, const scatter_value *to, pass_opts o)
{
    const csm_block *b = t.b;
    if (compares(t)) {
        const cursor p = {.y = y + t.row, .ys = ys};
        for_each_vector(t, &p, full_range(t), scatter_step, (void *)to, o);
        return;
    }
    EACH_ROW_VECTOR(u, t) {
        const tile part = row_vector_of(t, u);
        real v[V_LANES];
        v_put(v, to[u].v);
        for (ptrdiff_t i = 0; i < part.rows; i++) {
            const ptrdiff_t at = b->label[(part.row + i) * b->slots + slot];
            if (at >= 0 && leads(t)) {
                elem *p = y + element_offset(part, i, at, ys);
                *p = v[i] + (o.adds ? *p : 0);
            }
        }
    }
}

#endif
