/* Cross-entropy and its gradient, of labels or of target probabilities t, and their diagonal Hessian.
   Includes nothing; needs stats.h before it. The letters are those of docs/derivation.md:

     row loss   l = s (sum c_j (L_m + (m - x_j)/T) + z logsumexp(x/T)^2),   L_m = log(S/e_m)
     gradient   dl/dx_j = s/T ((C + 2 z logsumexp) p_j - c_j),              C = sum c_j

   where c is dense, w_j (keep t_j + smooth), and for each label of a row another number is added at its class. So the
   gradient is y = a e + f c in one pass and a patch at the labels; every option but these is a number per row.

   Never logsumexp - x_t, which cancels: (m - x_t)/T and L_m = log1p(rest/e_m) are both at least 0. And the gradient of
   a single label, p_t - 1, is -rest/S, rest the sum of the others. */

/* A gradient scaled down needs the less of a lift, and scale/S would underflow under all of it. */
CSM_INLINE real lift_for(double scale)
{
    int n = 0;
    frexp(scale, &n);
    return (real)(n >= 0 ? EXP_LIFT : n > -EXP_LIFT ? EXP_LIFT + n : 0);
}

/* s/(T D) of each row. */
CSM_INLINE wide scales_of(batch k, vec *lift)
{
    const csm_block *b = k.b;
    double scale[W_SIZE] = {0};
    real lifts[V_LANES] = {0};
    if (!b->sample_weight && !b->temperatures) {
        *lift = v_set(lift_for(b->scale));
        return w_set(b->scale);
    }
    for (ptrdiff_t i = 0; i < k.rows; i++) {
        scale[i] = b->scale * (b->sample_weight ? b->sample_weight[k.row + i] : 1)
                   / (b->temperatures ? b->temperatures[k.row + i] : 1);
        lifts[i] = lift_for(scale[i]);
    }
    *lift = v_get(lifts);
    return w_get(scale);
}

/* Where row i of a batch has the class j. */
CSM_INLINE ptrdiff_t place(batch k, ptrdiff_t i, ptrdiff_t j, ptrdiff_t stride)
{
    return k.along ? (k.row + i) * stride + j : j * stride + k.row + i;
}

/* Few classes of rows that are lanes are compared with the labels one by one: reading and writing single numbers of
   vectors, which waits for the stores before, takes longer. */
CSM_INLINE int compares(batch k) { return !k.along && k.b->n <= FEW_CLASSES; }

/* What the labels in one slot of the rows bring: their logits, and what is added to c at them, 0 without a label. */
typedef struct { vec label, logit, coefficient; } labelled;

CSM_INLINE void find_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, vec label, vec *logit)
{
    EACH(u, count) {
        mask here = v_eq(label, v_set((real)(i + u)));
        *logit = v_pick(here, load_at(k, p->x, i + u, p->xs, whole, 0), *logit);
    }
}

CSM_INLINE labelled label_of(batch k, ptrdiff_t slot)
{
    const csm_block *b = k.b;
    const vec zero = v_set(0);
    real label[V_LANES] = {0}, coefficient[V_LANES] = {0};
    const int whole = compares(k) && k.rows == V_LANES && b->slots == 1;
    for (ptrdiff_t i = 0; !whole && i < k.rows; i++)
        label[i] = (real)b->label[(k.row + i) * b->slots + slot];
    for (ptrdiff_t i = 0; b->coefficient && i < k.rows; i++)
        coefficient[i] = ((const real *)b->coefficient)[(k.row + i) * b->slots + slot];
    labelled l = {whole ? v_of_ints(b->label + k.row) : v_get(label), zero, v_get(coefficient)};
    if (!b->coefficient)
        l.coefficient = v_keep(v_le(zero, l.label), v_set(1));
    return l;
}

/* The same with the logits. */
static CSM_SHARED labelled find_labels(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, int along, ptrdiff_t slot)
{
    const batch k = batch_of(b, row, rows, NULL, along, 0);
    labelled l = label_of(k, slot);
    real logit[V_LANES] = {0};
    if (compares(k)) {
        const strand p = strand_of(k, 0);
        EACH_VECTOR(k, whole_span(k), find_step(k, &p, i, count, whole, l.label, &l.logit));
        return l;
    }
    for (ptrdiff_t i = 0; i < k.rows; i++) {
        const ptrdiff_t at = b->label[(k.row + i) * b->slots + slot];
        logit[i] = at < 0 ? 0 : ((const elem *)b->x)[place(k, i, at, b->xs)];
    }
    l.logit = v_get(logit);
    return l;
}

CSM_INLINE labelled labels_at(batch k, ptrdiff_t slot) { return find_labels(k.b, k.row, k.rows, k.along, slot); }

