/* The sums that the exponential pass makes of each row, and how threads that share a row exchange those of its
   segments. */
#ifndef CSM_ROW_SUMS_H
#define CSM_ROW_SUMS_H

#include "pass.h"
#include "reduce_lanes.h"

/* Sums over each row. */
typedef struct {
    acc sum_below_max;      /* exponentials of the logits below the max; of all of them without split_max;
                               factors: abs(g)                                                      */
    vec count, exp_max;     /* split_max: how many logits are the max; in columns, the exponential of it */
    acc sum_c_gap;          /* dense: sum of c (m - x)/T;  entropy: sum of e (m - x)/T;  values: of e (v - c);
                               factors: sum of e g                                                  */
    acc sum_c;              /* dense: sum of c                                                          */
} sums;

CSM_INLINE sums sums_of_nothing(void) { return (sums){a_zero(), v_set(0), v_set(0), a_zero(), a_zero()}; }

CSM_INLINE sums sums_together(const sums *a, const sums *b)
{
    sums s = {a_sum(a->sum_below_max, b->sum_below_max), v_add(a->count, b->count), a->exp_max,
              a_sum(a->sum_c_gap, b->sum_c_gap), a_sum(a->sum_c, b->sum_c)};
    return s;
}

_Static_assert(3 * ACC_SIZE + V_LANES <= CSM_EXCHANGE, "the sums of a part fit their place");

/* The sums of the segments of a row that a team shares: each thread gives those of its own, and later adds all of them
   in order. */
CSM_INLINE double *exchange_of_segment(const csm_team *team, ptrdiff_t part)
{
    return team->exchange + (team->threads + part) * CSM_EXCHANGE;
}

CSM_INLINE void give_segment(tile t, ptrdiff_t part, const sums *s)
{
    double *to = exchange_of_segment(t.b->team, part);
    real count[V_LANES];
    a_put(to, s->sum_below_max);
    a_put(to + ACC_SIZE, s->sum_c_gap);
    a_put(to + 2 * ACC_SIZE, s->sum_c);
    v_put(count, s->count);
    for (int i = 0; i < V_LANES; i++)
        to[3 * ACC_SIZE + i] = count[i];
}

CSM_INLINE sums team_sums(tile t)
{
    sums all = sums_of_nothing();
    for (ptrdiff_t part = 0; is_past(t, CSM_ADD_EXP) && part < segments_of(t); part++) {
        const double *from = exchange_of_segment(t.b->team, part);
        real count[V_LANES];
        for (int i = 0; i < V_LANES; i++)
            count[i] = (real)from[3 * ACC_SIZE + i];
        const sums s = {a_get(from), v_get(count), v_set(0), a_get(from + ACC_SIZE), a_get(from + 2 * ACC_SIZE)};
        all = part ? sums_together(&all, &s) : s;
    }
    return all;
}

/* The sums of a row in the rows layout, in all lanes. */
CSM_INLINE sums over_lanes(sums s, pass_opts o)
{
    s.sum_below_max = a_hsum(s.sum_below_max);
    if (o.split_max)
        s.count = v_hsum(s.count);
    if (o.dense || o.entropy || o.factors)
        s.sum_c_gap = a_hsum(s.sum_c_gap);
    if (o.dense)
        s.sum_c = a_hsum(s.sum_c);
    return s;
}

#endif
