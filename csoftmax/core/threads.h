/* Threads: how many a call gets, running them, and staying alive after fork. The only file with OpenMP; without it
   everything is serial. Includes csoftmax.h, fpenv.h. Holds the two atomics that are the library's state.

   libgomp hangs in the child of a process that has used it, so a child computes serially. */
#ifndef CSM_THREADS_H
#define CSM_THREADS_H

#include "csoftmax.h"
#include "fpenv.h"

#include <pthread.h>
#include <stdatomic.h>
#ifdef _OPENMP
#include <omp.h>
enum { HAS_OPENMP = 1 };
#else
enum { HAS_OPENMP = 0 };
#endif

/* Elements of work a thread must get. Waking a worker takes 60-80 us, as long as two cores need for twice this. */
#define CSM_WORK_PER_THREAD 75000

static atomic_int csm_thread_limit;     /* 0: none */
static atomic_int csm_forked;

static inline int csm_max_threads(void)
{
#ifdef _OPENMP
    if (!atomic_load_explicit(&csm_forked, memory_order_relaxed)) {
        int limit = atomic_load_explicit(&csm_thread_limit, memory_order_relaxed), most = omp_get_max_threads();
        return limit && limit < most ? limit : most;
    }
#endif
    return 1;
}

/* What OpenMP grants to calls from this thread of the process alone; returns what it granted. */
static inline int limit_this_thread(int n)
{
#ifdef _OPENMP
    const int before = omp_get_max_threads();
    omp_set_num_threads(n);
    return before;
#else
    return n;
#endif
}

/* Threads for so many elements in rows of which `grain` are not to be parted. */
static inline int csm_threads_for(ptrdiff_t elements, ptrdiff_t rows, ptrdiff_t grain)
{
    if (elements < 2 * CSM_WORK_PER_THREAD || rows <= grain)
        return 1;
    ptrdiff_t most = csm_max_threads(), parts = (rows + grain - 1) / grain;
    most = most < parts ? most : parts;
    return (int)(most < elements / CSM_WORK_PER_THREAD ? most : elements / CSM_WORK_PER_THREAD);
}

/* work(job, i) for i in [0, threads), at the same time; the caller is in the default floating-point environment. */
static inline void csm_parallel(int threads, void (*work)(void *job, int i), void *job)
{
#ifdef _OPENMP
    if (threads > 1) {
        #pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int i = 0; i < threads; i++) {
            csm_fpenv env = csm_fpenv_enter();
            work(job, i);
            csm_fpenv_leave(env);
        }
        return;
    }
#endif
    for (int i = 0; i < threads; i++)
        work(job, i);
}

/* work(job, i, n) for each i of a team of up to `threads`, all at the same time, so that they can meet. */
static inline void csm_together(int threads, void (*work)(void *job, int i, int n), void *job)
{
#ifdef _OPENMP
    #pragma omp parallel num_threads(threads)
    {
        csm_fpenv env = csm_fpenv_enter();
        work(job, omp_get_thread_num(), omp_get_num_threads());
        csm_fpenv_leave(env);
    }
#else
    (void)threads;
    work(job, 0, 1);
#endif
}

/* Waits until all of a team have called it. */
static void csm_meet(void)
{
#ifdef _OPENMP
    #pragma omp barrier
#endif
}

static void csm_after_fork(void) { atomic_store(&csm_forked, 1); }

static inline void guard_forks(void) { pthread_atfork(NULL, NULL, csm_after_fork); }

#endif
