/* Cross-entropy and its gradient, of labels or of target probabilities t.
   Includes nothing; needs stats.h, maps.h and focal.h before it. The letters are those of docs/derivation.md:

     row loss   l = s (sum c_j (L_m + (m - x_j)/T) + z logsumexp(x/T)^2),   L_m = log(S/e_m)
     gradient   dl/dx_j = s/T ((C + 2 z logsumexp) p_j - c_j),              C = sum c_j

   where c is dense, w_j (keep t_j + smooth), and for each label of a row another number is added at its class. So the
   gradient is y = a e + f c in one pass and a patch at the labels; every option but these is a number per row.

   Never logsumexp - x_t, which cancels: (m - x_t)/T and L_m = log1p(rest/e_m) are both at least 0. And the gradient of
   a single label, p_t - 1, is -rest/S, rest the sum of the others. */

/* What is given with the rows, a number each; lanes past them have the first. */
CSM_INLINE vec given(batch k, const real *a)
{
    real lane[V_LANES];
    a += k.row;
    if (k.rows == V_LANES)
        return v_get(a);
    if (k.rows == 1)
        return v_set(*a);
    for (ptrdiff_t i = 0; i < V_LANES; i++)
        lane[i] = a[i < k.rows ? i : 0];
    return v_get(lane);
}

CSM_INLINE wide given_wide(batch k, const double *a)
{
    double lane[W_SIZE];
    a += k.row;
    if (k.rows == V_LANES)
        return w_load(a);
    if (k.rows == 1)
        return w_set(*a);
    for (ptrdiff_t i = 0; i < V_LANES; i++)
        lane[i] = a[i < k.rows ? i : 0];
    return w_load(lane);
}

/* s/(T D) of each row of a part, and the lift that goes with it: scale/S is neither subnormal nor so large that
   exponentials which show in the gradient are 0. */
CSM_INLINE wide scales_of(batch k, vec *lift)
{
    const csm_block *b = k.b;
    wide scale = w_pair(b->scale, b->scale_rest);
    if (b->sample_weight)
        scale = w_mul(scale, given_wide(k, b->sample_weight));
    if (b->temperatures)
        scale = w_div(scale, given_wide(k, b->temperatures));
    scale = w_clamp(scale, MOST_SCALE);
    const vec size = v_min(v_abs(w_round(scale)), v_set(real_power(EXP_MOST_LIFT - EXP_LIFT)));
    *lift = v_max(v_add(v_exponent(size), v_set(EXP_LIFT)), v_set(0));
    return scale;
}

/* Where row i of a batch has the class j. */
CSM_INLINE ptrdiff_t place(batch k, ptrdiff_t i, ptrdiff_t j, ptrdiff_t stride)
{
    return k.along ? (k.row + i) * stride + j : j * stride + k.row + i;
}

/* Up to so many classes of rows that are lanes are compared with the labels one by one: reading and writing single
   numbers of vectors, which waits for the stores before, takes longer. */
enum { FEW_LABELS = 32 };

CSM_INLINE int compares(batch k) { return !k.along && k.b->n <= FEW_LABELS; }

/* What the labels in one slot of the rows bring: their logits, and what is added to c at them, 0 without a label. */
typedef struct { vec label, logit, coefficient; } labelled;

/* Those of a part, without the logits. */
CSM_INLINE labelled label_of(batch k, ptrdiff_t slot)
{
    const csm_block *b = k.b;
    const vec zero = v_set(0), label = labels_in(k, slot);
    real coefficient[V_LANES] = {0};
    if (!b->coefficient)
        return (labelled){label, zero, v_keep(v_le(zero, label), v_set(1))};
    if (b->slots == 1)
        return (labelled){label, zero, given(k, b->coefficient)};
    for (ptrdiff_t i = 0; i < k.rows; i++)
        coefficient[i] = ((const real *)b->coefficient)[(k.row + i) * b->slots + slot];
    return (labelled){label, zero, get_rows(k, coefficient)};
}

CSM_INLINE void find_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, labelled *l)
{
    const vec class = v_set((real)i);
    EACH(u, count)
        l[u].logit = v_pick(v_eq(l[u].label, class), load_at(k, p->x, i, u, p->xs, whole, 0), l[u].logit);
}

