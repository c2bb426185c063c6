/* Passes over the vectors of a tile: a step for each vector of each cursor. */
#ifndef CSM_PASS_H
#define CSM_PASS_H

#include "tile.h"

/* Vectors [begin, end) of a cursor. */
typedef struct { ptrdiff_t begin, end; } vector_range;

CSM_INLINE ptrdiff_t segments_of(tile t) { return (t.count + CSM_SEGMENT - 1) / CSM_SEGMENT; }

/* The vectors that the calling thread goes through in a phase: all; of a row that a team shares its segments, or none
   in another phase. */
CSM_INLINE vector_range own_range(tile t, csm_phase phase)
{
    const csm_team *team = team_of(t);
    vector_range v = {0, t.count};
    if (team && team->phase != phase)
        return (vector_range){0, 0};
    if (team) {
        v.begin = segments_of(t) * team->me / team->threads * CSM_SEGMENT;
        v.end = segments_of(t) * (team->me + 1) / team->threads * CSM_SEGMENT;
        v.end = v.end < t.count ? v.end : t.count;
    }
    return v;
}

CSM_INLINE vector_range full_range(tile t) { return (vector_range){0, t.count}; }

/* What a pass does besides; constants at each use, but for the last two. */
typedef struct {
    int keep_exp;       /* stores the exponentials where there is a y                                           */
    int split_max;      /* leaves the max out of the sum: where one logit holds nearly all of S, S - e is lost by
                           subtraction, but the sum of the others is right to the last bits                     */
    int dense;          /* every class has a coefficient c: its g, or if `weighed` what cross_entropy.h says    */
    int weighed;
    int entropy;        /* sums e (m - x)/T                                                                     */
    int factors;        /* g holds factors of the exponentials                                                  */
    int hessian;        /* there is an h                                                                        */
    int ignores;        /* gives ignored rows 0                                                                 */
    int adds;           /* adds to what is there instead of replacing it                                        */
    int values;         /* with entropy: sums e (v - c) instead, v the values of an expectation and c, the pivot, in
                           the place of m; keeps the exponentials, and takes the max for no other               */
    int any_tiny;       /* some row has a tiny log(S/e_m), which shows in its largest logit alone               */
} pass_opts;

/* What a pass does with `count` vectors of a cursor from the i-th on, which are `whole` or not. `state` is the pass's
   own. `count`, `whole` and the step are constants wherever a pass is inlined. */
typedef void vector_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o);

/* In rows: whole vectors, V_GROUP at a time while there are so many, then one by one, and the last one if it is not
   whole. In columns: the vectors of a class, whole in a full tile. */
CSM_INLINE void for_each_vector(tile t, const cursor *p, vector_range v, vector_step *step, void *state, pass_opts o)
{
    const ptrdiff_t end = v.end, full = t.full < end ? t.full : end;
    ptrdiff_t i = v.begin;
    if (t.mode.width > 1) {
        for (; i < end; i++)
            step(t, p, i, TILE_VECTORS, 1, state, o);
        return;
    }
    for (; t.mode.by_rows && !t.mode.single && i + V_GROUP <= full; i += V_GROUP)
        step(t, p, i, V_GROUP, 1, state, o);
    for (; t.mode.by_rows && i < full; i++)
        step(t, p, i, 1, 1, state, o);
    for (; i < end; i++)
        step(t, p, i, 1, 0, state, o);
}

/* The tile as its cursor r needs it: in rows, with the temperature of that row in all lanes. */
CSM_INLINE tile at_cursor(tile t, ptrdiff_t r)
{
    if (t.mode.by_rows && !t.mode.T_is_1)
        t.temp += t.b->temperatures ? 1 + r : 0;
    return t;
}

/* Fields of a structure that has vectors alone, and how many there are at most. */
#define FIELDS(type) ((int)(sizeof(type) / sizeof(vec)))
enum { MOST_FIELDS = 12 };

/* A step for the vectors of all cursors. `per_row` is one structure of `fields` vectors for each row vector, with a
   number per row in each. The step gets these; in rows, one that has the numbers of its row in all lanes. */
CSM_INLINE void for_each_cursor(tile t, vector_step *step, const void *per_row, int fields, pass_opts o)
{
    real lane[MOST_FIELDS][V_LANES];
    if (!t.mode.by_rows || t.mode.single) {
        const cursor p = cursor_of(t, 0);
        for_each_vector(t, &p, own_range(t, CSM_APPLY), step, (void *)per_row, o);
        return;
    }
    for (int f = 0; f < fields; f++)
        v_put(lane[f], ((const vec *)per_row)[f]);
    for (ptrdiff_t r = 0; r < t.rows; r++) {
        const cursor p = cursor_of(t, r);
        vec of_row[MOST_FIELDS];
        for (int f = 0; f < fields; f++)
            of_row[f] = v_set(lane[f][r]);
        for_each_vector(at_cursor(t, r), &p, own_range(t, CSM_APPLY), step, of_row, o);
    }
}

#endif
