/* Eight lanes of float64: AVX-512 F, DQ, BW, VL. Operations as in README.md. */
#ifndef CSM_VEC_AVX512_F64_H
#define CSM_VEC_AVX512_F64_H

#include "../isa/target.h"

typedef double elem;
typedef double real;
typedef __m512d vec;
typedef __mmask8 mask;
#define V_LANES 8
#define V_GROUP 4
#define V_TABLE 16
#define V_LOG2_LANES 3
#define V_FUSED 1
#define V_CHOICE

CSM_INLINE mask m_first(ptrdiff_t n) { return (mask)((1u << n) - 1); }

CSM_INLINE vec v_set(real a) { return _mm512_set1_pd(a); }
CSM_INLINE vec v_load(const elem *p) { return _mm512_loadu_pd(p); }
CSM_INLINE void v_store(elem *p, vec v) { _mm512_storeu_pd(p, v); }
CSM_INLINE void v_stream(elem *p, vec v) { _mm512_stream_si512((__m512i *)p, _mm512_castpd_si512(v)); }
CSM_INLINE void v_drain(void) { _mm_sfence(); }
CSM_INLINE vec v_load_n(const elem *p, ptrdiff_t n, real fill)
{
    return _mm512_mask_loadu_pd(v_set(fill), m_first(n), p);
}
CSM_INLINE void v_store_n(elem *p, vec v, ptrdiff_t n) { _mm512_mask_storeu_pd(p, m_first(n), v); }
CSM_INLINE vec v_get(const real *p) { return _mm512_loadu_pd(p); }
CSM_INLINE void v_put(real *p, vec v) { _mm512_storeu_pd(p, v); }
CSM_INLINE vec v_of_ints(const ptrdiff_t *p) { return _mm512_cvtepi64_pd(_mm512_loadu_si512(p)); }

CSM_INLINE vec v_add(vec a, vec b) { return _mm512_add_pd(a, b); }
CSM_INLINE vec v_sub(vec a, vec b) { return _mm512_sub_pd(a, b); }
CSM_INLINE vec v_mul(vec a, vec b) { return _mm512_mul_pd(a, b); }
CSM_INLINE vec v_div(vec a, vec b) { return _mm512_div_pd(a, b); }
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_pd(a, b, c); }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_pd(a, b, c); }
CSM_INLINE vec v_mul_err(vec a, vec b, vec p) { return _mm512_fmsub_pd(a, b, p); }
CSM_INLINE vec v_max(vec a, vec b) { return _mm512_max_pd(a, b); }
CSM_INLINE vec v_min(vec a, vec b) { return _mm512_min_pd(a, b); }
CSM_INLINE vec v_abs(vec a) { return _mm512_abs_pd(a); }

CSM_INLINE mask v_eq(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
CSM_INLINE mask v_ne(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_NEQ_UQ); }
CSM_INLINE mask v_lt(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
CSM_INLINE mask v_le(vec a, vec b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
CSM_INLINE vec v_select(mask m, vec a, vec b) { return _mm512_mask_blend_pd(m, b, a); }
CSM_INLINE vec v_where(mask m, vec a) { return _mm512_maskz_mov_pd(m, a); }
CSM_INLINE vec v_unless(mask m, vec a) { return _mm512_mask_blend_pd(m, a, _mm512_setzero_pd()); }
CSM_INLINE vec v_count(vec c, mask m)
{
    __m512i old = _mm512_castpd_si512(c);
    return _mm512_castsi512_pd(_mm512_mask_add_epi64(old, m, old, _mm512_set1_epi64(1)));
}
CSM_INLINE vec v_counted(vec c) { return _mm512_cvtepi64_pd(_mm512_castpd_si512(c)); }
CSM_INLINE mask m_or(mask a, mask b) { return a | b; }
CSM_INLINE int m_any(mask m) { return m != 0; }

CSM_INLINE vec v_lookup(const real *t, vec a)
{
    return _mm512_permutex2var_pd(_mm512_loadu_pd(t), _mm512_castpd_si512(a), _mm512_loadu_pd(t + 8));
}
CSM_INLINE vec v_raise(vec a, vec k)
{
    __m512i steps = _mm512_slli_epi64(_mm512_castpd_si512(k), 52 - 4);
    return _mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(a), steps));
}
CSM_INLINE vec v_power(vec a)
{
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(a), 52));
}
CSM_INLINE vec v_rough_ratio(real a, vec b)
{
    const __m512i one = _mm512_castpd_si512(v_set(1)), of_a = _mm512_castpd_si512(v_set(a));
    return _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_add_epi64(of_a, one), _mm512_castpd_si512(b)));
}
CSM_INLINE vec v_lower(vec a)
{
    return _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_castpd_si512(a), _mm512_set1_epi64((long long)1022 << 52)));
}
CSM_INLINE vec v_subnormal(vec a)
{
    const __m512i sign = _mm512_and_si512(_mm512_castpd_si512(a), _mm512_castpd_si512(v_set(-0.0)));
    const __m512i whole = _mm512_castpd_si512(v_add(v_abs(a), v_set(0x1p52)));
    return _mm512_castsi512_pd(_mm512_or_si512(sign, _mm512_sub_epi64(whole, _mm512_castpd_si512(v_set(0x1p52)))));
}
CSM_INLINE vec v_exponent(vec a) { return _mm512_getexp_pd(_mm512_maskz_mov_pd(v_lt(a, v_set(INFINITY)), a)); }

CSM_INLINE vec v_swap_lanes(vec a, int i)
{
    return i == 2 ? _mm512_shuffle_f64x2(a, a, _MM_SHUFFLE(1, 0, 3, 2))
         : i == 1 ? _mm512_shuffle_f64x2(a, a, _MM_SHUFFLE(2, 3, 0, 1)) : _mm512_permute_pd(a, 0x55);
}
CSM_INLINE vec v_zip_lo(vec a, vec b, int i)
{
    __m512i pairs = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    return i == 2 ? _mm512_shuffle_f64x2(a, b, _MM_SHUFFLE(1, 0, 1, 0))
         : i == 1 ? _mm512_permutex2var_pd(a, pairs, b) : _mm512_unpacklo_pd(a, b);
}
CSM_INLINE vec v_zip_hi(vec a, vec b, int i)
{
    __m512i pairs = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    return i == 2 ? _mm512_shuffle_f64x2(a, b, _MM_SHUFFLE(3, 2, 3, 2))
         : i == 1 ? _mm512_permutex2var_pd(a, pairs, b) : _mm512_unpackhi_pd(a, b);
}
typedef __m512i choice;
CSM_INLINE choice v_choice(const unsigned char *p) { return _mm512_cvtepu8_epi64(_mm_loadu_si128((const void *)p)); }
CSM_INLINE vec v_choose(vec a, vec b, choice c) { return _mm512_permutex2var_pd(a, c, b); }
CSM_INLINE real v_first(vec a) { return _mm512_cvtsd_f64(a); }
CSM_INLINE vec v_lanes(void) { return _mm512_setr_pd(0, 1, 2, 3, 4, 5, 6, 7); }

#endif
