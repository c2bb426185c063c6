/* Cross-entropy and its gradient, of labels or of target probabilities t. The letters are those of docs/derivation.md:

     row loss   l = s (sum c_j (L_m + (m - x_j)/T) + z logsumexp(x/T)^2),   L_m = log(S/e_m)
     gradient   dl/dx_j = s/T ((C + 2 z logsumexp) p_j - c_j),              C = sum c_j

   where c is dense, w_j (one_minus_eps t_j + eps_over_n), and for each label of a row another number is added at its
   class. So the gradient is y = a e + f c in one pass, and numbers that are added at the labels; every option but these
   is a number per row.

   Never logsumexp - x_t, which cancels: (m - x_t)/T and L_m = log1p(rest/e_m) are both at least 0. And the gradient of
   a single label, p_t - 1, is -rest/S, rest the sum of the others. */
#ifndef CSM_CROSS_ENTROPY_H
#define CSM_CROSS_ENTROPY_H

#include "exp_sum.h"
#include "focal.h"
#include "scale.h"
#include "softmax.h"
#include "targets.h"

/* The gradient scale s/(T D) of each row, and the upscale of its exponentials for which scale/S is neither subnormal
   nor so large that exponentials which show in the gradient are 0. */
CSM_INLINE acc scales_of(tile t, vec *upscale)
{
    const csm_block *b = t.b;
    acc scale = a_pair(b->scale, b->scale_rest);
    if (b->sample_weight)
        scale = a_mul(scale, load_per_row_acc(t, b->sample_weight));
    if (b->temperatures)
        scale = a_div(scale, load_per_row_acc(t, b->temperatures));
    scale = a_clamp(scale, MOST_SCALE);
    const vec size = v_min(v_abs(a_round(scale)), v_set(real_power(EXP_MAX_UPSCALE - EXP_UPSCALE)));
    *upscale = v_max(v_add(v_exponent(size), v_set(EXP_UPSCALE)), v_set(0));
    return scale;
}

/* The sum without the exponential of the logit x, right where that has nearly all of it. */
CSM_INLINE acc rest_without(tile t, const row_stats *a, vec x, const shift *s)
{
    const mask below = v_ne(x, s->m);
    vec e = v_where(below, v_exp(x, s, t.temp, t.mode.T_is_1));
    return a_add(a_add(a->rest, v_sub(v_set(0), e)), v_where(below, a->exp_max));
}

/* The losses of a row vector, times the rows' weights; 0 of an ignored row. */
CSM_INLINE void store_loss(tile t, acc loss)
{
    const csm_block *b = t.b;
    if (b->sample_weight)
        loss = a_mul(loss, load_per_row_acc(t, b->sample_weight));
    if (b->loss_scale != 1)
        loss = a_mul(loss, a_set(b->loss_scale));
    loss = a_unless(v_eq(valid_rows(t), v_set(0)), loss);
    if (b->sums)
        store_sum(t, loss);
    else
        store_result(t, a_result(loss));
}

/* What a loss knows of rows: of their labels sum of c (m - x)/T, sum of c, and the logit of the last; the scale of the
   gradient, and by what power of two its exponentials are too large. */
typedef struct { acc sum_c_gap, labels, scale; target_logit label; vec excess; } loss_job;
_Static_assert(sizeof(loss_job) <= (CSM_EXCHANGE - 1) * sizeof(double), "a loss_job is kept between phases");

CSM_INLINE void count_label(tile t, vec m, const target_logit *l, loss_job *j)
{
    const vec zero = v_set(0), d = v_mul(l->coefficient, scaled_diff(m, l->logit, t.temp, t.mode.T_is_1));
    j->sum_c_gap = a_add(j->sum_c_gap, v_where(v_ne(l->coefficient, zero), d));
    j->labels = a_add(j->labels, l->coefficient);
    j->label = *l;
}

