/* Four lanes of float32 in 128 bits, by NEON or SSE2. Operations as in README.md.
   What gcc and clang have operators for is written once; the intrinsics stand together, for each CPU. */
#ifndef CSM_VEC_V128_F32_H
#define CSM_VEC_V128_F32_H

#include "../isa/target.h"

typedef float elem;
typedef float real;
typedef float vec __attribute__((vector_size(16)));
typedef int32_t mask __attribute__((vector_size(16)));      /* -1 where true, else 0 */
typedef uint32_t words __attribute__((vector_size(16)));
typedef double doubles __attribute__((vector_size(16)));
typedef float vec_in_memory __attribute__((vector_size(16), aligned(4), may_alias));
typedef double doubles_in_memory __attribute__((vector_size(16), aligned(8), may_alias));
typedef struct { doubles a, b; } acc;                       /* lanes 0 and 1, 2 and 3 */
#define V_LANES 4
#define ACC_SIZE V_LANES
#define V_GROUP 4
#define V_TABLE 1
#define V_LOG2_LANES 2
#define V_HALF

CSM_INLINE vec v_set(real a) { return (vec){a, a, a, a}; }
CSM_INLINE vec v_load(const elem *p) { return *(const vec_in_memory *)p; }
CSM_INLINE void v_store(elem *p, vec v) { *(vec_in_memory *)p = v; }
CSM_INLINE words w_set(uint32_t a) { return (words){a, a, a, a}; }
CSM_INLINE vec v_select(mask m, vec a, vec b) { return (vec)(((words)a & (words)m) | ((words)b & ~(words)m)); }
CSM_INLINE vec v_where(mask m, vec a) { return (vec)((words)a & (words)m); }
CSM_INLINE vec v_unless(mask m, vec a) { return (vec)((words)a & ~(words)m); }

#ifdef __AARCH64EL__

#define V_FUSED 1
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return vfmsq_f32(c, a, b); }
CSM_INLINE vec v_mul_err(vec a, vec b, vec p) { return vfmaq_f32(-p, a, b); }
/* FMAX makes NaN of NaN, and FMAXNM the other number, whichever it is. */
CSM_INLINE vec v_max(vec a, vec b) { return v_select(a > b, a, b); }
CSM_INLINE vec v_min(vec a, vec b) { return v_select(a < b, a, b); }
CSM_INLINE int m_any(mask m) { return vmaxvq_u32((words)m) != 0; }
CSM_INLINE void v_stream(elem *p, vec v) { v_store(p, v); }
CSM_INLINE void v_drain(void) { }

CSM_INLINE doubles of_low(vec v) { return vcvt_f64_f32(vget_low_f32(v)); }
CSM_INLINE doubles of_high(vec v) { return vcvt_high_f64_f32(v); }
CSM_INLINE vec of_doubles(doubles a, doubles b) { return vcvt_high_f32_f64(vcvt_f32_f64(a), b); }
CSM_INLINE doubles d_fma(doubles a, doubles b, doubles c) { return vfmaq_f64(c, a, b); }

CSM_INLINE uint16x4_t load_16(const char *p)
{
    uint64_t bits;
    memcpy(&bits, p, sizeof bits);
    return vcreate_u16(bits);
}
CSM_INLINE void store_16(char *p, uint16x4_t v)
{
    const uint64_t bits = vget_lane_u64(vreinterpret_u64_u16(v), 0);
    memcpy(p, &bits, sizeof bits);
}
CSM_INLINE words load_upper(const char *p) { return vshll_n_u16(load_16(p), 16); }
CSM_INLINE void store_upper(char *p, words w) { store_16(p, vshrn_n_u32(w, 16)); }
CSM_INLINE vec v_load_half(const char *p) { return vcvt_f32_f16(vreinterpret_f16_u16(load_16(p))); }
CSM_INLINE void v_store_half(char *p, vec v) { store_16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }

#else

#define V_FUSED 0
CSM_INLINE vec v_fma(vec a, vec b, vec c) { return a * b + c; }
CSM_INLINE vec v_fnma(vec a, vec b, vec c) { return c - a * b; }
CSM_INLINE vec v_max(vec a, vec b) { return _mm_max_ps(a, b); }
CSM_INLINE vec v_min(vec a, vec b) { return _mm_min_ps(a, b); }
CSM_INLINE int m_any(mask m) { return _mm_movemask_ps((vec)m) != 0; }
CSM_INLINE void v_stream(elem *p, vec v) { _mm_stream_si128((__m128i *)p, (__m128i)v); }
CSM_INLINE void v_drain(void) { _mm_sfence(); }

