/* See convert.h. The one place that knows what the dtypes are in memory. */
#include "convert.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

ptrdiff_t csm_itemsize(csm_dtype dtype)
{
    static const unsigned char size[CSM_DTYPES] = {
        [CSM_F32] = 4, [CSM_F64] = 8, [CSM_BOOL] = 1, [CSM_I8] = 1, [CSM_U8] = 1, [CSM_I16] = 2,
        [CSM_U16] = 2, [CSM_I32] = 4, [CSM_U32] = 4, [CSM_I64] = 8, [CSM_U64] = 8,
    };
    return size[dtype];
}

/* Copies a number that need not be aligned, turning its bytes around if asked. */
static inline void fetch(void *to, const char *from, size_t size, int swapped)
{
    memcpy(to, from, size);
    if (swapped)
        for (size_t i = 0; i < size / 2; i++) {
            char *c = to, t = c[i];
            c[i] = c[size - 1 - i];
            c[size - 1 - i] = t;
        }
}

#define READ(type)                                          \
    for (ptrdiff_t i = 0; i < count; i++) {                 \
        type v;                                             \
        fetch(&v, src + i * stride, sizeof v, swapped);     \
        if (to == CSM_F32)                                  \
            ((float *)dst)[i] = (float)v;                   \
        else                                                \
            ((double *)dst)[i] = (double)v;                 \
    }                                                       \
    break

void csm_read(void *dst, csm_dtype to, const char *src, csm_dtype from, int swapped, ptrdiff_t stride, ptrdiff_t count)
{
    switch (from) {
    case CSM_F32: READ(float);
    case CSM_F64: READ(double);
    case CSM_I8: READ(int8_t);
    case CSM_I16: READ(int16_t);
    case CSM_I32: READ(int32_t);
    case CSM_I64: READ(int64_t);
    case CSM_BOOL:
    case CSM_U8: READ(uint8_t);
    case CSM_U16: READ(uint16_t);
    case CSM_U32: READ(uint32_t);
    case CSM_U64: READ(uint64_t);
    case CSM_DTYPES: break;
    }
}

#define WRITE(type)                                                                             \
    for (ptrdiff_t i = 0; i < count; i++) {                                                     \
        type v = (type)(from == CSM_F32 ? ((const float *)src)[i] : ((const double *)src)[i]);  \
        fetch(dst + i * stride, (const char *)&v, sizeof v, swapped);                           \
    }

void csm_write(char *dst, csm_dtype to, int swapped, ptrdiff_t stride, const void *src, csm_dtype from, ptrdiff_t count)
{
    if (to == CSM_F32) {
        WRITE(float)
    } else {
        WRITE(double)
    }
}

/* `whole` and `fits` say whether v can be a long long, `big` whether it wraps there; `format` prints it. */
#define LABELS(type, whole, fits, big, format, printed)                         \
    for (ptrdiff_t i = 0; i < count; i++) {                                     \
        type v;                                                                 \
        fetch(&v, src + i * stride, sizeof v, swapped);                         \
        long long label = (fits) ? (long long)v : -1;                           \
        int ignored = rule->ignores == 1 + (big) && label == rule->ignored;     \
        if (!(whole) || (!ignored && (label < 0 || label >= rule->n))) {        \
            rule->bad = i;                                                      \
            snprintf(rule->text, sizeof rule->text, format, (printed)v);        \
            return (whole) ? CSM_BAD_LABEL : CSM_FRACTION;                      \
        }                                                                       \
        dst[i * step] = ignored ? -1 : (ptrdiff_t)label;                        \
    }                                                                           \
    break

#define NARROW(type) LABELS(type, 1, 1, 0, "%lld", long long)
#define FLOAT(type)                                                                     \
    LABELS(type, fabs((double)v) < INFINITY && v == trunc((double)v),                   \
           fabs((double)v) < 0x1p63, 0, "%.17g", double)

csm_status csm_read_labels(ptrdiff_t *dst, ptrdiff_t step, const char *src, csm_dtype from, int swapped,
                           ptrdiff_t stride, ptrdiff_t count, csm_labels *rule)
{
    switch (from) {
    case CSM_I8: NARROW(int8_t);
    case CSM_I16: NARROW(int16_t);
    case CSM_I32: NARROW(int32_t);
    case CSM_I64: NARROW(int64_t);
    case CSM_U8: NARROW(uint8_t);
    case CSM_U16: NARROW(uint16_t);
    case CSM_U32: NARROW(uint32_t);
    case CSM_U64: LABELS(uint64_t, 1, 1, v > INT64_MAX, "%llu", unsigned long long);
    case CSM_F32: FLOAT(float);
    case CSM_F64: FLOAT(double);
    case CSM_BOOL:
    case CSM_DTYPES: break;
    }
    return CSM_OK;
}