/* Whether the gradient at the label is -rest/S. */
CSM_INLINE int has_one_label(const csm_block *b, pass_opts o)
{
    return b->label && b->slots == 1 && !o.dense && b->z_loss == 0;
}

/* Where an f is small, the exponentials are to come down with it, or scale f/S would underflow: by 2^excess. */
CSM_INLINE focus focus_in(tile t, loss_job *j, const shift *s, const row_stats *a, acc C)
{
    const csm_block *b = t.b;
    acc weight = a_mul(C, a_set(b->loss_scale));
    acc l = a_add(a_of(v_log1p(a->rest_ratio)), scaled_diff(s->m, j->label.logit, t.temp, t.mode.T_is_1));
    if (b->sample_weight)
        weight = a_mul(weight, load_per_row_acc(t, b->sample_weight));
    if (RARELY(a->any_tiny))
        l = a_sum(l, a->tiny);
    const acc r = a_div(rest_without(t, a, j->label.logit, s), a->S);
    const vec own = v_exp(j->label.logit, s, t.temp, t.mode.T_is_1);
    const focus f = focus_of(b, r, a_div(a_of(own), a->S), l, weight, a_mul(C, j->scale));
    j->excess = v_max(v_set(0), v_min(f.down, v_set(RANGE_BITS)));
    return f;
}

CSM_INLINE int has_focus(const csm_block *b, pass_opts o) { return !o.dense && RARELY(b->focal_gamma != 0); }

/* Stores the losses of a row vector; returns C + 2 z logsumexp, times f. */
CSM_INLINE acc finish_loss(tile t, loss_job *j, const shift *s, const sums *e, const row_stats *a, pass_opts o)
{
    const csm_block *b = t.b;
    acc C = o.dense ? a_sum(e->sum_c, j->labels) : j->labels;
    const vec L = v_log1p(a->rest_ratio);
    acc loss = a_add_product(o.dense ? a_sum(j->sum_c_gap, e->sum_c_gap) : j->sum_c_gap, L, a_round(C));
    if (RARELY(a->any_tiny))
        loss = a_sum(loss, a_unless(v_lt(v_set(0), a->rest_ratio), a_mul(a->tiny, C)));
    if (b->z_loss != 0) {
        acc lse = a_add(a_of(L), over_T(s->m, t.temp, t.mode.T_is_1));
        if (RARELY(a->any_tiny))
            lse = a_sum(lse, a->tiny);
        const acc z = a_mul(a_set(b->z_loss), lse);
        loss = a_sum(loss, a_mul(z, lse));
        C = a_sum(C, a_sum(z, z));
    }
    if (has_focus(b, o)) {
        const focus f = focus_in(t, j, s, a, C);
        loss = a_mul(loss, f.loss);
        C = a_mul(C, f.gradient);
    }
    store_loss(t, loss);
    return C;
}

/* w rounded; it may be subnormal if a row of the tile has a tiny ratio, or a tiny scale, which matters less. */
CSM_INLINE vec round_of(acc w, int any_tiny) { return RARELY(any_tiny) ? a_result(w) : a_round(w); }

/* A sum of exponentials, brought down with them. */
CSM_INLINE acc lowered(acc sum, const loss_job *j, const csm_block *b, pass_opts o)
{
    return has_focus(b, o) ? a_mul(sum, a_of(power_of_two(v_sub(v_set(0), j->excess)))) : sum;
}

/* Brings exponentials down by 2^excess, where that of a row is large. */
CSM_INLINE void lower_pass(tile t, loss_job *j)
{
    lowering down[TILE_VECTORS];
    mask any = v_lt(v_set(EXP_UPSCALE / 4), j[0].excess);
    EACH_ROW_VECTOR(u, t) any = m_or(any, v_lt(v_set(EXP_UPSCALE / 4), j[u].excess));
    if (!m_any(any)) {
        EACH_ROW_VECTOR(u, t) j[u].excess = v_set(0);
        return;
    }
    EACH_ROW_VECTOR(u, t) {
        const vec n = v_sub(v_set(0), j[u].excess);
        down[u] = (lowering){power_of_two(n), power_of_two(v_sub(j[u].excess, v_set(RANGE_BITS)))};
    }
    for_each_cursor(t, lower_step, down, FIELDS(lowering), (pass_opts){0});
}