CSM_INLINE doubles of_low(vec v) { return _mm_cvtps_pd(v); }
CSM_INLINE doubles of_high(vec v) { return _mm_cvtps_pd(_mm_movehl_ps(v, v)); }
CSM_INLINE vec of_doubles(doubles a, doubles b) { return _mm_movelh_ps(_mm_cvtpd_ps(a), _mm_cvtpd_ps(b)); }
CSM_INLINE doubles d_fma(doubles a, doubles b, doubles c) { return a * b + c; }
/* Products of two float32 are exact as doubles. */
static CSM_SHARED vec v_mul_err(vec a, vec b, vec p)
{
    return of_doubles(of_low(a) * of_low(b) - of_low(p), of_high(a) * of_high(b) - of_high(p));
}

CSM_INLINE words load_upper(const char *p)
{
    return (words)_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64((const __m128i *)p));
}
CSM_INLINE void store_upper(char *p, words w)
{
    const __m128i upper = _mm_srai_epi32((__m128i)w, 16);
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi32(upper, upper));
}
/* 2^112 moves the exponent's offset from 15 to 127, and makes subnormals normal; above stand infinity and NaN. */
CSM_INLINE vec v_load_half(const char *p)
{
    const words bits = load_upper(p), size = bits >> 3 & 0x0fffe000;
    const words special = (words)(size >= 0x7c00u << 13) & 0x7f800000;
    return (vec)((bits & 0x80000000) | special | (words)((vec)size * 0x1p112f));
}
/* From 65520 on the nearest is infinity. Below the normal numbers, 1/2 has the subnormals' last place. */
CSM_INLINE void v_store_half(char *p, vec v)
{
    const words sign = (words)v & 0x80000000, bits = (words)v & 0x7fffffff;
    const mask size = (mask)bits;
    const words normal = (bits + 0xfff + (bits >> 13 & 1) - (112u << 23)) << 3;
    const words subnormal = ((words)((vec)bits + 0.5f) - 0x3f000000) << 16;
    vec half = v_select(size < 0x38800000, (vec)subnormal, (vec)normal);
    half = v_select(size < 0x477ff000, half, (vec)w_set(0x7c000000));
    half = v_select(size > 0x7f800000, (vec)w_set(0x7e000000), half);
    store_upper(p, sign | (words)half);
}

#endif

CSM_INLINE mask m_first(ptrdiff_t n) { return (mask){0, 1, 2, 3} < (int32_t)n; }
CSM_INLINE vec v_load_n(const elem *p, ptrdiff_t n, real fill)
{
    if (n == V_LANES)
        return v_load(p);
    if (n & 2)
        return (vec){p[0], p[1], n & 1 ? p[2] : fill, fill};
    return (vec){n ? p[0] : fill, fill, fill, fill};
}
CSM_INLINE void v_store_n(elem *p, vec v, ptrdiff_t n)
{
    if (n == V_LANES) {
        v_store(p, v);
        return;
    }
    if (n & 2) {
        const double pair = ((doubles)v)[0];
        memcpy(p, &pair, sizeof pair);
        v = (vec){v[2], v[3], v[2], v[3]};
        p += 2;
    }
    if (n & 1)
        *p = v[0];
}
CSM_INLINE vec v_get(const real *p) { return v_load(p); }
CSM_INLINE void v_put(real *p, vec v) { v_store(p, v); }
/* By the lower half of each. */
CSM_INLINE vec v_of_ints(const ptrdiff_t *p)
{
    const vec low = v_load((const float *)p), high = v_load((const float *)(p + 2));
    return __builtin_convertvector((mask)(vec){low[0], low[2], high[0], high[2]}, vec);
}

CSM_INLINE vec v_add(vec a, vec b) { return a + b; }
CSM_INLINE vec v_sub(vec a, vec b) { return a - b; }
CSM_INLINE vec v_mul(vec a, vec b) { return a * b; }
CSM_INLINE vec v_div(vec a, vec b) { return a / b; }
CSM_INLINE vec v_abs(vec a) { return (vec)((words)a & 0x7fffffff); }

CSM_INLINE mask v_eq(vec a, vec b) { return a == b; }
CSM_INLINE mask v_ne(vec a, vec b) { return a != b; }
CSM_INLINE mask v_lt(vec a, vec b) { return a < b; }
CSM_INLINE mask v_le(vec a, vec b) { return a <= b; }
CSM_INLINE vec v_count(vec c, mask m) { return (vec)((mask)c - m); }
CSM_INLINE vec v_counted(vec c) { return __builtin_convertvector((mask)c, vec); }
CSM_INLINE mask m_or(mask a, mask b) { return a | b; }

CSM_INLINE vec v_load_bfloat(const char *p) { return (vec)load_upper(p); }
CSM_INLINE void v_store_bfloat(char *p, vec v)
{
    const words bits = (words)v, rounded = bits + 0x7fff + (bits >> 16 & 1), quiet = bits | 0x400000;
    store_upper(p, (words)v_select(v == v, (vec)rounded, (vec)quiet));
}

