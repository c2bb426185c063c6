/* Sixteen lanes of float32: AVX-512 F, DQ, BW, VL. Operations as in README.md. */
#ifndef CSM_VEC_AVX512_F32_H
#define CSM_VEC_AVX512_F32_H

#include "../isa/target.h"

typedef float elem;
typedef float real;
typedef __m512 vec;
typedef __mmask16 mask;
typedef struct { __m512d a, b; } acc;      /* lanes 0..7 and 8..15 */
#define V_LANES 16
#define ACC_SIZE V_LANES
#define V_GROUP 4
#define V_TABLE 16
#define V_LOG2_LANES 4
#define V_FUSED 1
#define V_CHOICE
#define V_HALF

CSM_INLINE mask m_first(ptrdiff_t n) { return (mask)((1u << n) - 1); }

CSM_INLINE vec v_set(real a) { return _mm512_set1_ps(a); }
CSM_INLINE vec v_load(const elem *p) { return _mm512_loadu_ps(p); }
CSM_INLINE void v_store(elem *p, vec v) { _mm512_storeu_ps(p, v); }
CSM_INLINE void v_stream(elem *p, vec v) { _mm512_stream_si512((__m512i *)p, _mm512_castps_si512(v)); }
CSM_INLINE void v_drain(void) { _mm_sfence(); }
CSM_INLINE vec v_load_n(const elem *p, ptrdiff_t n, real fill)
{
    return _mm512_mask_loadu_ps(v_set(fill), m_first(n), p);
}
CSM_INLINE void v_store_n(elem *p, vec v, ptrdiff_t n) { _mm512_mask_storeu_ps(p, m_first(n), v); }
CSM_INLINE vec v_get(const real *p) { return _mm512_loadu_ps(p); }
CSM_INLINE void v_put(real *p, vec v) { _mm512_storeu_ps(p, v); }
CSM_INLINE vec v_of_ints(const ptrdiff_t *p)
{
    __m256 low = _mm512_cvtepi64_ps(_mm512_loadu_si512(p)), high = _mm512_cvtepi64_ps(_mm512_loadu_si512(p + 8));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

CSM_INLINE vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
CSM_INLINE vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
CSM_INLINE vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
CSM_INLINE vec v_div(vec a, vec b) { return _mm512_div_ps(a, b); }
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
CSM_INLINE vec v_mul_err(vec a, vec b, vec p) { return _mm512_fmsub_ps(a, b, p); }
CSM_INLINE vec v_max(vec a, vec b) { return _mm512_max_ps(a, b); }
CSM_INLINE vec v_min(vec a, vec b) { return _mm512_min_ps(a, b); }
CSM_INLINE vec v_abs(vec a) { return _mm512_abs_ps(a); }

CSM_INLINE mask v_eq(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
CSM_INLINE mask v_ne(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
CSM_INLINE mask v_lt(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
CSM_INLINE mask v_le(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
CSM_INLINE vec v_select(mask m, vec a, vec b) { return _mm512_mask_blend_ps(m, b, a); }
CSM_INLINE vec v_where(mask m, vec a) { return _mm512_maskz_mov_ps(m, a); }
CSM_INLINE vec v_unless(mask m, vec a) { return _mm512_mask_blend_ps(m, a, _mm512_setzero_ps()); }
CSM_INLINE vec v_count(vec c, mask m)
{
    __m512i old = _mm512_castps_si512(c);
    return _mm512_castsi512_ps(_mm512_mask_add_epi32(old, m, old, _mm512_set1_epi32(1)));
}
CSM_INLINE vec v_counted(vec c) { return _mm512_cvtepi32_ps(_mm512_castps_si512(c)); }
CSM_INLINE mask m_or(mask a, mask b) { return a | b; }
CSM_INLINE int m_any(mask m) { return m != 0; }

CSM_INLINE vec v_load_half(const char *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
/* What rounds to 0 is 0 before: the conversion would take it for an underflow. */
CSM_INLINE void v_store_half(char *p, vec v)
{
    const __m512i sign = _mm512_set1_epi32((int)0x80000000), bits = _mm512_castps_si512(v);
    const mask zero = _mm512_cmple_epi32_mask(_mm512_andnot_si512(sign, bits), _mm512_castps_si512(v_set(0x1p-25f)));
    v = _mm512_castsi512_ps(_mm512_mask_and_epi32(bits, zero, bits, sign));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
CSM_INLINE vec v_load_bfloat(const char *p)
{
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
/* Not by the CPU's own instruction, which takes subnormals for 0. */
CSM_INLINE void v_store_bfloat(char *p, vec v)
{
    __m512i bits = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    mask nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

CSM_INLINE vec v_lookup(const real *t, vec a)
{
    return _mm512_permutexvar_ps(_mm512_castps_si512(a), _mm512_loadu_ps(t));
}
CSM_INLINE vec v_raise(vec a, vec k)
{
    __m512i steps = _mm512_slli_epi32(_mm512_castps_si512(k), 23 - 4);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), steps));
}
CSM_INLINE vec v_power(vec a)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
}
CSM_INLINE vec v_rough_ratio(real a, vec b)
{
    const __m512i one = _mm512_castps_si512(v_set(1)), of_a = _mm512_castps_si512(v_set(a));
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_add_epi32(of_a, one), _mm512_castps_si512(b)));
}
CSM_INLINE vec v_lower(vec a)
{
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(126 << 23)));
}
CSM_INLINE vec v_subnormal(vec a)
{
    const __m512i sign = _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0x80000000));
    const __m512i whole = _mm512_castps_si512(v_add(v_abs(a), v_set(0x1p23f)));
    return _mm512_castsi512_ps(_mm512_or_si512(sign, _mm512_sub_epi32(whole, _mm512_castps_si512(v_set(0x1p23f)))));
}
CSM_INLINE vec v_exponent(vec a) { return _mm512_getexp_ps(_mm512_maskz_mov_ps(v_lt(a, v_set(INFINITY)), a)); }