/* Loops over row vectors are kept short: several of their chains of quotients and logarithms then run at once. */
CSM_INLINE void loss_body(tile t, pass_opts o)
{
    const csm_block *b = t.b;
    loss_job j[TILE_VECTORS];
    target_logit l[TILE_VECTORS];
    shift s[TILE_VECTORS];
    sums e[TILE_VECTORS];
    row_stats a[TILE_VECTORS];
    acc C[TILE_VECTORS], per_e[TILE_VECTORS];
    affine y[TILE_VECTORS];
    scatter_value own[TILE_VECTORS];
    EACH_ROW_VECTOR(u, t) j[u] = (loss_job){a_zero(), a_zero(), a_zero(), {t.max[u], t.max[u], t.max[u]}, v_set(0)};
    for (ptrdiff_t slot = 0; b->label && slot < b->slots && !is_past(t, CSM_GATHER_LABELS); slot++) {
        gather_slot(t, slot, l);
        EACH_ROW_VECTOR(u, t) count_label(t, t.max[u], &l[u], &j[u]);
    }
    carry(t, j, sizeof *j);
    EACH_ROW_VECTOR(u, t) {
        vec upscale;
        j[u].scale = scales_of(row_vector_of(t, u), &upscale);
        s[u] = shift_of(t.max[u], upscale, t.temp, t.mode.T_is_1);
    }
    exp_pass(t, s, e, o);
    finish_stats(t, s, e, a);
    EACH_ROW_VECTOR(u, t) C[u] = finish_loss(row_vector_of(t, u), &j[u], &s[u], &e[u], &a[u], o);
    if (!b->y)
        return;

    if (has_focus(b, o))
        lower_pass(t, j);
    EACH_ROW_VECTOR(u, t) {
        per_e[u] = a_div(a_mul(j[u].scale, C[u]), lowered(a[u].S, &j[u], b, o));
        y[u] = affine_of(row_vector_of(t, u), per_e[u], v_sub(v_set(0), a_round(j[u].scale)), o);
    }
    scale_pass(t, y, o);
    if (has_one_label(b, o)) {
        EACH_ROW_VECTOR(u, t) {
            const acc rest = lowered(rest_without(t, &a[u], j[u].label.logit, &s[u]), &j[u], b, o);
            const int is_small = a[u].any_tiny || has_focus(b, o);
            own[u] = (scatter_value){j[u].label.label, v_sub(v_set(0), round_of(a_mul(per_e[u], rest), is_small))};
        }
        scatter_targets(t, 0, b->y, b->ys, own, (pass_opts){0});
        return;
    }
    for (ptrdiff_t slot = 0; b->label && slot < b->slots; slot++) {
        EACH_ROW_VECTOR(u, t) {
            const target_logit at = label_of(row_vector_of(t, u), slot);
            own[u] = (scatter_value){at.label, v_sub(v_set(0), a_result(a_mul(j[u].scale, a_of(at.coefficient))))};
        }
        scatter_targets(t, slot, b->y, b->ys, own, (pass_opts){.adds = 1});
    }
}

/* Of labels alone; of probabilities as they are; of all that is smoothed or weighted. */
CSM_INLINE void label_body(tile t) { loss_body(t, (pass_opts){.keep_exp = 1, .split_max = 1, .ignores = 1}); }
CSM_INLINE void probability_body(tile t) { loss_body(t, (pass_opts){.keep_exp = 1, .split_max = 1, .dense = 1}); }

CSM_INLINE void dense_body(tile t)
{
    loss_body(t, (pass_opts){.keep_exp = 1, .split_max = 1, .dense = 1, .weighed = 1, .ignores = 1});
}

#endif