CSM_INLINE vec v_power(vec a) { return (vec)((words)a << 23); }
CSM_INLINE vec v_rough_ratio(real a, vec b) { return (vec)((words)v_set(a) + (words)v_set(1) - (words)b); }
CSM_INLINE vec v_lower(vec a) { return (vec)((words)a - (126u << 23)); }
CSM_INLINE vec v_subnormal(vec a)
{
    const words bits = (words)(v_abs(a) + v_set(0x1p23f)) - (words)v_set(0x1p23f);
    return (vec)(((words)a & 0x80000000) | bits);
}
CSM_INLINE vec v_exponent(vec a)
{
    return __builtin_convertvector((mask)((words)v_abs(a) >> 23) - 127, vec);
}

CSM_INLINE vec v_swap_lanes(vec a, int i)
{
    return i ? (vec){a[2], a[3], a[0], a[1]} : (vec){a[1], a[0], a[3], a[2]};
}
CSM_INLINE vec v_zip_lo(vec a, vec b, int i)
{
    return i ? (vec){a[0], a[1], b[0], b[1]} : (vec){a[0], b[0], a[2], b[2]};
}
CSM_INLINE vec v_zip_hi(vec a, vec b, int i)
{
    return i ? (vec){a[2], a[3], b[2], b[3]} : (vec){a[1], b[1], a[3], b[3]};
}
CSM_INLINE real v_first(vec a) { return a[0]; }
CSM_INLINE vec v_lanes(void) { return (vec){0, 1, 2, 3}; }

CSM_INLINE doubles d_set(double a) { return (doubles){a, a}; }
CSM_INLINE doubles d_load(const double *p) { return *(const doubles_in_memory *)p; }
CSM_INLINE acc a_set(double a) { return (acc){d_set(a), d_set(a)}; }
CSM_INLINE acc a_get(const double *p) { return (acc){d_load(p), d_load(p + 2)}; }
CSM_INLINE acc a_load(const double *p) { return a_get(p); }
CSM_INLINE void a_store(double *p, acc w)
{
    *(doubles_in_memory *)p = w.a;
    *(doubles_in_memory *)(p + 2) = w.b;
}
CSM_INLINE void a_put(double *p, acc w) { a_store(p, w); }
CSM_INLINE void a_put_first(double *p, acc w) { *p = w.a[0]; }
CSM_INLINE acc a_pair(double hi, double lo) { return a_set(hi + lo); }
CSM_INLINE acc a_zero(void) { return a_set(0); }
CSM_INLINE acc a_of(vec v) { return (acc){of_low(v), of_high(v)}; }
CSM_INLINE acc a_sum(acc x, acc y) { return (acc){x.a + y.a, x.b + y.b}; }
CSM_INLINE acc a_sub(acc x, acc y) { return (acc){x.a - y.a, x.b - y.b}; }
CSM_INLINE acc a_mul(acc x, acc y) { return (acc){x.a * y.a, x.b * y.b}; }
CSM_INLINE acc a_div(acc x, acc y) { return (acc){x.a / y.a, x.b / y.b}; }
CSM_INLINE acc a_add(acc w, vec v) { return a_sum(w, a_of(v)); }
CSM_INLINE acc a_add_four(acc w, vec a, vec b, vec c, vec d, int T_is_1)
{
    (void)T_is_1;
    return a_add(a_add(w, a + b), c + d);
}
CSM_INLINE acc a_add_product(acc w, vec a, vec b)
{
    const acc x = a_of(a), y = a_of(b);
    return (acc){d_fma(x.a, y.a, w.a), d_fma(x.b, y.b, w.b)};
}
CSM_INLINE vec a_round(acc w) { return of_doubles(w.a, w.b); }
CSM_INLINE acc a_ratio(acc w, vec a) { return a_div(w, a_of(a)); }
CSM_INLINE acc a_unless(mask m, acc w)
{
    const mask a = {m[0], m[0], m[1], m[1]}, b = {m[2], m[2], m[3], m[3]};
    return (acc){(doubles)v_unless(a, (vec)w.a), (doubles)v_unless(b, (vec)w.b)};
}
/* NaN is neither more nor less. */
CSM_INLINE doubles d_clamp(doubles a, double most)
{
    const doubles high = d_set(most), low = d_set(-most);
    a = (doubles)v_select((mask)(a > high), (vec)high, (vec)a);
    return (doubles)v_select((mask)(a < low), (vec)low, (vec)a);
}
CSM_INLINE acc a_clamp(acc w, double most) { return (acc){d_clamp(w.a, most), d_clamp(w.b, most)}; }
CSM_INLINE void a_split(acc w, vec *hi, vec *lo)
{
    *hi = a_round(w);
    *lo = a_round(a_sub(w, a_of(*hi)));
}
CSM_INLINE acc a_hsum(acc w)
{
    const doubles s = w.a + w.b, all = s + (doubles){s[1], s[0]};
    return (acc){all, all};
}

#endif
