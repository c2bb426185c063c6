/* The largest logits of the rows of a tile, and of the next tile; and the shift that exponentials subtract for them. */
#ifndef CSM_MAX_H
#define CSM_MAX_H

#include "../math/exp.h"
#include "pass.h"
#include "per_row.h"
#include "reduce_lanes.h"

/* Logits; -inf, whatever they are, where they have factors and that is 0. */
CSM_INLINE vec logits_at(tile t, const cursor *p, ptrdiff_t i, int u, int whole, pass_opts o)
{
    const vec x = load_at(t, p->x, i, u, p->xs, whole, -INFINITY);
    return o.factors ? v_select(v_eq(load_at(t, p->g, i, u, p->gs, whole, 0), v_set(0)), v_set(-INFINITY), x) : x;
}

CSM_INLINE void max_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    vec *const m = state;
    EACH(u, count) m[u] = v_max(logits_at(t, p, i, u, whole, o), m[u]);
}

/* The largest of what the threads of a team have found, in all lanes. */
CSM_INLINE vec team_max(tile t, vec m)
{
    const csm_team *team = team_of(t);
    if (team && team->phase == CSM_FIND_MAX)
        team->exchange[team->me * CSM_EXCHANGE] = v_first(m);
    for (int i = 0; is_past(t, CSM_FIND_MAX) && i < team->threads; i++)
        m = v_max(v_set((real)team->exchange[i * CSM_EXCHANGE]), m);
    return m;
}

CSM_INLINE void max_in(tile t, vec *max, pass_opts o)
{
    const vec none = v_set(-INFINITY);
    real each[V_LANES] = {0};
    for (ptrdiff_t r = 0; r < cursor_count(t); r++) {
        if (skips_row(t, r))
            continue;
        const cursor p = cursor_of(t, r);
        vec m[4] = {none, none, none, none};
        for_each_vector(t, &p, own_range(t, CSM_FIND_MAX), max_step, m, o);
        if (t.mode.by_rows)
            m[0] = team_max(t, v_hmax(v_max(v_max(m[0], m[1]), v_max(m[2], m[3]))));
        EACH(u, t.mode.width) max[u] = m[u];
        each[r] = v_first(m[0]);
    }
    if (t.mode.by_rows)
        max[0] = get_rows(t, each);
}

/* The largest logits, NaN passed over; -inf of an empty row. There is one function for each layout: inlined wherever it
   is used it would be 40 KB of the library. These functions get the fields of a tile and not the tile, which gcc copies
   by wide loads that cannot be forwarded from the narrower stores before them: log_softmax of 3 classes would take 1.5
   times as long. */
#define MAX_PASS(name, BY_ROWS, VECTORS, FACTORED)                                              \
    static CSM_SHARED void name(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, vec *max)    \
    {                                                                                           \
        const mode m = {.by_rows = BY_ROWS, .width = VECTORS};                                      \
        max_in(tile_of(b, row, rows, NULL, m), max, (pass_opts){.factors = FACTORED});              \
    }

MAX_PASS(max_rows, 1, 1, 0)
MAX_PASS(max_cols, 0, 1, 0)
MAX_PASS(max_full_cols, 0, TILE_VECTORS, 0)
MAX_PASS(max_factors_rows, 1, 1, 1)
MAX_PASS(max_factors_cols, 0, 1, 1)
MAX_PASS(max_factors_full_cols, 0, TILE_VECTORS, 1)

CSM_INLINE void max_pass(tile t, vec *max)
{
    if (t.mode.single)
        max_in(t, max, (pass_opts){0});
    else if (t.b->factors)
        (t.mode.by_rows ? max_factors_rows : t.mode.width > 1 ? max_factors_full_cols : max_factors_cols)
            (t.b, t.row, t.rows, max);
    else
        (t.mode.by_rows ? max_rows : t.mode.width > 1 ? max_full_cols : max_cols)(t.b, t.row, t.rows, max);
}

/* A tile of those that go up to row `end`, `most` rows each, with its largest logits. In rows, if the arrays are in a
   cache, the tile before it has left those of all tiles but the first in `max`. */
CSM_INLINE tile next_tile(tile t, int first, ptrdiff_t end, ptrdiff_t most, vec *max)
{
    const ptrdiff_t left = end - t.row - t.rows;
    if (first || !t.arrays_fit_llc)
        max_pass(t, max);
    t.max = max;
    t.next = !t.arrays_fit_llc ? 0 : left < most ? left : most;
    return t;
}

/* Software pipelining: the largest logits of the next tile are found while the sums and quotients of this one are in
   flight (docs/notes/tiles.md). */
CSM_INLINE void find_next_max(tile t)
{
    if (t.next > 0)
        max_pass(tile_of(t.b, t.row + t.rows, t.next, t.temp, t.mode), t.max);
}

/* The shifts of the rows. */
CSM_INLINE void shift_rows(tile t, shift *s)
{
    EACH_ROW_VECTOR(u, t) s[u] = shift_of(t.max[u], v_set(EXP_UPSCALE), t.temp, t.mode.T_is_1);
}

CSM_INLINE void nan_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    vec *const found = state;
    (void)o;
    EACH(u, count) {
        vec v = load_at(t, p->x, i, u, p->xs, whole, 0);
        *found = v_select(v_eq(v, v), *found, v_set(1));
    }
}

/* Whether a row holds a NaN: 1, else 0. For rows whose max is infinite, which are rare. The tile is one row vector. */
CSM_INLINE vec nan_pass(tile t)
{
    real each[V_LANES] = {0};
    for (ptrdiff_t r = 0; r < cursor_count(t); r++) {
        const cursor p = cursor_of(t, r);
        vec found = v_set(0);
        for_each_vector(t, &p, full_range(t), nan_step, &found, (pass_opts){0});
        if (!t.mode.by_rows)
            return found;
        each[r] = v_first(v_hmax(found));
    }
    return v_get(each);
}

#endif
