/* The accumulator of the float64 instances: unevaluated pairs hi + lo, some 100 bits.
   Includes nothing; needs a float64 vector header and math/two_sum.h before it. */

typedef struct { vec hi, lo; } wide;

#define W_SIZE (2 * V_LANES)

CSM_INLINE wide w_get(const double *p) { wide w = {v_get(p), v_get(p + V_LANES)}; return w; }
CSM_INLINE void w_put(double *p, wide w) { v_put(p, w.hi); v_put(p + V_LANES, w.lo); }
CSM_INLINE void w_put_first(double *p, wide w) { *p = v_first(w.hi); p[V_LANES] = v_first(w.lo); }
CSM_INLINE wide w_of(vec a) { wide w = {a, v_set(0)}; return w; }
CSM_INLINE wide w_load(const double *p) { return w_of(v_get(p)); }
CSM_INLINE wide w_set(double a) { return w_of(v_set(a)); }
CSM_INLINE wide w_pair(double hi, double lo) { return (wide){v_set(hi), v_set(lo)}; }
CSM_INLINE wide w_zero(void) { return w_set(0); }

CSM_INLINE wide w_add(wide w, vec v)
{
    vec err;
    w.hi = two_sum(w.hi, v, &err);
    w.lo = v_add(w.lo, err);
    return w;
}

/* In fours with the smaller errors of exponentials by table at T = 1, else in pairs: at T = 30000 a softmax of 70
   classes was off by 3.03 of the 3 ULP allowed (docs/notes/exp.md). */
CSM_INLINE wide w_add_four(wide w, vec a, vec b, vec c, vec d, int unit)
{
    const vec ab = v_add(a, b), cd = v_add(c, d);
    return V_TABLE > 1 && unit ? w_add(w, v_add(ab, cd)) : w_add(w_add(w, ab), cd);
}

CSM_INLINE wide w_add_product(wide w, vec a, vec b)
{
    vec p = v_mul(a, b);
    w = w_add(w, p);
    w.lo = v_add(w.lo, v_mul_err(a, b, p));
    return w;
}

CSM_INLINE wide w_sum(wide a, wide b)
{
    a = w_add(a, b.hi);
    a.lo = v_add(a.lo, b.lo);
    return a;
}

CSM_INLINE wide w_sub(wide a, wide b)
{
    a = w_add(a, v_sub(v_set(0), b.hi));
    a.lo = v_sub(a.lo, b.lo);
    return a;
}

CSM_INLINE wide w_mul(wide a, wide b)
{
    vec p = v_mul(a.hi, b.hi);
    wide w = {p, v_add(v_mul_err(a.hi, b.hi, p), v_fma(a.hi, b.lo, v_mul(a.lo, b.hi)))};
    return w;
}

/* An infinite or NaN quotient, or one next to overflow, keeps no low part: inf - inf would spoil it. */
CSM_INLINE wide w_div(wide a, wide b)
{
    vec q = v_div(v_add(a.hi, a.lo), v_add(b.hi, b.lo)), p = v_mul(q, b.hi);
    vec rest = v_sub(v_sub(a.hi, p), v_mul_err(q, b.hi, p));
    rest = v_add(rest, v_fnma(q, b.lo, a.lo));
    wide w = {q, v_keep(v_lt(v_abs(q), v_set(0x1p990)), v_div(rest, b.hi))};
    return w;
}

/* An infinite sum has no low part: its error term is NaN. */
CSM_INLINE vec w_round(wide w) { return v_add(w.hi, v_keep(v_lt(v_abs(w.hi), v_set(INFINITY)), w.lo)); }

CSM_INLINE void w_store(double *p, wide w) { v_put(p, w_round(w)); }
CSM_INLINE wide w_drop(mask m, wide w) { return (wide){v_drop(m, w.hi), v_drop(m, w.lo)}; }

CSM_INLINE wide w_clamp(wide w, double most)
{
    const vec hi = v_max(v_set(-most), v_min(v_set(most), w.hi));
    return (wide){hi, v_keep(v_eq(hi, w.hi), w.lo)};
}

/* 0 where the quotient is below 2^-1080, and no number of this type. */
CSM_INLINE wide w_ratio(wide w, vec a)
{
    const vec v = w_round(w), down = v_set(0x1p-540), up = v_set(0x1p540);
    return w_of(v_div(v_drop(v_lt(v_mul(v, up), v_mul(a, down)), v), a));
}

CSM_INLINE void w_split(wide w, vec *hi, vec *lo)
{
    *hi = two_sum(w.hi, w.lo, lo);
}

CSM_INLINE wide w_hsum(wide w)
{
    for (int i = 0; i < V_FOLDS; i++) {
        wide other = {v_fold(w.hi, i), v_fold(w.lo, i)};
        w = w_sum(w, other);
    }
    return w;
}
