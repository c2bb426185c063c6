/* Products with the Jacobians of softmax and log_softmax, from probabilities p. In a block x is p.
   Includes nothing; needs stats.h and turn.h, and what these need, before it.

     VJP        y = p (g - sum p g)/T      softmax forward and backward, its Jacobian being symmetric
     LOG_JVP    y = (g - sum p g)/T        log_softmax forward
     LOG_VJP    y = (g - p sum g)/T        log_softmax backward

   The g of a p of at least 1/2, the pivot c, is taken off every g first: next to one-hot g - sum p g would cancel.

   Sums over a row are made four terms at a time in `real`, and of these fours in `wide`: a four is rounded by itself,
   so that the error does not grow with the row. Rows of few classes are summed in `real`, as a tree. Where such a sum
   may have overflowed or lost terms to underflow it is made again, all in `wide`. Measured: docs/decisions/0009. */
enum { VJP, LOG_JVP, LOG_VJP };

/* Results of so many bytes are written past the caches, if a row has so many vectors. */
#define STREAM_BYTES ((ptrdiff_t)6 << 20)
#define STREAM_VECTORS 8

CSM_INLINE int pays_to_stream(const csm_block *b)
{
    return b->n >= STREAM_VECTORS * V_LANES && b->rows * b->n >= STREAM_BYTES / (ptrdiff_t)sizeof(elem);
}

/* Elements from y to where a vector is aligned. */
CSM_INLINE ptrdiff_t misaligned(const elem *y)
{
    return (V_LANES - (ptrdiff_t)((uintptr_t)y / sizeof *y % V_LANES)) % V_LANES;
}

/* What is computed; `op` and `unit` (T = 1) are constants wherever these functions are inlined. */
typedef struct {
    int op, unit;
    temper t;
} product_job;

/* g and c are 2^-k times what they are called where T = T' 2^k is above 1: their difference overflows only where h
   does. */
CSM_INLINE vec scaled(const product_job *j, vec g) { return j->unit ? g : v_mul(g, j->t.shrink); }

CSM_INLINE vec quotient(const product_job *j, vec v)
{
    vec u = v_mul(v, j->t.inv);
    return j->unit ? v : v_add(u, quotient_rest(v, u, &j->t));
}

/* h = (g - c)/T. For LOG_VJP T' g/T: what is summed is divided afterwards. */
CSM_INLINE vec height(const product_job *j, vec g, vec c)
{
    vec h = j->op == LOG_VJP ? g : v_sub(g, c);
    h = j->unit ? h : v_mul(h, j->t.grow);
    return j->op == LOG_VJP ? h : quotient(j, h);
}

/* An entry of y; `sum` is that of p h, or of h. h may overflow where T is tiny: 0 * inf. */
CSM_INLINE vec entry(const product_job *j, vec p, vec h, vec sum)
{
    if (j->op == LOG_VJP)
        return v_fnma(p, quotient(j, sum), quotient(j, h));
    vec v = v_sub(h, sum);
    if (j->op == LOG_JVP)
        return v;
    v = v_mul(p, v);
    return j->unit ? v : v_keep(v_ne(p, v_set(0)), v);
}

/* The g of p of at least 1/2, -inf for others. */
CSM_INLINE vec candidate(vec p, vec g) { return v_pick(v_le(v_set((real)0.5), p), g, v_set(-INFINITY)); }

/* The largest candidate as pivot: 0 where there is none, or none that is finite. */
CSM_INLINE vec settled(vec c) { return v_keep(v_lt(v_abs(c), v_set(INFINITY)), c); }

/* Whether a sum of fours is not to be trusted: beside terms below 2^-100 underflow shows. */
CSM_INLINE mask doubtful(vec sum)
{
    vec size = v_abs(sum);
    return v_lt(v_keep(v_lt(size, v_set(INFINITY)), size), v_set((real)0x1p-100));
}

/* Vectors of p and g one step apart, of `lanes` lanes each: the whole vectors of a row, its last one, or V_LANES rows
   with one a lane. `lanes` is V_LANES where it is a constant. */
