/* The divergence KL(P || Q) of rows of logits a and b, P = softmax(a/T) and Q = softmax(b/T), and its gradient by b.
   The letters are those of docs/derivation.md.

   With d_j = (a_j - b_j)/T less that of the two maxima, D = sum p d and t_j = D - d_j = log(q_j/p_j) + KL:

     KL = log sum p_j e^t_j = log(1 + X),  X = sum p_j phi(t_j),  phi(t) = e^t - 1 - t >= 0,  for sum p_j t_j = 0

   An error of D adds to X its square alone, and each term is right to its last bits: so is KL, however near the two.
   Where p_j is so far below q_j that e^t_j is of no use, p_j e^t_j is q_j e^KL. With R the sum of these q over that of
   the others, and X without them, KL = log(1 + X + R + X R). Where KL is above 1 it is D plus the difference of the
   logarithms of the sums, as exact as its own terms. The gradient is q_j - p_j = p_j expm1(t_j - KL).

   Each row by itself, along: b is not read for more than one row at a time. */
#ifndef CSM_KL_DIVERGENCE_H
#define CSM_KL_DIVERGENCE_H

#include "cross_entropy.h"

/* As many terms of Taylor's series of phi(s)/s^2 as show for abs(s) <= 1/4; and how often s is doubled from there. */
enum { PHI_TERMS = FRACTION_BITS > 30 ? 12 : 7, PHI_DOUBLINGS = 4 };
#define PHI_MOST 4          /* = 2^PHI_DOUBLINGS / 4 */
static const real phi_c[] = {
    1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800,
    1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0,
};

/* phi(t)/t^2 for abs(t) <= PHI_MOST: phi(2 s) = s^2 + phi(s) (2 + 2 s + phi(s)), whose terms hardly cancel. A t beyond
   counts as PHI_MOST. */
CSM_INLINE vec phi_ratio(vec t)
{
    const vec one = v_set(1), two = v_set(2), most = v_set(PHI_MOST);
    t = v_max(v_sub(v_set(0), most), v_min(most, t));
    t = v_unless(v_lt(v_abs(t), v_set(16 * TINY)), t);        /* its square may be subnormal */
    vec s = v_mul(t, v_set((real)(0.25 / PHI_MOST))), q = v_set(phi_c[PHI_TERMS - 1]);
    for (int i = PHI_TERMS - 2; i >= 0; i--)
        q = v_fma(q, s, v_set(phi_c[i]));
    for (int i = 0; i < PHI_DOUBLINGS; i++) {
        const vec phi = v_mul(v_mul(s, s), q);
        q = v_mul(v_fma(q, v_add(v_fma(two, s, two), phi), one), v_set((real)0.25));
        s = v_mul(s, two);
    }
    return q;
}

/* A row: its arrays, what is taken off its logits, and what is learnt of it, in all lanes. */
typedef struct {
    const elem *a, *b;
    ptrdiff_t n;
    const temp_consts *t;
    shift of_a, of_b;
    acc c, per_T;          /* the difference of the maxima; 1/T */
    acc A, B;              /* sums of exponentials of a and b   */
    acc D, KL;
    int is_lost;            /* q is 0 where p is not             */
} divergence;

/* A vector of it: exponentials, d where that of a is not 0, and whether b is -inf there. */
typedef struct { vec a, b, lost; acc d; } pair;

CSM_INLINE vec load_logits(const elem *x, ptrdiff_t n, ptrdiff_t i)
{
    return n - i >= V_LANES ? v_load(x + i) : v_load_n(x + i, n - i, -INFINITY);
}

/* a - b, to be multiplied by 1/T; exact but where one is lost in the other. */
CSM_INLINE acc difference(vec a, vec b, const temp_consts *t)
{
    return a_sub(a_of(v_mul(a, t->shrink)), a_of(v_mul(b, t->shrink)));
}

CSM_INLINE pair pair_at(const divergence *v, ptrdiff_t i)
{
    const vec a = load_logits(v->a, v->n, i), b = load_logits(v->b, v->n, i), none = v_set(-INFINITY);
    pair to = {v_exp(a, &v->of_a, v->t, 0), v_exp(b, &v->of_b, v->t, 0), v_set(0), a_zero()};
    const mask is_none = v_eq(b, none), is_dead = v_eq(to.a, v_set(0));
    to.lost = v_where(is_none, to.a);
    to.d = difference(v_select(is_dead, v->of_a.m, a), v_select(m_or(is_dead, is_none), v->of_b.m, b), v->t);
    to.d = a_mul(a_sub(to.d, v->c), v->per_T);
    return to;
}