CSM_INLINE void find_in(batch k, ptrdiff_t slot, labelled *l)
{
    const csm_block *b = k.b;
    EACH_PART(u, k) l[u] = label_of(part_of(k, u), slot);
    if (compares(k)) {
        const strand p = strand_of(k, 0);
        EACH_VECTOR(k, whole_span(k), find_step(k, &p, i, count, whole, l));
        return;
    }
    EACH_PART(u, k) {
        const batch part = part_of(k, u);
        real logit[V_LANES] = {0};
        for (ptrdiff_t i = 0; i < part.rows; i++) {
            const ptrdiff_t at = b->label[(part.row + i) * b->slots + slot];
            logit[i] = at < 0 ? 0 : ((const elem *)b->x)[place(part, i, at, b->xs)];
        }
        l[u].logit = get_rows(part, logit);
    }
}

static CSM_SHARED void find_labels(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, int along, ptrdiff_t slot,
                                   labelled *l)
{
    find_in(batch_of(b, row, rows, NULL, along, 0, 1), slot, l);
}

static CSM_SHARED void find_labels_wide(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t slot, labelled *l)
{
    find_in(batch_of(b, row, rows, NULL, 0, 0, WIDTH), slot, l);
}

CSM_INLINE void labels_at(batch k, ptrdiff_t slot, labelled *l)
{
    if (k.lone)
        find_in(k, slot, l);
    else if (k.width > 1)
        find_labels_wide(k.b, k.row, k.rows, slot, l);
    else
        find_labels(k.b, k.row, k.rows, k.along, slot, l);
}

/* What an array gets at the labels of a slot. */
typedef struct { vec label, v; } patch;

CSM_INLINE void patch_step(batch k, elem *y, ptrdiff_t ys, ptrdiff_t i, int count, int whole, const patch *to, int add)
{
    const vec class = v_set((real)i);
    EACH(u, count) {
        vec old = load_at(k, y, i, u, ys, whole, 0), v = add ? v_add(old, to[u].v) : to[u].v;
        store_at(k, y, i, u, ys, whole, v_pick(v_eq(to[u].label, class), v, old));
    }
}

/* Replacing what is there, or added to it. */
CSM_INLINE void patch_labels(batch k, ptrdiff_t slot, elem *y, ptrdiff_t ys, const patch *to, int add)
{
    const csm_block *b = k.b;
    if (compares(k)) {
        EACH_VECTOR(k, whole_span(k), patch_step(k, y + k.row, ys, i, count, whole, to, add));
        return;
    }
    EACH_PART(u, k) {
        const batch part = part_of(k, u);
        real v[V_LANES];
        v_put(v, to[u].v);
        for (ptrdiff_t i = 0; i < part.rows; i++) {
            const ptrdiff_t at = b->label[(part.row + i) * b->slots + slot];
            if (at >= 0 && leads(k)) {
                elem *p = y + place(part, i, at, ys);
                *p = v[i] + (add ? *p : 0);
            }
        }
    }
}

/* The sum without the exponential of the logit x, right where that has nearly all of it. */
CSM_INLINE wide rest_without(batch k, const summary *a, vec x, const shift *s)
{
    const mask below = v_ne(x, s->m);
    vec e = v_keep(below, v_exp(x, s, k.t, k.unit));
    return w_add(w_add(a->rest, v_sub(v_set(0), e)), v_keep(below, a->top));
}

/* The losses of a part, times the rows' weights; 0 of an ignored row. */
CSM_INLINE void store_loss(batch k, wide loss)
{
    const csm_block *b = k.b;
    if (b->sample_weight)
        loss = w_mul(loss, given_wide(k, b->sample_weight));
    if (b->loss_scale != 1)
        loss = w_mul(loss, w_set(b->loss_scale));
    loss = w_drop(v_eq(alive_of(k), v_set(0)), loss);
    if (b->sums)
        store_sum(k, loss);
    else
        store_result(k, w_result(loss));
}

/* What a loss knows of rows: of their labels sum of c (m - x)/T, sum of c, and the logit of the last; the scale of the
   gradient, and by what power of two its exponentials are too large. */
typedef struct { wide drops, labels, scale; labelled label; vec excess; } loss_job;

