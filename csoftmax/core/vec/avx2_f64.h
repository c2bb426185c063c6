/* Four lanes of float64: AVX2, FMA. Operations as in README.md.
   Partial stores copy lanes one by one: vmaskmov stores are slow on AMD. */
#ifndef CSM_VEC_AVX2_F64_H
#define CSM_VEC_AVX2_F64_H

#include "../isa/target.h"

typedef double elem;
typedef double real;
typedef __m256d vec;
typedef __m256d mask;
#define V_LANES 4
#define V_GROUP 4
#define V_TABLE 1
#define V_LOG2_LANES 2
#define V_FUSED 1
#define V_CHOICE

CSM_INLINE __m256i lanes_below(ptrdiff_t n)
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

CSM_INLINE mask m_first(ptrdiff_t n) { return _mm256_castsi256_pd(lanes_below(n)); }

CSM_INLINE vec v_set(real a) { return _mm256_set1_pd(a); }
CSM_INLINE vec v_load(const elem *p) { return _mm256_loadu_pd(p); }
CSM_INLINE void v_store(elem *p, vec v) { _mm256_storeu_pd(p, v); }
CSM_INLINE void v_stream(elem *p, vec v) { _mm256_stream_si256((__m256i *)p, _mm256_castpd_si256(v)); }
CSM_INLINE void v_drain(void) { _mm_sfence(); }
CSM_INLINE vec v_load_n(const elem *p, ptrdiff_t n, real fill)
{
    __m256i first = lanes_below(n);
    __m256d loaded = _mm256_maskload_pd(p, first);
    return __builtin_constant_p(fill == 0) && fill == 0 ? loaded
         : _mm256_blendv_pd(v_set(fill), loaded, _mm256_castsi256_pd(first));
}
CSM_INLINE void v_store_n(elem *p, vec v, ptrdiff_t n)
{
    __m128d part = _mm256_castpd256_pd128(v);
    if (n == V_LANES) {
        v_store(p, v);
        return;
    }
    if (n & 2) {
        _mm_storeu_pd(p, part);
        part = _mm256_extractf128_pd(v, 1);
        p += 2;
    }
    if (n & 1)
        _mm_store_sd(p, part);
}
CSM_INLINE vec v_get(const real *p) { return _mm256_loadu_pd(p); }
CSM_INLINE void v_put(real *p, vec v) { _mm256_storeu_pd(p, v); }
/* Added to the bits of 2^52 * 3/2 an integer is a fraction's last digits. */
CSM_INLINE vec v_of_ints(const ptrdiff_t *p)
{
    vec magic = v_set(0x1.8p52);
    __m256i bits = _mm256_add_epi64(_mm256_loadu_si256((const __m256i *)p), _mm256_castpd_si256(magic));
    return _mm256_sub_pd(_mm256_castsi256_pd(bits), magic);
}

CSM_INLINE vec v_add(vec a, vec b) { return _mm256_add_pd(a, b); }
CSM_INLINE vec v_sub(vec a, vec b) { return _mm256_sub_pd(a, b); }
CSM_INLINE vec v_mul(vec a, vec b) { return _mm256_mul_pd(a, b); }
CSM_INLINE vec v_div(vec a, vec b) { return _mm256_div_pd(a, b); }
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_pd(a, b, c); }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_pd(a, b, c); }
CSM_INLINE vec v_mul_err(vec a, vec b, vec p) { return _mm256_fmsub_pd(a, b, p); }
CSM_INLINE vec v_max(vec a, vec b) { return _mm256_max_pd(a, b); }
CSM_INLINE vec v_min(vec a, vec b) { return _mm256_min_pd(a, b); }
CSM_INLINE vec v_abs(vec a) { return _mm256_andnot_pd(v_set(-0.0), a); }

