/* Labels of any integer dtype, or whole floats, to the numbers of classes. Includes csoftmax.h. */
#ifndef CSM_LABELS_H
#define CSM_LABELS_H

#include "csoftmax.h"

/* Which labels there may be, and what was found wrong. */
typedef struct {
    ptrdiff_t n;                /* labels are in [0, n) */
    int ignores;                /* 0: none; 1: `ignored`; 2: `ignored` + 2^64 */
    long long ignored;
    ptrdiff_t skipped;          /* how many were ignored, in all calls so far */
    ptrdiff_t bad;              /* index of the first bad label of the last call that failed */
    char text[32];              /* that label */
} csm_labels;

/* `count` labels at src, `stride` bytes apart, to dst, `step` entries apart: the label, or -1 where it is ignored.
   Each is read once: another thread may change it meanwhile. */
csm_status csm_read_labels(ptrdiff_t *dst, ptrdiff_t step, const char *src, csm_dtype from, int swapped,
                           ptrdiff_t stride, ptrdiff_t count, csm_labels *rule);

#endif
