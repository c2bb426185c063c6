/* The accumulator of the float64 instances: unevaluated pairs hi + lo, some 100 bits. */
#ifndef CSM_ACC_F64_H
#define CSM_ACC_F64_H

#ifndef CSM_ISA
#define CSM_ALONE_F64      /* which vectors vec.h stands in with */
#endif
#include "../vec/vec.h"
#include "two_sum.h"

typedef struct { vec hi, lo; } acc;

#define ACC_SIZE (2 * V_LANES)

CSM_INLINE acc a_get(const double *p) { acc w = {v_get(p), v_get(p + V_LANES)}; return w; }
CSM_INLINE void a_put(double *p, acc w) { v_put(p, w.hi); v_put(p + V_LANES, w.lo); }
CSM_INLINE void a_put_first(double *p, acc w) { *p = v_first(w.hi); p[V_LANES] = v_first(w.lo); }
CSM_INLINE acc a_of(vec a) { acc w = {a, v_set(0)}; return w; }
CSM_INLINE acc a_load(const double *p) { return a_of(v_get(p)); }
CSM_INLINE acc a_set(double a) { return a_of(v_set(a)); }
CSM_INLINE acc a_pair(double hi, double lo) { return (acc){v_set(hi), v_set(lo)}; }
CSM_INLINE acc a_zero(void) { return a_set(0); }

CSM_INLINE acc a_add(acc w, vec v)
{
    vec err;
    w.hi = two_sum(w.hi, v, &err);
    w.lo = v_add(w.lo, err);
    return w;
}

/* In fours with the smaller errors of exponentials by table at T = 1, else in pairs: at T = 30000 a softmax of 70
   classes was off by 3.03 of the 3 ULP allowed (docs/notes/exp.md). One by one where products inside sums are rounded:
   in pairs a softmax of 57 classes was off by 3.004 (docs/notes/vec128.md). */
CSM_INLINE acc a_add_four(acc w, vec a, vec b, vec c, vec d, int T_is_1)
{
    if (!V_FUSED)
        return a_add(a_add(a_add(a_add(w, a), b), c), d);
    const vec ab = v_add(a, b), cd = v_add(c, d);
    return V_TABLE > 1 && T_is_1 ? a_add(w, v_add(ab, cd)) : a_add(a_add(w, ab), cd);
}

CSM_INLINE acc a_add_product(acc w, vec a, vec b)
{
    vec p = v_mul(a, b);
    w = a_add(w, p);
    w.lo = v_add(w.lo, v_mul_err(a, b, p));
    return w;
}

CSM_INLINE acc a_sum(acc a, acc b)
{
    a = a_add(a, b.hi);
    a.lo = v_add(a.lo, b.lo);
    return a;
}

CSM_INLINE acc a_sub(acc a, acc b)
{
    a = a_add(a, v_sub(v_set(0), b.hi));
    a.lo = v_sub(a.lo, b.lo);
    return a;
}

CSM_INLINE acc a_mul(acc a, acc b)
{
    vec p = v_mul(a.hi, b.hi);
    acc w = {p, v_add(v_mul_err(a.hi, b.hi, p), v_fma(a.hi, b.lo, v_mul(a.lo, b.hi)))};
    return w;
}

/* An infinite or NaN quotient, or one next to overflow, keeps no low part: inf - inf would spoil it. */
CSM_INLINE acc a_div(acc a, acc b)
{
    vec q = v_div(v_add(a.hi, a.lo), v_add(b.hi, b.lo)), p = v_mul(q, b.hi);
    vec rest = v_sub(v_sub(a.hi, p), v_mul_err(q, b.hi, p));
    rest = v_add(rest, v_fnma(q, b.lo, a.lo));
    acc w = {q, v_where(v_lt(v_abs(q), v_set(0x1p990)), v_div(rest, b.hi))};
    return w;
}

/* An infinite sum has no low part: its error term is NaN. */
CSM_INLINE vec a_round(acc w) { return v_add(w.hi, v_where(v_lt(v_abs(w.hi), v_set(INFINITY)), w.lo)); }

CSM_INLINE void a_store(double *p, acc w) { v_put(p, a_round(w)); }
CSM_INLINE acc a_unless(mask m, acc w) { return (acc){v_unless(m, w.hi), v_unless(m, w.lo)}; }

CSM_INLINE acc a_clamp(acc w, double most)
{
    const vec hi = v_max(v_set(-most), v_min(v_set(most), w.hi));
    return (acc){hi, v_where(v_eq(hi, w.hi), w.lo)};
}

/* 0 where the quotient is below 2^-1080, and no number of this type. */
CSM_INLINE acc a_ratio(acc w, vec a)
{
    const vec v = a_round(w), down = v_set(0x1p-540), up = v_set(0x1p540);
    return a_of(v_div(v_unless(v_lt(v_mul(v, up), v_mul(a, down)), v), a));
}

CSM_INLINE void a_split(acc w, vec *hi, vec *lo)
{
    *hi = two_sum(w.hi, w.lo, lo);
}

CSM_INLINE acc a_hsum(acc w)
{
    for (int i = 0; i < V_LOG2_LANES; i++) {
        acc other = {v_swap_lanes(w.hi, i), v_swap_lanes(w.lo, i)};
        w = a_sum(w, other);
    }
    return w;
}

#endif
