/* Classes that take no part. */
#ifndef CSM_HIDE_H
#define CSM_HIDE_H

#include "../tuning.h"
#include "../vec/vec.h"

/* By a choice rather than a branch, which would be foreseen as badly as a mask is random. */
CSM_INLINE void hide_run(elem *restrict x, const char *restrict where, ptrdiff_t count, real v)
{
    for (ptrdiff_t i = 0; i < count; i++)
        x[i] = where[i] ? x[i] : v;
}

/* v to those of n adjacent numbers whose byte in `where` is 0. */
static void hide(void *numbers, const char *restrict where, ptrdiff_t n, double value)
{
    elem *restrict x = numbers;
    const real v = (real)value;
    for (; n >= HIDDEN_AT_ONCE; n -= HIDDEN_AT_ONCE, x += HIDDEN_AT_ONCE, where += HIDDEN_AT_ONCE)
        hide_run(x, where, HIDDEN_AT_ONCE, v);
    hide_run(x, where, n, v);
}

#endif