CSM_INLINE vec v_swap_lanes(vec a, int i)
{
    return i == 3 ? _mm512_shuffle_f32x4(a, a, _MM_SHUFFLE(1, 0, 3, 2))
         : i == 2 ? _mm512_shuffle_f32x4(a, a, _MM_SHUFFLE(2, 3, 0, 1))
         : i == 1 ? _mm512_permute_ps(a, _MM_SHUFFLE(1, 0, 3, 2)) : _mm512_permute_ps(a, _MM_SHUFFLE(2, 3, 0, 1));
}
CSM_INLINE vec v_zip_lo(vec a, vec b, int i)
{
    if (i == 3)
        return _mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(1, 0, 1, 0));
    if (i == 1)
        return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    __m512i quads = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
    __m512i ones = _mm512_setr_epi32(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    return _mm512_permutex2var_ps(a, i == 2 ? quads : ones, b);
}
CSM_INLINE vec v_zip_hi(vec a, vec b, int i)
{
    if (i == 3)
        return _mm512_shuffle_f32x4(a, b, _MM_SHUFFLE(3, 2, 3, 2));
    if (i == 1)
        return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
    __m512i quads = _mm512_setr_epi32(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    __m512i ones = _mm512_setr_epi32(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    return _mm512_permutex2var_ps(a, i == 2 ? quads : ones, b);
}
typedef __m512i choice;
CSM_INLINE choice v_choice(const unsigned char *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)); }
CSM_INLINE vec v_choose(vec a, vec b, choice c) { return _mm512_permutex2var_ps(a, c, b); }
CSM_INLINE real v_first(vec a) { return _mm512_cvtss_f32(a); }
CSM_INLINE vec v_lanes(void)
{
    return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

CSM_INLINE acc a_set(double a) { acc w = {_mm512_set1_pd(a), _mm512_set1_pd(a)}; return w; }
CSM_INLINE acc a_get(const double *p) { acc w = {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; return w; }
CSM_INLINE acc a_load(const double *p) { return a_get(p); }
CSM_INLINE void a_store(double *p, acc w) { _mm512_storeu_pd(p, w.a); _mm512_storeu_pd(p + 8, w.b); }
CSM_INLINE void a_put(double *p, acc w) { a_store(p, w); }
CSM_INLINE void a_put_first(double *p, acc w) { *p = _mm512_cvtsd_f64(w.a); }
CSM_INLINE acc a_pair(double hi, double lo) { return a_set(hi + lo); }
CSM_INLINE acc a_zero(void) { return a_set(0); }
CSM_INLINE acc a_of(vec v)
{
    acc w = {_mm512_cvtps_pd(_mm512_castps512_ps256(v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1))};
    return w;
}
CSM_INLINE acc a_sum(acc x, acc y) { return (acc){_mm512_add_pd(x.a, y.a), _mm512_add_pd(x.b, y.b)}; }
CSM_INLINE acc a_sub(acc x, acc y) { return (acc){_mm512_sub_pd(x.a, y.a), _mm512_sub_pd(x.b, y.b)}; }
CSM_INLINE acc a_mul(acc x, acc y) { return (acc){_mm512_mul_pd(x.a, y.a), _mm512_mul_pd(x.b, y.b)}; }
CSM_INLINE acc a_div(acc x, acc y) { return (acc){_mm512_div_pd(x.a, y.a), _mm512_div_pd(x.b, y.b)}; }
CSM_INLINE acc a_add(acc w, vec v) { return a_sum(w, a_of(v)); }
CSM_INLINE acc a_add_four(acc w, vec a, vec b, vec c, vec d, int T_is_1)
{
    (void)T_is_1;
    return a_add(w, v_add(v_add(a, b), v_add(c, d)));
}
CSM_INLINE acc a_add_product(acc w, vec a, vec b)
{
    acc x = a_of(a), y = a_of(b);
    w.a = _mm512_fmadd_pd(x.a, y.a, w.a);
    w.b = _mm512_fmadd_pd(x.b, y.b, w.b);
    return w;
}
CSM_INLINE vec a_round(acc w)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(w.a)), _mm512_cvtpd_ps(w.b), 1);
}
CSM_INLINE acc a_ratio(acc w, vec a) { return a_div(w, a_of(a)); }
CSM_INLINE acc a_unless(mask m, acc w)
{
    return (acc){_mm512_mask_blend_pd((__mmask8)m, w.a, _mm512_setzero_pd()),
                  _mm512_mask_blend_pd((__mmask8)(m >> 8), w.b, _mm512_setzero_pd())};
}
CSM_INLINE acc a_clamp(acc w, double most)
{
    const __m512d high = _mm512_set1_pd(most), low = _mm512_set1_pd(-most);
    return (acc){_mm512_max_pd(low, _mm512_min_pd(high, w.a)), _mm512_max_pd(low, _mm512_min_pd(high, w.b))};
}
CSM_INLINE void a_split(acc w, vec *hi, vec *lo)
{
    *hi = a_round(w);
    *lo = a_round(a_sub(w, a_of(*hi)));
}
CSM_INLINE acc a_hsum(acc w)
{
    __m512d s = _mm512_add_pd(w.a, w.b);
    s = _mm512_add_pd(s, _mm512_shuffle_f64x2(s, s, _MM_SHUFFLE(1, 0, 3, 2)));
    s = _mm512_add_pd(s, _mm512_shuffle_f64x2(s, s, _MM_SHUFFLE(2, 3, 0, 1)));
    s = _mm512_add_pd(s, _mm512_permute_pd(s, 0x55));
    w.a = w.b = s;
    return w;
}

#endif