CSM_INLINE void count_label(batch k, vec m, const labelled *l, loss_job *j)
{
    const vec zero = v_set(0), d = v_mul(l->coefficient, drop(m, l->logit, k.t, k.unit));
    j->drops = w_add(j->drops, v_keep(v_ne(l->coefficient, zero), d));
    j->labels = w_add(j->labels, l->coefficient);
    j->label = *l;
}

/* Whether the gradient at the label is -rest/S. */
CSM_INLINE int is_single(const csm_block *b, int what)
{
    return b->label && b->slots == 1 && !(what & DENSE) && b->z_loss == 0;
}

/* Where an f is small, the exponentials are to come down with it, or scale f/S would underflow: by 2^excess. */
CSM_INLINE focus focus_in(batch k, loss_job *j, const shift *s, const summary *a, wide C)
{
    const csm_block *b = k.b;
    wide weight = w_mul(C, w_set(b->loss_scale));
    wide l = w_add(w_of(v_log1p(a->ratio)), drop(s->m, j->label.logit, k.t, k.unit));
    if (b->sample_weight)
        weight = w_mul(weight, given_wide(k, b->sample_weight));
    if (RARELY(a->any_tiny))
        l = w_sum(l, a->tiny);
    const wide r = w_div(rest_without(k, a, j->label.logit, s), a->S);
    const vec own = v_exp(j->label.logit, s, k.t, k.unit);
    const focus f = focus_of(b, r, w_div(w_of(own), a->S), l, weight, w_mul(C, j->scale));
    j->excess = v_max(v_set(0), v_min(f.down, v_set(RANGE_BITS)));
    return f;
}

CSM_INLINE int has_focus(const csm_block *b, int what) { return !(what & DENSE) && RARELY(b->focal_gamma != 0); }

/* Stores the losses of a part; returns C + 2 z logsumexp, times f. */
CSM_INLINE wide finish_loss(batch k, loss_job *j, const shift *s, const sums *e, const summary *a, int what)
{
    const csm_block *b = k.b;
    wide C = what & DENSE ? w_sum(e->mass, j->labels) : j->labels;
    const vec L = v_log1p(a->ratio);
    wide loss = w_add_product(what & DENSE ? w_sum(j->drops, e->drops) : j->drops, L, w_round(C));
    if (RARELY(a->any_tiny))
        loss = w_sum(loss, w_drop(v_lt(v_set(0), a->ratio), w_mul(a->tiny, C)));
    if (b->z_loss != 0) {
        wide lse = w_add(w_of(L), over_T(s->m, k.t, k.unit));
        if (RARELY(a->any_tiny))
            lse = w_sum(lse, a->tiny);
        const wide z = w_mul(w_set(b->z_loss), lse);
        loss = w_sum(loss, w_mul(z, lse));
        C = w_sum(C, w_sum(z, z));
    }
    if (has_focus(b, what)) {
        const focus f = focus_in(k, j, s, a, C);
        loss = w_mul(loss, f.loss);
        C = w_mul(C, f.gradient);
    }
    store_loss(k, loss);
    return C;
}

/* w rounded; it may be subnormal if a row of the batch has a tiny ratio, or a tiny scale, which matters less. */
CSM_INLINE vec round_of(wide w, int any_tiny) { return RARELY(any_tiny) ? w_result(w) : w_round(w); }

/* A sum of exponentials, brought down with them. */
CSM_INLINE wide lowered(wide sum, const loss_job *j, const csm_block *b, int what)
{
    return has_focus(b, what) ? w_mul(sum, w_of(power_of_two(v_sub(v_set(0), j->excess)))) : sum;
}

/* Brings exponentials down by 2^excess, where that of a row is large. */
CSM_INLINE void lower_pass(batch k, loss_job *j)
{
    lowering down[WIDTH];
    mask any = v_lt(v_set(EXP_LIFT / 4), j[0].excess);
    EACH_PART(u, k) any = m_or(any, v_lt(v_set(EXP_LIFT / 4), j[u].excess));
    if (!m_any(any)) {
        EACH_PART(u, k) j[u].excess = v_set(0);
        return;
    }
    EACH_PART(u, k) {
        const vec n = v_sub(v_set(0), j[u].excess);
        down[u] = (lowering){power_of_two(n), power_of_two(v_sub(j[u].excess, v_set(RANGE_BITS)))};
    }
    EACH_STRAND(k, lowering, down, EACH_VECTOR(k, own_span(k), lower_step(k, &p, i, count, whole, mine)));
}

