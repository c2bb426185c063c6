/* Rows of various lengths, side by side: cut into chunks of even work, and computed one by one, each by the kernel that
   a call on it alone would choose. Includes plan.h, parallel.h, tuning.h. */
#include "plan.h"
#include "parallel.h"
#include "tuning.h"

#include <math.h>

/* What threads share: the rows before which chunk i begins do offset[i] + i ROW_WORK of the work. */
typedef struct {
    const plan *p;
    const csm_block *first;             /* the block of row 0 */
    ptrdiff_t begin, end, chunks;       /* rows of the slice, and in how many chunks they go */
} slice;

/* The work of the rows before row i, in numbers of long rows. */
static ptrdiff_t work_before(const plan *p, ptrdiff_t i) { return p->call->offset[i] + i * ROW_WORK; }

/* The first row of [begin, count] before which there is so much work. */
static ptrdiff_t row_after(const plan *p, ptrdiff_t begin, ptrdiff_t work)
{
    ptrdiff_t end = p->count;
    while (begin < end) {
        const ptrdiff_t middle = begin + (end - begin) / 2;
        if (work_before(p, middle) < work)
            begin = middle + 1;
        else
            end = middle;
    }
    return end;
}

static ptrdiff_t first_of_chunk(const slice *s, ptrdiff_t i)
{
    const ptrdiff_t before = work_before(s->p, s->begin), work = work_before(s->p, s->end) - before;
    return i == s->chunks ? s->end : row_after(s->p, s->begin, before + work / s->chunks * i);
}

/* Of a row without classes: there is no sum, and no loss. */
static void write_nothing(const plan *p, const csm_block *b)
{
    if (b->r)
        csm_put(b->r, csm_result_dtype(p->call), 0, p->call->op == CSM_LOGSUMEXP ? -HUGE_VAL : 0);
}

static void compute_rows(void *job, ptrdiff_t chunk, int me)
{
    const slice *s = job;
    const plan *p = s->p;
    const ptrdiff_t *offset = p->call->offset, size = csm_itemsize(p->call->dtype);
    const ptrdiff_t begin = first_of_chunk(s, chunk), end = first_of_chunk(s, chunk + 1);
    csm_block row = *s->first;
    (void)me;
    csm_skip_per_row(&row, begin, size);
    for (ptrdiff_t i = begin; i < end; i++) {
        row.n = offset[i + 1] - offset[i];
        row.x = (const char *)s->first->x + offset[i] * size;
        row.g = s->first->g ? (const char *)s->first->g + offset[i] * size : NULL;
        row.y = s->first->y ? (char *)s->first->y + offset[i] * size : NULL;
        row.xs = row.gs = row.ys = row.n;
        if (row.n)
            csm_choose_kernel(&row, p->table, p->call->op, CSM_ROWS, 1, 1)(&row);
        else
            write_nothing(p, &row);
        csm_skip_per_row(&row, 1, size);
    }
}

ptrdiff_t csm_work_of_segments(const plan *p) { return work_before(p, p->count); }

csm_status csm_run_segments(plan *p, const csm_block *first)
{
    slice s = {.p = p, .first = first};
    for (s.begin = 0; s.begin < p->count; s.begin = s.end) {
        if (s.begin && csm_is_stopped(p))
            return CSM_INTERRUPTED;
        const ptrdiff_t before = work_before(p, s.begin);
        const ptrdiff_t end = row_after(p, s.begin, before + p->threads * SLICE_ELEMENTS);
        s.end = end > s.begin ? end : s.begin + 1;
        const ptrdiff_t most = (work_before(p, s.end) - before) / CHUNK_ELEMENTS + 1;
        s.chunks = p->threads == 1 ? 1 : (ptrdiff_t)p->threads * CHUNKS_PER_THREAD;
        s.chunks = s.chunks < most ? s.chunks : most;
        csm_parallel_for(p->threads, s.chunks, compute_rows, &s);
    }
    return CSM_OK;
}
