/* Whether labels are classes, in lanes. */
#ifndef CSM_CHECK_LABELS_H
#define CSM_CHECK_LABELS_H

#include "../block.h"
#include "../tuning.h"
#include "../vec/vec.h"

#define CHECK_LABELS(count)                                             \
    for (ptrdiff_t i = 0; i < (count); i++) {                           \
        const int64_t same = -(int64_t)(from[i] == ignored) & ignores;  \
        bad |= -(int64_t)((uint64_t)from[i] >= classes) & ~same;        \
        skips_row -= same;                                              \
        to[i] = (ptrdiff_t)(from[i] | same);                            \
    }

static int check_labels(ptrdiff_t *restrict to, const int64_t *restrict from, ptrdiff_t n, const csm_range *range,
                        ptrdiff_t *skipped)
{
    const uint64_t classes = (uint64_t)range->n;
    const int64_t ignored = range->ignored, ignores = -(int64_t)range->ignores;
    int64_t bad = 0, skips_row = 0;
    for (; n >= LABELS_AT_ONCE; n -= LABELS_AT_ONCE, from += LABELS_AT_ONCE, to += LABELS_AT_ONCE)
        CHECK_LABELS(LABELS_AT_ONCE)
    CHECK_LABELS(n)
    *skipped += (ptrdiff_t)skips_row;
    return !bad;
}

#endif