typedef struct {
    const elem *p, *g;
    elem *y;
    ptrdiff_t ps, gs, ys;       /* the steps */
    ptrdiff_t count, lanes;
} strip;

CSM_INLINE vec load_part(const elem *x, ptrdiff_t lanes)
{
    return lanes == V_LANES ? v_load(x) : v_load_n(x, lanes, 0);
}

CSM_INLINE void store_part(elem *y, vec v, ptrdiff_t lanes)
{
    if (lanes == V_LANES)
        v_store(y, v);
    else
        v_store_n(y, v, lanes);
}

CSM_INLINE vec p_at(const strip *s, ptrdiff_t i) { return load_part(s->p + i * s->ps, s->lanes); }

CSM_INLINE vec g_at(const product_job *j, const strip *s, ptrdiff_t i)
{
    return scaled(j, load_part(s->g + i * s->gs, s->lanes));
}

CSM_INLINE vec h_at(const product_job *j, const strip *s, ptrdiff_t i, vec c) { return height(j, g_at(j, s, i), c); }

/* The larger of c and the candidates. */
CSM_INLINE vec pivot_pass(const product_job *j, const strip *s, vec c)
{
    for (ptrdiff_t i = 0; i < s->count; i++)
        c = v_max(candidate(p_at(s, i), g_at(j, s, i)), c);
    return c;
}

/* sum + p h, or sum + h. */
CSM_INLINE wide add_term(const product_job *j, wide sum, vec p, vec h)
{
    if (j->op == LOG_VJP)
        return w_add(sum, h);
    return w_add_product(sum, p, j->unit ? h : v_keep(v_ne(p, v_set(0)), h));
}

/* sum + p h, or sum + h, and the largest p. Fours where T = 1: h has an error of its own where not. */
CSM_INLINE wide sum_pass(const product_job *j, const strip *s, wide sum, vec c, vec *top)
{
    const vec one = v_set(1);
    ptrdiff_t i = 0;
    for (; i < s->count && !j->unit; i++) {
        vec p = p_at(s, i);
        sum = add_term(j, sum, p, h_at(j, s, i, c));
        *top = v_max(p, *top);
    }
    for (; i + 4 <= s->count; i += 4) {
        vec h[4], p[4], four;
        EACH(u, 4) h[u] = h_at(j, s, i + u, c);
        if (j->op == LOG_VJP) {
            four = v_add(v_add(h[0], h[1]), v_add(h[2], h[3]));
        } else {
            EACH(u, 4) p[u] = p_at(s, i + u);
            four = v_fma(p[3], h[3], v_fma(p[2], h[2], v_fma(p[1], h[1], v_mul(p[0], h[0]))));
            *top = v_max(v_max(v_max(p[0], p[1]), v_max(p[2], p[3])), *top);
        }
        sum = w_add(sum, four);
    }
    vec four = v_set(0);
    for (; i < s->count; i++) {
        vec p = j->op == LOG_VJP ? one : p_at(s, i);
        four = v_fma(p, h_at(j, s, i, c), four);
        *top = v_max(p, *top);
    }
    return j->unit ? w_add(sum, four) : sum;
}

/* The same where range matters more than time. */
static wide sum_again(const product_job *j, const strip *s, wide sum, vec c)
{
    for (ptrdiff_t i = 0; i < s->count; i++)
        sum = add_term(j, sum, p_at(s, i), h_at(j, s, i, c));
    return sum;
}

CSM_INLINE void product_pass(const product_job *j, const strip *s, vec c, vec sum, int streams)
{
    for (ptrdiff_t i = 0; i < s->count; i++) {
        vec p = j->op == LOG_JVP ? c : p_at(s, i), v = entry(j, p, h_at(j, s, i, c), sum);
        if (streams)
            v_stream(s->y + i * s->ys, v);
        else
            store_part(s->y + i * s->ys, v, s->lanes);
    }
}

