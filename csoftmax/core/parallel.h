/* Work that threads share; all that the driver knows of threads. Includes csoftmax.h. */
#ifndef CSM_PARALLEL_H
#define CSM_PARALLEL_H

#include "csoftmax.h"

/* Threads for so much work, in float32 numbers of long rows, of which no more than `most` parts can be done at once. */
int csm_threads_for(ptrdiff_t work, ptrdiff_t most);

/* work(context, chunk, me) for each chunk of [0, chunks), by the caller, which is 0, and up to `threads` - 1 workers,
   each with a number of its own below `threads`. A thread that is done with a chunk takes the next. Returns when all
   are done; nobody waits for a worker that does not come. */
void csm_parallel_for(int threads, ptrdiff_t chunks, void (*work)(void *context, ptrdiff_t chunk, int me),
                      void *context);

/* Where threads meet. */
typedef struct csm_place csm_place;

/* work(context, place, me, n) by n threads at once: the caller, and those of `threads` - 1 workers that come soon. */
void csm_gather(int threads, void (*work)(void *context, csm_place *place, int me, int n), void *context);

/* Returns when all n have called it. */
void csm_meet(csm_place *place);

/* Whether this is a forked child of the process that called csm_guard_forks: there the caller does everything. */
int csm_is_forked(void);

#endif
