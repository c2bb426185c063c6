/* Numbers that a tile has one of per row: reading them into lanes, and writing results. */
#ifndef CSM_PER_ROW_H
#define CSM_PER_ROW_H

#include "tile.h"

/* A number for each row; of one row in all lanes: a vector waits until a single number in it has reached the cache. */
CSM_INLINE vec get_rows(tile t, const real *lane) { return t.rows == 1 ? v_set(lane[0]) : v_get(lane); }

/* An ignored row takes no part in a loss; passes in rows skip it. */
CSM_INLINE int is_ignored(tile t, ptrdiff_t row)
{
    return t.b->ignores && t.b->ignored[(t.row + row) * t.b->slots] < 0;
}

/* Numbers of the rows of which there are `slots` each, those in one slot, rounded. */
CSM_INLINE vec ints_in(tile t, const ptrdiff_t *a, ptrdiff_t slot)
{
    const ptrdiff_t slots = t.b->slots;
    real number[V_LANES] = {0};
    if (t.rows == V_LANES && slots == 1)
        return v_of_ints(a + t.row);
    for (ptrdiff_t i = 0; i < t.rows; i++)
        number[i] = (real)a[(t.row + i) * slots + slot];
    return get_rows(t, number);
}

/* The labels in a slot: only those of few classes are compared, of others the sign counts. */
CSM_INLINE vec labels_in(tile t, ptrdiff_t slot) { return ints_in(t, t.b->label, slot); }

/* 1 for a row that takes part, else 0. */
CSM_INLINE vec valid_rows(tile t)
{
    return t.b->ignores ? v_where(v_le(v_set(0), ints_in(t, t.b->ignored, 0)), v_set(1)) : v_set(1);
}

CSM_INLINE int skips_row(tile t, ptrdiff_t i) { return t.mode.by_rows && is_ignored(t, i); }

/* One number per row, into r, as doubles. */
CSM_INLINE void store_sum(tile t, acc r)
{
    double lane[V_LANES], *to = (double *)t.b->r + t.row;
    if (!leads(t))
        return;
    if (t.rows == V_LANES) {
        a_store(to, r);
        return;
    }
    a_store(lane, r);
    for (ptrdiff_t i = 0; i < t.rows; i++)
        to[i] = lane[i];
}

/* One number per row, into r. */
CSM_INLINE void store_result(tile t, vec r)
{
    real lane[V_LANES], *to = (real *)t.b->r + t.row;
    if (!leads(t))
        return;
    if (t.rows == V_LANES) {
        v_put(to, r);
        return;
    }
    v_put(lane, r);
    for (ptrdiff_t i = 0; i < t.rows; i++)
        to[i] = lane[i];
}

/* One number per row; lanes past the last row repeat row 0. */
CSM_INLINE vec load_per_row(tile t, const real *a)
{
    real lane[V_LANES];
    a += t.row;
    if (t.rows == V_LANES)
        return v_get(a);
    if (t.rows == 1)
        return v_set(*a);
    for (ptrdiff_t i = 0; i < V_LANES; i++)
        lane[i] = a[i < t.rows ? i : 0];
    return v_get(lane);
}

CSM_INLINE acc load_per_row_acc(tile t, const double *a)
{
    double lane[ACC_SIZE];
    a += t.row;
    if (t.rows == V_LANES)
        return a_load(a);
    if (t.rows == 1)
        return a_set(*a);
    for (ptrdiff_t i = 0; i < V_LANES; i++)
        lane[i] = a[i < t.rows ? i : 0];
    return a_load(lane);
}

#endif