/* The whole vectors of row `row` from class `from` on, and its last one, if any, that is not. */
CSM_INLINE void strips_of(const csm_block *b, ptrdiff_t row, ptrdiff_t from, strip *whole, strip *last)
{
    const elem *p = (const elem *)b->x + row * b->xs + from, *g = (const elem *)b->g + row * b->gs + from;
    elem *y = (elem *)b->y + row * b->ys + from;
    const ptrdiff_t count = (b->n - from) / V_LANES, end = count * V_LANES, left = b->n - from - end;
    const strip s = {p, g, y, V_LANES, V_LANES, V_LANES, count, V_LANES};
    const strip t = {p + end, g + end, y + end, 0, 0, 0, left > 0, left};
    *whole = s;
    *last = t;
}

static vec row_again(const product_job *j, const csm_block *b, ptrdiff_t row, vec c)
{
    strip whole, last;
    strips_of(b, row, 0, &whole, &last);
    return w_round(w_hsum(sum_again(j, &last, sum_again(j, &whole, w_zero(), c), c)));
}

/* Rows along, one after another. */
CSM_INLINE void products_wide(const csm_block *b, const product_job *j)
{
    const int streams = b->y != b->x && b->y != b->g && pays_to_stream(b);
    for (ptrdiff_t row = 0; row < b->rows; row++) {
        strip whole, last;
        strips_of(b, row, 0, &whole, &last);
        vec c = v_set(0), top = c;
        wide sum = sum_pass(j, &last, sum_pass(j, &whole, w_zero(), c, &top), c, &top);
        if (j->op != LOG_VJP && m_any(v_le(v_set((real)0.5), top))) {
            c = settled(v_hmax(pivot_pass(j, &last, pivot_pass(j, &whole, v_set(-INFINITY)))));
            sum = sum_pass(j, &last, sum_pass(j, &whole, w_zero(), c, &top), c, &top);
        }
        vec s = w_round(w_hsum(sum));
        if (j->unit && m_any(doubtful(s)))
            s = row_again(j, b, row, c);
        if (streams) {
            const ptrdiff_t before = misaligned(whole.y);
            const strip head = {whole.p, whole.g, whole.y, 0, 0, 0, before > 0, before};
            strips_of(b, row, before, &whole, &last);
            product_pass(j, &head, c, s, 0);
            product_pass(j, &whole, c, s, 1);
        } else {
            product_pass(j, &whole, c, s, 0);
        }
        product_pass(j, &last, c, s, 0);
    }
    if (streams)
        v_drain();
}

/* Rows across, one a lane. A row gets the same result whatever rows are beside it. */
CSM_INLINE void products_of_lanes(const product_job *j, const strip *s)
{
    vec top = v_set(0), c = j->op == LOG_VJP ? top : settled(pivot_pass(j, s, v_set(-INFINITY)));
    vec sum = w_round(sum_pass(j, s, w_zero(), c, &top));
    mask again = doubtful(sum);
    if (j->unit && m_any(again))
        sum = v_pick(again, w_round(sum_again(j, s, w_zero(), c)), sum);
    product_pass(j, s, c, sum, 0);
}

/* Asks for the cache lines of the rows some batches further: see BATCHES_AHEAD. */
CSM_INLINE void fetch_ahead(const strip *s)
{
    const ptrdiff_t ahead = BATCHES_AHEAD * V_LANES;
    for (ptrdiff_t i = 0; i < s->count; i++) {
        __builtin_prefetch(s->p + i * s->ps + ahead);
        __builtin_prefetch(s->g + i * s->gs + ahead);
        __builtin_prefetch(s->y + i * s->ys + ahead, 1);
    }
}

CSM_INLINE void products_across(const csm_block *b, const product_job *j)
{
    const int is_tile = b->xs == TILE_ROWS;
    strip s = {b->x, b->g, b->y, b->xs, b->gs, b->ys, b->n, V_LANES};
    ptrdiff_t row = 0;
    for (; row + V_LANES <= b->rows; row += V_LANES, s.p += V_LANES, s.g += V_LANES, s.y += V_LANES) {
        if (!is_tile)
            fetch_ahead(&s);
        products_of_lanes(j, &s);
    }
    const strip rest = {s.p, s.g, s.y, s.ps, s.gs, s.ys, s.count, b->rows - row};
    if (rest.lanes)
        products_of_lanes(j, &rest);
}
