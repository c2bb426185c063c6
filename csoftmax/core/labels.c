/* See labels.h. Includes convert.h, block.h. */
#include "labels.h"
#include "convert.h"
#include "block.h"
#include "tuning.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>

static int is_float(csm_dtype dtype) { return dtype < CSM_BOOL; }

/* Whether an integer of this dtype can be the ignored one; if so, it is `ignored` as an int64. */
static int can_ignore(csm_dtype from, const csm_labels *rule)
{
    return from == CSM_U64 ? rule->ignores == 2 || (rule->ignores == 1 && rule->ignored >= 0) : rule->ignores == 1;
}

/* Labels as they were read, and as int64: uint64 wraps, and floats that are not whole, or beyond, are `none`. */
typedef struct { double real[CONVERTED_AT_ONCE]; int64_t whole[CONVERTED_AT_ONCE]; } labels;

static void read_part(labels *to, const char *src, csm_dtype from, int swapped, ptrdiff_t stride, ptrdiff_t count,
                       int64_t none)
{
    if (!is_float(from)) {
        csm_read(to->whole, CSM_I64, src, from, swapped, stride, count);
        return;
    }
    csm_read(to->real, CSM_F64, src, from, swapped, stride, count);
    for (ptrdiff_t i = 0; i < count; i++) {
        const double v = to->real[i];
        to->whole[i] = fabs(v) < 0x1p63 && v == trunc(v) ? (int64_t)v : none;
    }
}

/* Says what is wrong with label i. */
static csm_status refuse(const labels *l, ptrdiff_t i, csm_dtype from, char *text, size_t size)
{
    if (!is_float(from)) {
        snprintf(text, size, from == CSM_U64 ? "%llu" : "%lld", (long long)l->whole[i]);
        return CSM_BAD_LABEL;
    }
    const double v = l->real[i];
    snprintf(text, size, "%.17g", v);
    return fabs(v) < INFINITY && v == trunc(v) ? CSM_BAD_LABEL : CSM_FRACTION;
}

csm_status csm_read_labels(ptrdiff_t *dst, ptrdiff_t step, const char *src, csm_dtype from, int swapped,
                           ptrdiff_t stride, ptrdiff_t count, csm_labels *rule)
{
    csm_check_labels *const check = csm_table_of(CSM_F32)->check_labels;
    const csm_range range = {rule->n, can_ignore(from, rule), rule->ignored};
    const int64_t none = rule->ignored == INT64_MIN ? INT64_MAX : INT64_MIN;    /* is never a label */
    for (ptrdiff_t i = 0; i < count; i += CONVERTED_AT_ONCE) {
        const ptrdiff_t n = count - i < CONVERTED_AT_ONCE ? count - i : CONVERTED_AT_ONCE;
        labels l;
        ptrdiff_t apart[CONVERTED_AT_ONCE], *const checked = step == 1 ? dst + i : apart;
        read_part(&l, src + i * stride, from, swapped, stride, n, none);
        if (!check(checked, l.whole, n, &range, &rule->skipped)) {
            ptrdiff_t k = 0, one;       /* those before it stay in dst */
            while (check(&one, l.whole + k, 1, &range, &rule->skipped))
                k++;
            rule->bad = i + k;
            return refuse(&l, k, from, rule->text, sizeof rule->text);
        }
        for (ptrdiff_t k = 0; step != 1 && k < n; k++)
            dst[(i + k) * step] = apart[k];
    }
    return CSM_OK;
}