CSM_INLINE void sum_pairs(divergence *v)
{
    acc A = a_zero(), B = a_zero(), D = a_zero();
    vec lost = v_set(0);
    for (ptrdiff_t i = 0; i < v->n; i += V_LANES) {
        const pair at = pair_at(v, i);
        A = a_add(A, at.a);
        B = a_add(B, at.b);
        D = a_sum(D, a_mul(a_of(at.a), at.d));
        lost = v_max(at.lost, lost);
    }
    v->A = a_hsum(A);
    v->B = a_hsum(B);
    v->D = a_div(a_hsum(D), v->A);
    v->is_lost = m_any(v_lt(v_set(0), lost));
}

/* e^t of t <= 0. */
CSM_INLINE vec exp_below(vec t)
{
    const temp_consts one = temp_consts_T1();
    const shift s = shift_of(v_set(0), v_set(0), &one, 1);
    return v_exp(v_min(v_set(0), t), &s, &one, 1);
}

/* t for what needs no more than its first bits, 0 or a normal number. */
CSM_INLINE vec about(acc t) { return v_sub(a_round(a_add(t, v_set(NEAR_TINY))), v_set(NEAR_TINY)); }

/* log(A/B), A >= B > 0, to the last bits of 1 or of itself, whichever is more. */
CSM_INLINE acc log_ratio(acc A, acc B)
{
    const vec gap = about(a_div(a_sub(A, B), B));
    const vec L = v_log1p(v_unless(v_lt(gap, v_set(NEAR_TINY)), gap));     /* the square of less may be subnormal */
    const acc rest = a_sub(a_mul(a_div(A, B), a_of(exp_below(v_sub(v_set(0), L)))), a_set(1));
    return a_add(a_of(L), v_where(v_lt(v_set(1), L), about(rest)));
}

/* The logarithm of the exponential of the largest logit, without the upscale. */
CSM_INLINE acc log_of_top(const divergence *v, vec m)
{
    const temp_consts *t = v->t;
    const vec d = v_mul(m, t->pow2), n = multiple(d, t);
    const acc rest = a_sub(a_sub(a_of(d), a_mul(a_of(n), a_of(t->hi))), a_mul(a_of(n), a_of(t->lo)));
    return a_unless(v_lt(t->near, v_abs(d)), a_mul(rest, a_sum(a_of(t->inv), a_of(t->inv_lo))));
}

/* KL as the sum of terms of which D, and the logarithm of the sums, may be larger than itself. */
CSM_INLINE acc far_divergence(const divergence *v)
{
    const int grows = m_any(v_lt(a_round(v->A), a_round(v->B)));
    const acc L = grows ? log_ratio(v->B, v->A) : log_ratio(v->A, v->B);
    const acc tops = a_sub(log_of_top(v, v->of_a.m), log_of_top(v, v->of_b.m)), sum = a_sum(v->D, tops);
    return grows ? a_sum(sum, L) : a_sub(sum, L);
}

/* w with as much as there can be of it in one vector: a square is exact without that of the rest. The rest of a w whose
   square hardly shows may be subnormal, and is left out; so is a w that is below all normal numbers. */
CSM_INLINE acc normal(acc w)
{
    const vec size = v_abs(about(a_mul(w, a_set(power_of(RANGE_BITS / 2)))));
    const vec least = v_set(real_power(2 * FRACTION_BITS + 8 - RANGE_BITS / 2));
    const vec hi = a_round(a_unless(v_eq(size, v_set(0)), w));
    return a_add(a_of(hi), a_round(a_unless(v_lt(size, least), a_sub(w, a_of(hi)))));
}

/* KL by phi; see above. What stands for e^t - 1 - t depends on where t lies: below -PHI_MOST, near, or above, where
   q stands for e^t. */
CSM_INLINE acc near_divergence(const divergence *v)
{
    const vec zero = v_set(0), one = v_set(1), most = v_set(PHI_MOST);
    acc X = a_zero(), above = a_zero(), others = a_zero();
    for (ptrdiff_t i = 0; i < v->n; i += V_LANES) {
        const pair at = pair_at(v, i);
        acc t = normal(a_sub(v->D, at.d));
        const vec rounded = about(t);
        const mask is_far = v_lt(most, v_abs(rounded)), is_above = m_or(v_lt(most, rounded), v_eq(at.a, zero));
        t = a_unless(is_far, t);
        acc phi = a_mul(a_mul(t, t), a_of(phi_ratio(rounded)));
        if (RARELY(m_any(is_far))) {
            const vec below = v_where(v_lt(rounded, zero), exp_below(rounded));
            phi = a_add(phi, v_where(is_far, v_unless(v_eq(at.a, zero), v_sub(below, v_add(one, rounded)))));
        }
        X = a_sum(X, a_mul(a_of(at.a), phi));
        above = a_add(above, v_where(is_above, at.b));
        others = a_add(others, v_unless(is_above, at.b));
    }
    X = a_div(a_hsum(X), v->A);
    const acc R = a_div(a_hsum(above), a_hsum(others)), all = a_sum(a_sum(X, R), a_mul(X, R));
    return m_any(v_lt(about(all), v_set(NEAR_TINY))) ? all : a_of(v_log1p(a_round(all)));
}

