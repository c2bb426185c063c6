/* Threads that take part in calls: workers, which wait for them. Nobody waits for a worker that does not come. Includes
   csoftmax.h. */
#ifndef CSM_POOL_H
#define CSM_POOL_H

#include "csoftmax.h"

/* work(with, piece, me) for each piece of [0, pieces), by the caller, which is 0, and up to `threads` - 1 workers, each
   with a number of its own below `threads`. Who is done with a piece takes the next. */
void csm_share(int threads, ptrdiff_t pieces, void (*work)(void *with, ptrdiff_t piece, int me), void *with);

/* Where threads meet. */
typedef struct csm_place csm_place;

/* work(with, place, me, n) by n threads at once: the caller, and those of `threads` - 1 workers that come soon. */
void csm_gather(int threads, void (*work)(void *with, csm_place *place, int me, int n), void *with);

/* Returns when all n have called it. */
void csm_meet(csm_place *place);

/* Whether this is a forked child of the process that called csm_guard_forks: there the caller does everything. */
int csm_is_forked(void);

#endif