CSM_INLINE void patch_step(batch k, elem *y, ptrdiff_t ys, ptrdiff_t i, int count, int whole,
                           vec label, vec v, int add)
{
    EACH(u, count) {
        vec old = load_at(k, y, i + u, ys, whole, 0);
        mask here = v_eq(label, v_set((real)(i + u)));
        store_at(k, y, i + u, ys, whole, v_pick(here, add ? v_add(old, v) : v, old));
    }
}

/* v into an array at the labels of a slot: replacing what is there, or added to it. */
CSM_INLINE void patch_labels(batch k, ptrdiff_t slot, elem *y, ptrdiff_t ys, vec label, vec v, int add)
{
    const csm_block *b = k.b;
    if (compares(k)) {
        EACH_VECTOR(k, whole_span(k), patch_step(k, y + k.row, ys, i, count, whole, label, v, add));
        return;
    }
    real patch[V_LANES];
    v_put(patch, v);
    for (ptrdiff_t i = 0; i < k.rows; i++) {
        const ptrdiff_t at = b->label[(k.row + i) * b->slots + slot];
        if (at >= 0 && leads(k)) {
            elem *p = y + place(k, i, at, ys);
            *p = patch[i] + (add ? *p : 0);
        }
    }
}

/* The sum without the exponential of the logit x, right where that has nearly all of it. */
CSM_INLINE wide rest_without(batch k, const summary *a, vec x, const shift *s)
{
    const mask below = v_ne(x, a->m);
    vec e = v_keep(below, v_exp(x, s, k.t, k.unit));
    return w_add(w_add(a->rest, v_sub(v_set(0), e)), v_keep(below, a->top));
}

/* The sample weights of the rows. */
CSM_INLINE wide weights_of(batch k)
{
    double weight[W_SIZE] = {0};
    if (!k.b->sample_weight)
        return w_set(1);
    for (ptrdiff_t i = 0; i < k.rows; i++)
        weight[i] = k.b->sample_weight[k.row + i];
    return w_get(weight);
}

/* The rows' losses, times their weights; 0 of an ignored row. */
CSM_INLINE void store_loss(batch k, wide loss)
{
    const vec r = w_round(k.b->sample_weight ? w_mul(loss, weights_of(k)) : loss);
    store_result(k, v_keep(v_ne(alive_of(k), v_set(0)), r));
}

CSM_INLINE void loss_body(batch k, int what)
{
    const csm_block *b = k.b;
    const vec zero = v_set(0);
    vec m = max_pass(k), lift;
    wide drops = w_zero(), labels = w_zero();       /* of the labels: sum of c (m - x)/T, and of c */
    labelled label = {zero, zero, zero};
    for (ptrdiff_t slot = 0; b->label && slot < b->slots; slot++) {     /* before y, which may be x, is written */
        label = labels_at(k, slot);
        vec d = v_mul(label.coefficient, drop(m, label.logit, k.t, k.unit));
        drops = w_add(drops, v_keep(v_ne(label.coefficient, zero), d));
        labels = w_add(labels, label.coefficient);
    }
    meet(k);
    const wide scale = scales_of(k, &lift);
    const shift s = shift_of(m, lift, k.t, k.unit);
    const sums e = exp_pass(k, m, &s, what | SPLIT | KEEP_EXP);
    const summary a = summary_of(k, m, &s, &e);

    wide others = what & DENSE ? e.mass : w_zero();                     /* of C + 2 z logsumexp, without labels */
    wide loss = w_add_product(what & DENSE ? w_sum(drops, e.drops) : drops, a.L, w_round(w_sum(labels, others)));
    if (b->z_loss != 0) {
        vec lse = v_add_log1p(over_T(m, k.t, k.unit), a.ratio), z = v_mul(v_set((real)b->z_loss), lse);
        loss = w_add_product(loss, z, lse);
        others = w_add(others, v_add(z, z));
    }
    store_loss(k, loss);
    if (!b->y)
        return;

    const wide per_e = w_div(w_mul(scale, w_sum(others, labels)), a.S);
    scale_pass(k, per_e, v_sub(zero, w_round(scale)), what);
    meet(k);
    if (b->label && b->slots == 1 && !(what & DENSE) && b->z_loss == 0) {
        vec own = v_sub(zero, w_round(w_mul(per_e, rest_without(k, &a, label.logit, &s))));
        patch_labels(k, 0, b->y, b->ys, label.label, own, 0);
        return;
    }
    for (ptrdiff_t slot = 0; b->label && slot < b->slots; slot++) {
        label = label_of(k, slot);
        vec part = v_sub(zero, w_round(w_mul(scale, w_of(label.coefficient))));
        patch_labels(k, slot, b->y, b->ys, label.label, part, 1);
    }
}

