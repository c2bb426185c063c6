/* Numbers of any dtype, byte order and stride to and from adjacent float32 or float64. Includes csoftmax.h. */
#ifndef CSM_CONVERT_H
#define CSM_CONVERT_H

#include "csoftmax.h"

ptrdiff_t csm_itemsize(csm_dtype dtype);

/* Entry i of an array of float32 or float64. */
static inline void csm_put(void *to, csm_dtype dtype, ptrdiff_t i, double v)
{
    if (dtype == CSM_F32)
        ((float *)to)[i] = (float)v;
    else
        ((double *)to)[i] = v;
}

static inline double csm_get(const void *from, csm_dtype dtype, ptrdiff_t i)
{
    return dtype == CSM_F32 ? ((const float *)from)[i] : ((const double *)from)[i];
}

/* v, or for CSM_F32 the float32 next to it. */
double csm_rounded(double v, csm_dtype dtype);

/* `count` numbers at src, `stride` bytes apart, to float32 or float64, or to their own dtype, at dst; whole ones to
   CSM_I64 too, where uint64 wraps. */
void csm_read(void *dst, csm_dtype to, const char *src, csm_dtype from, int swapped, ptrdiff_t stride, ptrdiff_t count);

/* `count` float32 or float64 (`from`) at src to floating numbers (`to`) at dst, `stride` bytes apart, rounded once; or
   numbers to their own dtype. */
void csm_write(char *dst, csm_dtype to, int swapped, ptrdiff_t stride,
               const void *src, csm_dtype from, ptrdiff_t count);

/* v to those of `count` adjacent float32 or float64 where `where` is 0. */
void csm_hide(char *x, csm_dtype dtype, const char *where, ptrdiff_t count, double v);

#endif
