/* How many threads a call gets. Includes csoftmax.h, parallel.h, threads.h, tuning.h. Holds the limits. */
#include "threads.h"
#include "parallel.h"
#include "tuning.h"

#include <limits.h>
#include <stdatomic.h>

/* Set by csm_set_num_threads, and granted by the environment and a quota; INT_MAX: as many as there are CPUs. */
static atomic_int set = INT_MAX, granted = INT_MAX;
static atomic_int assumed_cpus;     /* 0: the system is asked */

void csm_set_num_threads(int n) { atomic_store(&set, n); }
void csm_grant_threads(int n) { atomic_store(&granted, n); }
void csm_assume_cpus(int n) { atomic_store(&assumed_cpus, n); }
const char *csm_threading(void) { return CSM_THREADING; }

static int load(atomic_int *number) { return atomic_load_explicit(number, memory_order_relaxed); }
static int smaller(int a, int b) { return a < b ? a : b; }

/* The affinity may have changed since the last call, so that the system is asked each time: some 0.3 microseconds. */
int csm_get_num_threads(void)
{
    const int most = smaller(load(&set), load(&granted)), assumed = load(&assumed_cpus);
    if (most == 1 || csm_is_forked())
        return 1;
    return smaller(most, assumed ? assumed : csm_count_cpus());
}

int csm_threads_for(ptrdiff_t work, ptrdiff_t most)
{
    const ptrdiff_t worth = work / CSM_WORK_PER_THREAD;
    most = most < worth ? most : worth;
    return most <= 1 ? 1 : most < INT_MAX ? smaller(csm_get_num_threads(), (int)most) : csm_get_num_threads();
}
