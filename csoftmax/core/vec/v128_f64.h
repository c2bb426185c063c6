/* Two lanes of float64 in 128 bits, by NEON or SSE2. Operations as in README.md.
   What gcc and clang have operators for is written once; the intrinsics stand together, for each CPU. */
#ifndef CSM_VEC_V128_F64_H
#define CSM_VEC_V128_F64_H

#include "../isa/target.h"

typedef double elem;
typedef double real;
typedef double vec __attribute__((vector_size(16)));
typedef int64_t mask __attribute__((vector_size(16)));      /* -1 where true, else 0 */
typedef uint64_t words __attribute__((vector_size(16)));
typedef double vec_in_memory __attribute__((vector_size(16), aligned(8), may_alias));
typedef int64_t ints_in_memory __attribute__((vector_size(16), aligned(8), may_alias));
#define V_LANES 2
#define V_GROUP 4
#define V_TABLE 1
#define V_LOG2_LANES 1

CSM_INLINE vec v_set(real a) { return (vec){a, a}; }
CSM_INLINE vec v_load(const elem *p) { return *(const vec_in_memory *)p; }
CSM_INLINE void v_store(elem *p, vec v) { *(vec_in_memory *)p = v; }
CSM_INLINE vec v_select(mask m, vec a, vec b) { return (vec)(((words)a & (words)m) | ((words)b & ~(words)m)); }
CSM_INLINE vec v_where(mask m, vec a) { return (vec)((words)a & (words)m); }
CSM_INLINE vec v_unless(mask m, vec a) { return (vec)((words)a & ~(words)m); }
CSM_INLINE vec v_abs(vec a) { return (vec)((words)a & ~((uint64_t)1 << 63)); }

#ifdef __AARCH64EL__

#define V_FUSED 1
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return vfmaq_f64(c, a, b); }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return vfmsq_f64(c, a, b); }
CSM_INLINE vec v_mul_err(vec a, vec b, vec p) { return vfmaq_f64(-p, a, b); }
/* FMAX makes NaN of NaN, and FMAXNM the other number, whichever it is. */
CSM_INLINE vec v_max(vec a, vec b) { return v_select(a > b, a, b); }
CSM_INLINE vec v_min(vec a, vec b) { return v_select(a < b, a, b); }
CSM_INLINE int m_any(mask m) { return vmaxvq_u32((uint32x4_t)m) != 0; }
CSM_INLINE void v_stream(elem *p, vec v) { v_store(p, v); }
CSM_INLINE void v_drain(void) { }

#else

#define V_FUSED 0
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return a * b + c; }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return c - a * b; }
CSM_INLINE vec v_max(vec a, vec b) { return _mm_max_pd(a, b); }
CSM_INLINE vec v_min(vec a, vec b) { return _mm_min_pd(a, b); }
CSM_INLINE int m_any(mask m) { return _mm_movemask_pd((vec)m) != 0; }
CSM_INLINE void v_stream(elem *p, vec v) { _mm_stream_si128((__m128i *)p, (__m128i)v); }
CSM_INLINE void v_drain(void) { _mm_sfence(); }
/* As product_error in math/product.h; 0 where a part might overflow. */
static CSM_SHARED vec v_mul_err(vec a, vec b, vec p)
{
    const vec s = v_set(0x1p27 + 1), as = a * s, bs = b * s, ah = as - (as - a), bh = bs - (bs - b);
    const vec al = a - ah, bl = b - bh, err = ah * bh - p + ah * bl + al * bh + al * bl, most = v_set(0x1p990);
    return v_where((v_abs(a) < most) & (v_abs(b) < most), err);
}

#endif

CSM_INLINE vec v_load_n(const elem *p, ptrdiff_t n, real fill)
{
    if (n == V_LANES)
        return v_load(p);
    return (vec){n ? *p : fill, fill};
}
CSM_INLINE void v_store_n(elem *p, vec v, ptrdiff_t n)
{
    if (n == V_LANES)
        v_store(p, v);
    else if (n)
        *p = v[0];
}
CSM_INLINE vec v_get(const real *p) { return v_load(p); }
CSM_INLINE void v_put(real *p, vec v) { v_store(p, v); }

CSM_INLINE vec v_add(vec a, vec b) { return a + b; }
CSM_INLINE vec v_sub(vec a, vec b) { return a - b; }
CSM_INLINE vec v_mul(vec a, vec b) { return a * b; }
CSM_INLINE vec v_div(vec a, vec b) { return a / b; }

CSM_INLINE mask v_eq(vec a, vec b) { return a == b; }
CSM_INLINE mask v_ne(vec a, vec b) { return a != b; }
CSM_INLINE mask v_lt(vec a, vec b) { return a < b; }
CSM_INLINE mask v_le(vec a, vec b) { return a <= b; }
CSM_INLINE mask m_or(mask a, mask b) { return a | b; }
CSM_INLINE vec v_lanes(void) { return (vec){0, 1}; }
CSM_INLINE mask m_first(ptrdiff_t n) { return v_lanes() < v_set((real)n); }

/* Added to the bits of 2^52 * 3/2 an integer is a fraction's last digits. */
CSM_INLINE vec of_ints(mask a)
{
    const vec magic = v_set(0x1.8p52);
    return (vec)((words)a + (words)magic) - magic;
}
CSM_INLINE vec v_of_ints(const ptrdiff_t *p) { return of_ints(*(const ints_in_memory *)p); }
CSM_INLINE vec v_count(vec c, mask m) { return (vec)((mask)c - m); }
CSM_INLINE vec v_counted(vec c) { return of_ints((mask)c); }

CSM_INLINE vec v_power(vec a) { return (vec)((words)a << 52); }
CSM_INLINE vec v_rough_ratio(real a, vec b) { return (vec)((words)v_set(a) + (words)v_set(1) - (words)b); }
CSM_INLINE vec v_lower(vec a) { return (vec)((words)a - ((uint64_t)1022 << 52)); }
CSM_INLINE vec v_subnormal(vec a)
{
    const words bits = (words)(v_abs(a) + v_set(0x1p52)) - (words)v_set(0x1p52);
    return (vec)(((words)a & (uint64_t)1 << 63) | bits);
}
CSM_INLINE vec v_exponent(vec a) { return of_ints((mask)((words)v_abs(a) >> 52)) - v_set(1023); }

CSM_INLINE vec v_swap_lanes(vec a, int i) { return (void)i, (vec){a[1], a[0]}; }
CSM_INLINE vec v_zip_lo(vec a, vec b, int i) { return (void)i, (vec){a[0], b[0]}; }
CSM_INLINE vec v_zip_hi(vec a, vec b, int i) { return (void)i, (vec){a[1], b[1]}; }
CSM_INLINE real v_first(vec a) { return a[0]; }

#endif
