/* Eight lanes of float32: AVX2, FMA, F16C. Operations as in README.md.
   Partial stores copy lanes one by one: vmaskmov stores are slow on AMD. */
#ifndef CSM_VEC_AVX2_F32_H
#define CSM_VEC_AVX2_F32_H

#include "../isa/target.h"

typedef float elem;
typedef float real;
typedef __m256 vec;
typedef __m256 mask;
typedef struct { __m256d a, b; } acc;      /* lanes 0..3 and 4..7 */
#define V_LANES 8
#define ACC_SIZE V_LANES
#define V_GROUP 4
#define V_TABLE 1
#define V_LOG2_LANES 3
#define V_FUSED 1
#define V_CHOICE
#define V_HALF

CSM_INLINE __m256i lanes_below(ptrdiff_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

CSM_INLINE mask m_first(ptrdiff_t n) { return _mm256_castsi256_ps(lanes_below(n)); }

CSM_INLINE vec v_set(real a) { return _mm256_set1_ps(a); }
CSM_INLINE vec v_load(const elem *p) { return _mm256_loadu_ps(p); }
CSM_INLINE void v_store(elem *p, vec v) { _mm256_storeu_ps(p, v); }
CSM_INLINE void v_stream(elem *p, vec v) { _mm256_stream_si256((__m256i *)p, _mm256_castps_si256(v)); }
CSM_INLINE void v_drain(void) { _mm_sfence(); }
CSM_INLINE vec v_load_n(const elem *p, ptrdiff_t n, real fill)
{
    __m256i first = lanes_below(n);
    __m256 loaded = _mm256_maskload_ps(p, first);
    return __builtin_constant_p(fill == 0) && fill == 0 ? loaded
         : _mm256_blendv_ps(v_set(fill), loaded, _mm256_castsi256_ps(first));
}
CSM_INLINE void v_store_n(elem *p, vec v, ptrdiff_t n)
{
    __m128 part = _mm256_castps256_ps128(v);
    if (n == V_LANES) {
        v_store(p, v);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, part);
}
CSM_INLINE vec v_get(const real *p) { return _mm256_loadu_ps(p); }
CSM_INLINE void v_put(real *p, vec v) { _mm256_storeu_ps(p, v); }
/* By the lower half of each. */
CSM_INLINE vec v_of_ints(const ptrdiff_t *p)
{
    __m256 low = _mm256_loadu_ps((const float *)p), high = _mm256_loadu_ps((const float *)(p + 4));
    __m256d pairs = _mm256_castps_pd(_mm256_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
    return _mm256_cvtepi32_ps(_mm256_castpd_si256(_mm256_permute4x64_pd(pairs, _MM_SHUFFLE(3, 1, 2, 0))));
}

CSM_INLINE vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
CSM_INLINE vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
CSM_INLINE vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
CSM_INLINE vec v_div(vec a, vec b) { return _mm256_div_ps(a, b); }
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
CSM_INLINE vec v_mul_err(vec a, vec b, vec p) { return _mm256_fmsub_ps(a, b, p); }
CSM_INLINE vec v_max(vec a, vec b) { return _mm256_max_ps(a, b); }
CSM_INLINE vec v_min(vec a, vec b) { return _mm256_min_ps(a, b); }
CSM_INLINE vec v_abs(vec a) { return _mm256_andnot_ps(v_set(-0.0f), a); }

CSM_INLINE mask v_eq(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
CSM_INLINE mask v_ne(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
CSM_INLINE mask v_lt(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
CSM_INLINE mask v_le(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
CSM_INLINE vec v_select(mask m, vec a, vec b) { return _mm256_blendv_ps(b, a, m); }
CSM_INLINE vec v_where(mask m, vec a) { return _mm256_and_ps(m, a); }
CSM_INLINE vec v_unless(mask m, vec a) { return _mm256_andnot_ps(m, a); }
CSM_INLINE vec v_count(vec c, mask m)       /* a mask is -1 */
{
    return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(c), _mm256_castps_si256(m)));
}
CSM_INLINE vec v_counted(vec c) { return _mm256_cvtepi32_ps(_mm256_castps_si256(c)); }
CSM_INLINE mask m_or(mask a, mask b) { return _mm256_or_ps(a, b); }
CSM_INLINE int m_any(mask m) { return _mm256_movemask_ps(m) != 0; }

CSM_INLINE vec v_load_half(const char *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
/* What rounds to 0 is 0 before: the conversion would take it for an underflow. */
CSM_INLINE void v_store_half(char *p, vec v)
{
    const __m256i size = _mm256_castps_si256(v_abs(v)), least = _mm256_castps_si256(v_set(0x1p-25f));
    v = _mm256_and_ps(v, _mm256_or_ps(v_set(-0.0f), _mm256_castsi256_ps(_mm256_cmpgt_epi32(size, least))));
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
CSM_INLINE vec v_load_bfloat(const char *p)
{
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}
CSM_INLINE void v_store_bfloat(char *p, vec v)
{
    __m256i bits = _mm256_castps_si256(v), nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    _mm_storeu_si128((__m128i *)p, packed);
}

CSM_INLINE vec v_power(vec a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23)); }

CSM_INLINE vec v_rough_ratio(real a, vec b)
{
    const __m256i one = _mm256_castps_si256(v_set(1)), of_a = _mm256_castps_si256(v_set(a));
    return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_add_epi32(of_a, one), _mm256_castps_si256(b)));
}
CSM_INLINE vec v_lower(vec a)
{
    return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(126 << 23)));
}
CSM_INLINE vec v_subnormal(vec a)
{
    const __m256i whole = _mm256_castps_si256(v_add(v_abs(a), v_set(0x1p23f)));
    const __m256i bits = _mm256_sub_epi32(whole, _mm256_castps_si256(v_set(0x1p23f)));
    return _mm256_or_ps(_mm256_and_ps(a, v_set(-0.0f)), _mm256_castsi256_ps(bits));
}
CSM_INLINE vec v_exponent(vec a)
{
    __m256i n = _mm256_srli_epi32(_mm256_castps_si256(v_abs(a)), 23);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(n, _mm256_set1_epi32(127)));
}