CSM_INLINE mask v_eq(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_EQ_OQ); }
CSM_INLINE mask v_ne(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_NEQ_UQ); }
CSM_INLINE mask v_lt(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
CSM_INLINE mask v_le(vec a, vec b) { return _mm256_cmp_pd(a, b, _CMP_LE_OQ); }
CSM_INLINE vec v_select(mask m, vec a, vec b) { return _mm256_blendv_pd(b, a, m); }
CSM_INLINE vec v_where(mask m, vec a) { return _mm256_and_pd(m, a); }
CSM_INLINE vec v_unless(mask m, vec a) { return _mm256_andnot_pd(m, a); }
CSM_INLINE vec v_count(vec c, mask m)       /* a mask is -1 */
{
    return _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_castpd_si256(c), _mm256_castpd_si256(m)));
}
CSM_INLINE vec v_counted(vec c) { return v_sub(_mm256_or_pd(c, v_set(0x1p52)), v_set(0x1p52)); }
CSM_INLINE mask m_or(mask a, mask b) { return _mm256_or_pd(a, b); }
CSM_INLINE int m_any(mask m) { return _mm256_movemask_pd(m) != 0; }

CSM_INLINE vec v_power(vec a) { return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), 52)); }

CSM_INLINE vec v_rough_ratio(real a, vec b)
{
    const __m256i one = _mm256_castpd_si256(v_set(1)), of_a = _mm256_castpd_si256(v_set(a));
    return _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_add_epi64(of_a, one), _mm256_castpd_si256(b)));
}
CSM_INLINE vec v_lower(vec a)
{
    return _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_castpd_si256(a), _mm256_set1_epi64x((long long)1022 << 52)));
}
CSM_INLINE vec v_subnormal(vec a)
{
    const __m256i whole = _mm256_castpd_si256(v_add(v_abs(a), v_set(0x1p52)));
    const __m256i bits = _mm256_sub_epi64(whole, _mm256_castpd_si256(v_set(0x1p52)));
    return _mm256_or_pd(_mm256_and_pd(a, v_set(-0.0)), _mm256_castsi256_pd(bits));
}

/* The exponent bits as the low end of 2^52 + them. */
CSM_INLINE vec v_exponent(vec a)
{
    __m256i n = _mm256_srli_epi64(_mm256_castpd_si256(v_abs(a)), 52);
    __m256i bits = _mm256_or_si256(n, _mm256_castpd_si256(v_set(0x1p52)));
    return v_sub(_mm256_castsi256_pd(bits), v_set(0x1p52 + 1023));
}

CSM_INLINE vec v_swap_lanes(vec a, int i) { return i == 1 ? _mm256_permute2f128_pd(a, a, 1) : _mm256_permute_pd(a, 5); }
CSM_INLINE vec v_zip_lo(vec a, vec b, int i)
{
    return i == 1 ? _mm256_permute2f128_pd(a, b, 0x20) : _mm256_unpacklo_pd(a, b);
}
CSM_INLINE vec v_zip_hi(vec a, vec b, int i)
{
    return i == 1 ? _mm256_permute2f128_pd(a, b, 0x31) : _mm256_unpackhi_pd(a, b);
}
typedef __m256i choice;
CSM_INLINE choice v_choice(const unsigned char *p) { return _mm256_cvtepu8_epi64(_mm_loadu_si128((const void *)p)); }
/* Of lanes of half the size, 2c and 2c + 1. */
CSM_INLINE vec v_choose(vec a, vec b, choice c)
{
    const __m256i low = _mm256_slli_epi64(c, 1), high = _mm256_or_si256(low, _mm256_set1_epi64x(1));
    const __m256i pairs = _mm256_or_si256(low, _mm256_slli_epi64(high, 32));
    const __m256 from_a = _mm256_permutevar8x32_ps(_mm256_castpd_ps(a), pairs);
    const __m256 from_b = _mm256_permutevar8x32_ps(_mm256_castpd_ps(b), pairs);
    const __m256d is_b = _mm256_castsi256_pd(_mm256_slli_epi64(c, 61));
    return _mm256_blendv_pd(_mm256_castps_pd(from_a), _mm256_castps_pd(from_b), is_b);
}
CSM_INLINE real v_first(vec a) { return _mm256_cvtsd_f64(a); }
CSM_INLINE vec v_lanes(void) { return _mm256_setr_pd(0, 1, 2, 3); }

#endif