/* NaN if a row has none of its own; infinite where q is 0 and p is not, and where differences overflow. */
CSM_INLINE acc divergence_of(const divergence *v)
{
    const vec both = v_add(a_round(v->A), a_round(v->B));
    if (!m_any(v_eq(both, both)))
        return a_set(NAN);
    acc KL = far_divergence(v);
    if (!m_any(v_lt(v_set(1), about(KL))))
        KL = near_divergence(v);
    return v->is_lost || !m_any(v_eq(about(KL), about(KL))) ? a_set(INFINITY) : KL;
}

/* scale (q - p), q - p being p expm1(u) of u = log(q/p) where P and Q are near and u is small. It is computed `up`
   powers of two larger. */
CSM_INLINE void gradient_pass(const divergence *v, elem *y, acc scale, int up)
{
    const vec zero = v_set(0), one = v_set(1), most = v_set(m_any(v_le(about(v->KL), one)) ? 2 : -1);
    const acc per_a = a_div(a_mul(scale, a_set(power_of(up))), v->A);
    const acc per_b = a_div(a_mul(scale, a_set(power_of(up))), v->B);
    for (ptrdiff_t i = 0; i < v->n; i += V_LANES) {
        const pair at = pair_at(v, i);
        const acc u = a_sub(a_sub(v->D, at.d), v->KL);
        const vec rounded = about(u);
        const mask is_far = v_eq(v_where(v_le(v_abs(rounded), most), at.a), zero);
        const acc expm1 = a_mul(a_unless(is_far, u), a_of(v_fma(v_unless(is_far, rounded), phi_ratio(rounded), one)));
        acc g = a_mul(a_mul(a_of(at.a), a_add(expm1, v_where(is_far, v_set(-1)))), per_a);
        g = a_sum(g, a_mul(a_of(v_where(is_far, at.b)), per_b));
        const vec scaled = a_round(a_mul(g, a_set(power_of(RANGE_BITS - up))));
        const mask below = v_lt(v_abs(scaled), one);
        vec result = a_round(a_mul(a_unless(below, g), a_set(power_of(-up))));
        if (RARELY(m_any(below)))
            result = v_select(below, v_unscale(scaled), result);
        store_part(y + i, result, v->n - i < V_LANES ? v->n - i : V_LANES);
    }
}

CSM_INLINE void clear_row(elem *y, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i += V_LANES)
        store_part(y + i, v_set(0), n - i < V_LANES ? n - i : V_LANES);
}

CSM_INLINE vec max_of_row(const elem *x, ptrdiff_t n)
{
    vec m = v_set(-INFINITY);
    for (ptrdiff_t i = 0; i < n; i += V_LANES)
        m = v_max(load_logits(x, n, i), m);
    return v_hmax(m);
}

/* Row `row` of a block, at the temperature t. */
static CSM_SHARED void kl_row(const csm_block *b, ptrdiff_t row, const temp_consts *temp)
{
    const tile t = tile_of(b, row, 1, temp, (mode){.by_rows = 1, .width = 1});
    elem *y = b->y ? (elem *)b->y + row * b->ys : NULL;
    vec upscale;
    if (is_ignored(t, 0)) {
        if (y)
            clear_row(y, b->n);
        store_loss(t, a_zero());
        return;
    }
    const acc scale = scales_of(t, &upscale);
    divergence v = {.a = (const elem *)b->x + row * b->xs, .b = (const elem *)b->g + row * b->gs, .n = b->n, .t = temp};
    v.of_a = shift_of(max_of_row(v.a, v.n), upscale, temp, 0);
    v.of_b = shift_of(max_of_row(v.b, v.n), upscale, temp, 0);
    v.c = difference(v.of_a.m, v.of_b.m, temp);
    v.per_T = a_mul(a_of(temp->grow), a_sum(a_of(temp->inv), a_of(temp->inv_lo)));
    sum_pairs(&v);
    v.KL = divergence_of(&v);
    if (y) {
        const int is_large = m_any(v_lt(v_set(real_power(RANGE_BITS / 4)), v_abs(a_round(scale))));
        gradient_pass(&v, y, scale, is_large ? 0 : RANGE_BITS / 2);
    }
    store_loss(t, v.KL);
}

static void kl_rows(const csm_block *b)
{
    temp_consts t = temp_consts_of(b->temperature);
    for (ptrdiff_t row = 0; row < b->rows; row++) {
        if (b->temperatures)
            t = temp_consts_of(b->temperatures[row]);
        kl_row(b, row, &t);
    }
}

#endif