CSM_INLINE vec v_swap_lanes(vec a, int i)
{
    return i == 2 ? _mm256_permute2f128_ps(a, a, 1)
         : i == 1 ? _mm256_permute_ps(a, _MM_SHUFFLE(1, 0, 3, 2)) : _mm256_permute_ps(a, _MM_SHUFFLE(2, 3, 0, 1));
}
CSM_INLINE vec v_zip_lo(vec a, vec b, int i)
{
    return i == 2 ? _mm256_permute2f128_ps(a, b, 0x20)
         : i == 1 ? _mm256_shuffle_ps(a, b, 0x44) : _mm256_blend_ps(a, _mm256_moveldup_ps(b), 0xaa);
}
CSM_INLINE vec v_zip_hi(vec a, vec b, int i)
{
    return i == 2 ? _mm256_permute2f128_ps(a, b, 0x31)
         : i == 1 ? _mm256_shuffle_ps(a, b, 0xee) : _mm256_blend_ps(_mm256_movehdup_ps(a), b, 0xaa);
}
typedef __m256i choice;
CSM_INLINE choice v_choice(const unsigned char *p) { return _mm256_cvtepu8_epi32(_mm_loadu_si128((const void *)p)); }
CSM_INLINE vec v_choose(vec a, vec b, choice c)
{
    const vec from_b = _mm256_castsi256_ps(_mm256_slli_epi32(c, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(a, c), _mm256_permutevar8x32_ps(b, c), from_b);
}
CSM_INLINE real v_first(vec a) { return _mm256_cvtss_f32(a); }
CSM_INLINE vec v_lanes(void) { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }

CSM_INLINE acc a_set(double a) { acc w = {_mm256_set1_pd(a), _mm256_set1_pd(a)}; return w; }
CSM_INLINE acc a_get(const double *p) { acc w = {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; return w; }
CSM_INLINE acc a_load(const double *p) { return a_get(p); }
CSM_INLINE void a_store(double *p, acc w) { _mm256_storeu_pd(p, w.a); _mm256_storeu_pd(p + 4, w.b); }
CSM_INLINE void a_put(double *p, acc w) { a_store(p, w); }
CSM_INLINE void a_put_first(double *p, acc w) { *p = _mm256_cvtsd_f64(w.a); }
CSM_INLINE acc a_pair(double hi, double lo) { return a_set(hi + lo); }
CSM_INLINE acc a_zero(void) { return a_set(0); }
CSM_INLINE acc a_of(vec v)
{
    acc w = {_mm256_cvtps_pd(_mm256_castps256_ps128(v)), _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1))};
    return w;
}
CSM_INLINE acc a_sum(acc x, acc y) { return (acc){_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b)}; }
CSM_INLINE acc a_sub(acc x, acc y) { return (acc){_mm256_sub_pd(x.a, y.a), _mm256_sub_pd(x.b, y.b)}; }
CSM_INLINE acc a_mul(acc x, acc y) { return (acc){_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b)}; }
CSM_INLINE acc a_div(acc x, acc y) { return (acc){_mm256_div_pd(x.a, y.a), _mm256_div_pd(x.b, y.b)}; }
CSM_INLINE acc a_add(acc w, vec v) { return a_sum(w, a_of(v)); }
CSM_INLINE acc a_add_four(acc w, vec a, vec b, vec c, vec d, int T_is_1)
{
    (void)T_is_1;
    return a_add(a_add(w, v_add(a, b)), v_add(c, d));
}
CSM_INLINE acc a_add_product(acc w, vec a, vec b)
{
    acc x = a_of(a), y = a_of(b);
    w.a = _mm256_fmadd_pd(x.a, y.a, w.a);
    w.b = _mm256_fmadd_pd(x.b, y.b, w.b);
    return w;
}
CSM_INLINE vec a_round(acc w)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(w.a)), _mm256_cvtpd_ps(w.b), 1);
}
CSM_INLINE acc a_ratio(acc w, vec a) { return a_div(w, a_of(a)); }
CSM_INLINE acc a_unless(mask m, acc w)
{
    const __m128 low = _mm256_castps256_ps128(m), high = _mm256_extractf128_ps(m, 1);
    return (acc){_mm256_andnot_pd(_mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm_castps_si128(low))), w.a),
                  _mm256_andnot_pd(_mm256_castsi256_pd(_mm256_cvtepi32_epi64(_mm_castps_si128(high))), w.b)};
}
CSM_INLINE acc a_clamp(acc w, double most)
{
    const __m256d high = _mm256_set1_pd(most), low = _mm256_set1_pd(-most);
    return (acc){_mm256_max_pd(low, _mm256_min_pd(high, w.a)), _mm256_max_pd(low, _mm256_min_pd(high, w.b))};
}
CSM_INLINE void a_split(acc w, vec *hi, vec *lo)
{
    *hi = a_round(w);
    *lo = a_round(a_sub(w, a_of(*hi)));
}
CSM_INLINE acc a_hsum(acc w)
{
    __m256d s = _mm256_add_pd(w.a, w.b);
    s = _mm256_add_pd(s, _mm256_permute2f128_pd(s, s, 1));
    s = _mm256_add_pd(s, _mm256_permute_pd(s, 5));
    w.a = w.b = s;
    return w;
}

#endif