/* Loops over parts are kept short: several of their chains of quotients and logarithms then run at once. */
CSM_INLINE void loss_body(batch k, int what)
{
    const csm_block *b = k.b;
    loss_job j[WIDTH];
    labelled l[WIDTH];
    shift s[WIDTH];
    sums e[WIDTH];
    summary a[WIDTH];
    wide C[WIDTH], per_e[WIDTH];
    scaling y[WIDTH];
    patch own[WIDTH];
    EACH_PART(u, k) j[u] = (loss_job){w_zero(), w_zero(), w_zero(), {k.max[u], k.max[u], k.max[u]}, v_set(0)};
    for (ptrdiff_t slot = 0; b->label && slot < b->slots; slot++) {     /* before y, which may be x, is written */
        labels_at(k, slot, l);
        EACH_PART(u, k) count_label(k, k.max[u], &l[u], &j[u]);
    }
    meet(k);
    EACH_PART(u, k) {
        vec lift;
        j[u].scale = scales_of(part_of(k, u), &lift);
        s[u] = shift_of(k.max[u], lift, k.t, k.unit);
    }
    exp_pass(k, s, what | SPLIT | KEEP_EXP, e);
    summarise(k, s, e, a);
    EACH_PART(u, k) C[u] = finish_loss(part_of(k, u), &j[u], &s[u], &e[u], &a[u], what);
    if (!b->y)
        return;

    if (has_focus(b, what))
        lower_pass(k, j);
    EACH_PART(u, k) {
        per_e[u] = w_div(w_mul(j[u].scale, C[u]), lowered(a[u].S, &j[u], b, what));
        y[u] = scaling_of(part_of(k, u), per_e[u], v_sub(v_set(0), w_round(j[u].scale)), what);
    }
    scale_pass(k, y, what);
    meet(k);
    if (is_single(b, what)) {
        EACH_PART(u, k) {
            const wide rest = lowered(rest_without(k, &a[u], j[u].label.logit, &s[u]), &j[u], b, what);
            const int is_small = a[u].any_tiny || has_focus(b, what);
            own[u] = (patch){j[u].label.label, v_sub(v_set(0), round_of(w_mul(per_e[u], rest), is_small))};
        }
        patch_labels(k, 0, b->y, b->ys, own, 0);
        return;
    }
    for (ptrdiff_t slot = 0; b->label && slot < b->slots; slot++) {
        EACH_PART(u, k) {
            const labelled at = label_of(part_of(k, u), slot);
            own[u] = (patch){at.label, v_sub(v_set(0), w_result(w_mul(j[u].scale, w_of(at.coefficient))))};
        }
        patch_labels(k, slot, b->y, b->ys, own, 1);
    }
}

CSM_INLINE void label_body(batch k) { loss_body(k, IGNORES); }
CSM_INLINE void probability_body(batch k) { loss_body(k, DENSE); }
CSM_INLINE void dense_body(batch k) { loss_body(k, IGNORES | DENSE | WEIGHED); }

/* r = log p of each label, 0 where there is none. */
CSM_INLINE void selective_body(batch k)
{
    const csm_block *b = k.b;
    gist a[WIDTH];
    vec L[WIDTH];
    labelled l[WIDTH];
    gist_of(k, a);
    EACH_PART(u, k) L[u] = v_log1p(a[u].ratio);
    for (ptrdiff_t slot = 0; slot < b->slots; slot++) {
        labels_at(k, slot, l);
        EACH_PART(u, k) {
            const batch part = part_of(k, u);
            real lane[V_LANES];
            vec v = v_sub(drop(l[u].logit, a[u].m, k.t, k.unit), L[u]);
            if (RARELY(a[u].any_tiny))
                v = w_result(w_sub(w_of(v), a[u].tiny));
            v_put(lane, v);
            for (ptrdiff_t i = 0; i < part.rows && leads(k); i++) {
                const ptrdiff_t at = (part.row + i) * b->slots + slot;
                ((real *)b->r)[at] = b->label[at] < 0 ? 0 : lane[i];
            }
        }
    }
}
