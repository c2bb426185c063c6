/* The products of rows of few classes, which are computed together or transposed; and the kernels of all products.
   Measured: docs/notes/products.md. */
#ifndef CSM_SHORT_PRODUCTS_H
#define CSM_SHORT_PRODUCTS_H

#include "products.h"
#include "transpose.h"

#define EACH_ROW(r) _Pragma("GCC unroll 16") for (int r = 0; r < V_LANES; r++)

/* In rows of few classes, in one vector each or in two: V_LANES rows share the steps of their sums over lanes. A pass
   runs over several times as many rows before the next begins: a step waits for the one before it, but not for its
   neighbours. The first pass copies p and g to where a row begins a cache line. Rows are a multiple of V_LANES; T is 1.
   */
CSM_INLINE void products_short(const csm_block *b, const product_job *j, int vectors)
{
    enum { ROWS = TILE_ROWS };
    const ptrdiff_t end = (vectors - 1) * V_LANES, left = b->n - end;
    vec p[2 * ROWS], g[2 * ROWS], fold[V_LANES];
    _Alignas(sizeof(vec)) real c[ROWS] = {0}, sum[ROWS];
    for (ptrdiff_t row = 0; row < b->rows; row += ROWS) {
        const ptrdiff_t rows = b->rows - row < ROWS ? b->rows - row : ROWS;
        if (vectors == 1)
            prefetch_next_tile(b, row);
        const elem *pr = (const elem *)b->x + row * b->xs, *gr = (const elem *)b->g + row * b->gs;
        elem *y = (elem *)b->y + row * b->ys;
        for (ptrdiff_t k = 0; k < rows; k += V_LANES) {
            EACH_ROW(r) {
                vec *pk = p + (k + r) * vectors, *gk = g + (k + r) * vectors;
                pk[0] = v_load_n(pr + end, left, 0);
                gk[0] = scaled(j, v_load_n(gr + end, left, 0));
                fold[r] = pivot_candidate(pk[0], gk[0]);
                if (vectors > 1) {
                    pk[1] = v_load(pr);
                    gk[1] = scaled(j, v_load(gr));
                    fold[r] = v_max(pivot_candidate(pk[1], gk[1]), fold[r]);
                }
                pr += b->xs;
                gr += b->gs;
            }
            if (j->op != LOG_VJP) {
                REDUCE_EACH(fold, v_max)
                v_put(c + k, finite_or_zero(fold[0]));
            }
        }
        for (ptrdiff_t k = 0; k < rows; k += V_LANES) {
            EACH_ROW(r) {
                const vec *pk = p + (k + r) * vectors, *gk = g + (k + r) * vectors, pivot = v_set(c[k + r]);
                vec h = term(j, gk[0], pivot);
                fold[r] = j->op == LOG_VJP ? h : v_mul(pk[0], h);
                if (vectors > 1) {
                    h = term(j, gk[1], pivot);
                    fold[r] = j->op == LOG_VJP ? v_add(h, fold[r]) : v_fma(pk[1], h, fold[r]);
                }
            }
            REDUCE_EACH(fold, v_add)
            v_put(sum + k, total(j, a_of(fold[0])));
            if (m_any(needs_exact_sum(fold[0]))) {
                real terms[V_LANES];
                v_put(terms, fold[0]);
                for (ptrdiff_t r = 0; r < V_LANES; r++)
                    if (m_any(needs_exact_sum(v_set(terms[r]))))
                        sum[k + r] = v_first(total(j, row_again(j, b, row + k + r, v_set(c[k + r]))));
            }
        }
        for (ptrdiff_t r = 0; r < rows; r++, y += b->ys) {
            const vec *pk = p + r * vectors, *gk = g + r * vectors, pivot = v_set(c[r]), s = v_set(sum[r]);
            if (vectors > 1)
                v_store(y, product_of(j, pk[1], quotient(j, term(j, gk[1], pivot)), s));
            v_store_n(y + end, product_of(j, pk[0], quotient(j, term(j, gk[0], pivot)), s), left);
        }
    }
}

/* The rows that do not fill V_LANES go through a copy that does. */
CSM_INLINE void products_few(const csm_block *b, const product_job *j)
{
    elem x[FEW_PRODUCT * V_LANES] = {0}, g[FEW_PRODUCT * V_LANES] = {0};
    const ptrdiff_t n = b->n, over = b->rows % V_LANES, row = b->rows - over;
    csm_block whole = *b, rest = *b;
    whole.rows = row;
    rest.rows = V_LANES;
    rest.xs = rest.gs = rest.ys = n;
    rest.x = rest.y = x;
    rest.g = g;
    for (ptrdiff_t r = 0; r < over; r++) {
        memcpy(x + r * n, (const elem *)b->x + (row + r) * b->xs, (size_t)n * sizeof *x);
        memcpy(g + r * n, (const elem *)b->g + (row + r) * b->gs, (size_t)n * sizeof *g);
    }
    for (int i = 0; i < 1 + (over > 0); i++) {
        const csm_block *k = i ? &rest : &whole;
        if (n <= V_LANES)
            products_short(k, j, 1);
        else if (FEW_PRODUCT > V_LANES)
            products_short(k, j, 2);
    }
    for (ptrdiff_t r = 0; r < over; r++)
        memcpy((elem *)b->y + (row + r) * b->ys, x + r * n, (size_t)n * sizeof *x);
}

/* t: the temperature, or those of V_LANES rows. */
#define PRODUCT(name, products, op)                     \
    static void name(const csm_block *b)                \
    {                                                   \
        temp_consts t[1 + V_LANES];                     \
        if (csm_T_is_1(b)) {                            \
            t[0] = temp_consts_T1();                    \
            products(b, &(product_job){op, 1, t}, t);   \
        } else {                                        \
            t[0] = temp_consts_of(b->temperature);      \
            products(b, &(product_job){op, 0, t}, t);   \
        }                                               \
    }

#define SHORT_PRODUCT(name, op)                     \
    static void name(const csm_block *b)            \
    {                                               \
        const temp_consts t = temp_consts_T1();     \
        products_few(b, &(product_job){op, 1, &t}); \
    }

PRODUCT(vjp_rows, products_rows, VJP)
PRODUCT(vjp_cols, products_cols, VJP)
SHORT_PRODUCT(vjp_short, VJP)
PRODUCT(log_jvp_rows, products_rows, LOG_JVP)
PRODUCT(log_jvp_cols, products_cols, LOG_JVP)
SHORT_PRODUCT(log_jvp_short, LOG_JVP)
PRODUCT(log_vjp_rows, products_rows, LOG_VJP)
PRODUCT(log_vjp_cols, products_cols, LOG_VJP)
SHORT_PRODUCT(log_vjp_short, LOG_VJP)

#endif