CSM_INLINE void label_body(batch k) { loss_body(k, IGNORES); }
CSM_INLINE void probability_body(batch k) { loss_body(k, DENSE); }
CSM_INLINE void dense_body(batch k) { loss_body(k, IGNORES | DENSE | WEIGHED); }

/* r = log p of each label. */
CSM_INLINE void selective_body(batch k)
{
    const csm_block *b = k.b;
    const gist a = gist_of(k);
    const vec L = v_log1p(a.ratio);
    for (ptrdiff_t slot = 0; slot < b->slots; slot++) {
        real lane[V_LANES];
        v_put(lane, v_sub(drop(labels_at(k, slot).logit, a.m, k.t, k.unit), L));
        for (ptrdiff_t i = 0; i < k.rows && leads(k); i++)
            ((real *)b->r)[(k.row + i) * b->slots + slot] = lane[i];
    }
}

/* p = e hi + e lo and factor s C p = e up + e down; 1 - p of the max is `below`, which does not cancel. */
typedef struct { vec hi, lo, up, down, top, below, C, weight, floor; } hessian_job;

/* y = s g, g = C p - c, and the Hessian's diagonal, factor s C p (1 - p) or s abs(g), raised to the floor. */
CSM_INLINE void hessian_step(batch k, const strand *p, ptrdiff_t i, int count, int whole,
                             const hessian_job *j, int what)
{
    EACH(u, count) {
        vec e = load_at(k, p->y, i + u, p->ys, whole, 0), v = v_fma(e, j->hi, v_mul(e, j->lo));
        vec g = what & DENSE ? v_sub(v_mul(j->C, v), coefficient(k, p, i + u, whole, what)) : v;
        vec others = v_pick(v_eq(e, j->top), j->below, v_sub(v_set(1), v));
        vec h = v_mul(v_fma(e, j->up, v_mul(e, j->down)), others);
        h = k.b->residual ? v_mul(j->weight, v_abs(g)) : h;
        store_at(k, p->h, i + u, p->hs, whole, v_max(j->floor, h));
        store_at(k, p->y, i + u, p->ys, whole, v_mul(j->weight, g));
    }
}

/* per_e is 1/S. */
CSM_INLINE void hessian_pass(batch k, const summary *a, const sums *e, wide per_e, int what)
{
    const csm_block *b = k.b;
    const wide mass = what & DENSE ? e->mass : w_set(1);
    const wide factor = w_mul(w_mul(w_set(b->hessian_factor), weights_of(k)), mass);
    real hi[V_LANES], lo[V_LANES], up[V_LANES], down[V_LANES];
    real top[V_LANES], below[V_LANES], C[V_LANES], weight[V_LANES];
    vec high, low;
    w_split(per_e, &high, &low);
    v_put(hi, high);
    v_put(lo, low);
    w_split(w_mul(per_e, factor), &high, &low);
    v_put(up, high);
    v_put(down, low);
    v_put(top, a->top);
    v_put(below, w_round(w_mul(a->rest, per_e)));
    v_put(C, w_round(mass));
    v_put(weight, w_round(weights_of(k)));
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        const strand p = strand_of(k, r);
        const hessian_job j = {share(k, hi, r), share(k, lo, r), share(k, up, r), share(k, down, r), share(k, top, r),
                               share(k, below, r), share(k, C, r), share(k, weight, r), v_set((real)b->hessian_floor)};
        EACH_VECTOR(k, own_span(k), hessian_step(k, &p, i, count, whole, &j, what));
    }
}

CSM_INLINE void hessian_body(batch k, int what)
{
    const csm_block *b = k.b;
    const vec m = max_pass(k);
    const labelled l = what & DENSE ? (labelled){m, m, m} : labels_at(k, 0);
    meet(k);
    const shift s = shift_of(m, v_set(EXP_LIFT), k.t, k.unit);
    const sums e = exp_pass(k, m, &s, what | SPLIT | KEEP_EXP);
    const summary a = summary_of(k, m, &s, &e);
    const wide per_e = w_div(w_set(1), a.S);
    hessian_pass(k, &a, &e, per_e, what);
    meet(k);
    if (what & DENSE)
        return;
    const vec w = w_round(weights_of(k)), others = w_round(w_mul(rest_without(k, &a, l.logit, &s), per_e));
    const vec h = v_max(v_set((real)b->hessian_floor), v_mul(w, others));
    patch_labels(k, 0, b->y, b->ys, l.label, v_sub(v_set(0), v_mul(w, others)), 0);
    if (b->residual)
        patch_labels(k, 0, b->h, b->hs, l.label, h, 0);
}

CSM_INLINE void label_hessian_body(batch k) { hessian_body(k, 0); }
CSM_INLINE void dense_hessian_body(batch k) { hessian_body(k, DENSE); }
