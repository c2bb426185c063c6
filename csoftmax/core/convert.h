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

/* Lines of numbers; distances in bytes. */
typedef struct {
    char *data;
    csm_dtype dtype;
    int swapped;                /* in the other byte order */
    ptrdiff_t stride, step;     /* from number to number, and from line to line */
} csm_lines;

/* `lines` lines of `count` numbers: those of any dtype to float32 or float64, or to their own dtype, and whole ones to
   CSM_I64 too, where uint64 wraps; float32 and float64 to floating numbers, rounded once. */
void csm_convert(csm_lines to, csm_lines from, ptrdiff_t count, ptrdiff_t lines);

/* One line, to adjacent native numbers and from these. */
static inline void csm_read(void *dst, csm_dtype to, const char *src, csm_dtype from, int swapped, ptrdiff_t stride,
                            ptrdiff_t count)
{
    const csm_lines near = {dst, to, 0, csm_itemsize(to), 0}, far = {(char *)src, from, swapped, stride, 0};
    csm_convert(near, far, count, 1);
}

static inline void csm_write(char *dst, csm_dtype to, int swapped, ptrdiff_t stride,
                             const void *src, csm_dtype from, ptrdiff_t count)
{
    const csm_lines far = {dst, to, swapped, stride, 0}, near = {(char *)src, from, 0, csm_itemsize(from), 0};
    csm_convert(far, near, count, 1);
}

#endif
