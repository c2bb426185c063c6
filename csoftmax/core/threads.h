/* How many threads a call gets. The only file with OpenMP, which is asked for the number of threads that it would
   grant, and for nothing else; without it everything is serial. Includes pool.h. Holds the limit. */
#ifndef CSM_THREADS_H
#define CSM_THREADS_H

#include "pool.h"
#include "tuning.h"

#include <stdatomic.h>
#ifdef _OPENMP
#include <omp.h>
enum { HAS_OPENMP = 1 };
#else
enum { HAS_OPENMP = 0 };
#endif

static atomic_int csm_thread_limit;     /* 0: none */

static inline void limit_threads(int n) { atomic_store(&csm_thread_limit, n); }

static inline int csm_max_threads(void)
{
#ifdef _OPENMP
    if (!csm_is_forked()) {
        int limit = atomic_load_explicit(&csm_thread_limit, memory_order_relaxed), most = omp_get_max_threads();
        return limit && limit < most ? limit : most;
    }
#endif
    return 1;
}

/* Threads for so much work, of which no more than `most` can be done at once. */
static inline int csm_threads_for(ptrdiff_t work, ptrdiff_t most)
{
    const ptrdiff_t worth = work / CSM_WORK_PER_THREAD;
    most = most < worth ? most : worth;
    if (most <= 1)
        return 1;
    const int threads = csm_max_threads();
    return threads < most ? threads : (int)most;
}

#endif
