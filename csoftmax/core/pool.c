/* The pool: workers wait for jobs that they may join. Includes threads.h, parallel.h, fpenv.h, tuning.h. Holds its
   state. */
#include "threads.h"
#include "parallel.h"
#include "fpenv.h"
#include "tuning.h"

#include <stdatomic.h>

/* On the stack of who called. */
typedef struct job {
    void (*part)(struct job *, int me);
    int max_workers;                /* that may join                        */
    atomic_int joined, inside;      /* those that have, and are still in it */
    csm_cpus elsewhere;             /* for workers that start, or wake      */
    struct job *next;
} job;

/* On the stack of a worker that sleeps. */
typedef struct waiter {
    csm_thread thread;
    csm_condition call;
    int called;
    struct waiter *next;
} waiter;

static struct {
    csm_mutex lock;                 /* of changes                           */
    csm_condition left;
    _Atomic(job *) first;           /* of the queue; its jobs take workers  */
    waiter *asleep;                 /* the last to fall asleep              */
    int workers;
} pool = {CSM_MUTEX, CSM_CONDITION, NULL, NULL, 0};

static atomic_int forked;

/* For all but the caller; none in a forked child, which has no workers and may find the lock held: also where a signal
   handler forks in the middle of a call. */
static int workers_for(int threads) { return csm_is_forked() ? 0 : threads - 1; }

static void append_job(job *j)
{
    job *last = atomic_load(&pool.first);
    while (last && last->next)
        last = last->next;
    if (last)
        last->next = j;
    else
        atomic_store(&pool.first, j);
}

/* If it is there. */
static void remove_job(job *j)
{
    job *before = atomic_load(&pool.first);
    if (before == j)
        atomic_store(&pool.first, j->next);
    while (before && before->next != j)
        before = before->next;
    if (before)
        before->next = j->next;
}

/* Joins the first job, if there is one; *me is the number of the worker in it. */
static job *join_job(int *me)
{
    job *j = atomic_load(&pool.first);
    if (!j)
        return NULL;
    atomic_fetch_add(&j->inside, 1);
    *me = atomic_fetch_add(&j->joined, 1) + 1;
    if (*me == j->max_workers)
        remove_job(j);
    return j;
}

static void sleep_until_called(void)
{
    waiter s = {csm_this_thread(), CSM_CONDITION, 0, pool.asleep};
    pool.asleep = &s;
    while (!s.called)
        csm_wait(&s.call, &pool.lock);
}

/* Who is woken wakes two others, and so on: the caller need not wake all, one after another. */
static void wake_two_for(const job *j)
{
    for (int i = 0; i < 2 && i < j->max_workers && pool.asleep; i++) {
        waiter *const s = pool.asleep;
        pool.asleep = s->next;
        s->called = 1;
        csm_keep_to(s->thread, &j->elsewhere);
        csm_wake_one(&s->call);
    }
}

/* A worker that was woken for nothing stays awake for a while: calls come one after another. */
static job *wait_for_job(int *me)
{
    job *j = NULL;
    while (!j) {
        for (int i = 0; i < SPIN_YIELDS && !atomic_load(&pool.first); i++)
            csm_yield();
        csm_lock(&pool.lock);
        if (!atomic_load(&pool.first))
            sleep_until_called();
        j = join_job(me);
        if (j && atomic_load(&pool.first) == j)
            wake_two_for(j);
        csm_unlock(&pool.lock);
    }
    return j;
}

static void leave(job *j)
{
    csm_lock(&pool.lock);
    if (atomic_fetch_sub(&j->inside, 1) == 1)
        csm_wake_all(&pool.left);
    csm_unlock(&pool.lock);
}

static csm_thread_result CSM_THREAD_CALL worker_main(void *nothing)
{
    (void)nothing;
    csm_fpenv_enter();              /* for good: it began with the modes of its creator */
    for (;;) {
        int me;
        job *const j = wait_for_job(&me);
        j->part(j, me);
        leave(j);
    }
    return 0;
}

/* As many workers as a job takes, if the system gives them. */
static void start_workers_for(const job *j)
{
    while (pool.workers < j->max_workers && csm_start_thread(worker_main, &j->elsewhere))
        pool.workers++;
}

/* Left to itself the system may start or wake a worker on the CPU of who calls, where it waits until the call is over:
   it goes elsewhere, if it can. */
static void open_job(job *j)
{
    if (!j->max_workers)
        return;
    csm_lock(&pool.lock);
    append_job(j);
    if (pool.asleep || pool.workers < j->max_workers)
        csm_other_cpus(&j->elsewhere);
    if (pool.workers < j->max_workers)
        start_workers_for(j);
    wake_two_for(j);
    csm_unlock(&pool.lock);
}

/* From now on nobody joins. */
static void close_job(job *j)
{
    if (!j->max_workers)
        return;
    csm_lock(&pool.lock);
    remove_job(j);
    csm_unlock(&pool.lock);
}

static void wait_for_all(job *j)
{
    for (int i = 0; i < SPIN_YIELDS && atomic_load(&j->inside); i++)
        csm_yield();
    if (!atomic_load(&j->inside))
        return;
    csm_lock(&pool.lock);
    while (atomic_load(&j->inside))
        csm_wait(&pool.left, &pool.lock);
    csm_unlock(&pool.lock);
}

typedef struct {
    job job;
    void (*work)(void *, ptrdiff_t, int);
    void *context;
    ptrdiff_t chunks;
    atomic_ptrdiff_t taken, by_workers;     /* how many; of these, by workers */
} sharing;

/* The caller takes chunks from the first on, workers from the last on: what a thread wrote in one call, and has in its
   cache, it is likely to get again in the next (docs/notes/threads.md). */
static void take_chunks(job *j, int me)
{
    sharing *const s = (sharing *)j;
    for (ptrdiff_t own = 0; atomic_fetch_add(&s->taken, 1) < s->chunks; own++)
        s->work(s->context, me ? s->chunks - 1 - atomic_fetch_add(&s->by_workers, 1) : own, me);
}

void csm_parallel_for(int threads, ptrdiff_t chunks, void (*work)(void *, ptrdiff_t, int), void *context)
{
    sharing s = {.job = {.part = take_chunks, .max_workers = workers_for(threads)},
                 .work = work, .context = context, .chunks = chunks};
    open_job(&s.job);
    take_chunks(&s.job, 0);
    close_job(&s.job);
    wait_for_all(&s.job);
}

struct csm_place {
    job job;
    void (*work)(void *, csm_place *, int, int);
    void *context;
    atomic_int size;                /* threads that take part; 0: it is not settled yet             */
    atomic_int here, meetings;      /* who waits for the others, and how often all have met         */
};

static void take_part(job *j, int me)
{
    csm_place *const p = (csm_place *)j;
    int size;
    while (!(size = atomic_load(&p->size)))
        csm_yield();
    p->work(p->context, p, me, size);
}

void csm_gather(int threads, void (*work)(void *, csm_place *, int, int), void *context)
{
    csm_place p = {.job = {.part = take_part, .max_workers = workers_for(threads)}, .work = work, .context = context};
    open_job(&p.job);
    for (int i = 0; i < JOIN_YIELDS && atomic_load(&p.job.joined) < p.job.max_workers; i++)
        csm_yield();
    close_job(&p.job);
    atomic_store(&p.size, atomic_load(&p.job.joined) + 1);
    take_part(&p.job, 0);
    wait_for_all(&p.job);
}

void csm_meet(csm_place *p)
{
    const int meetings = atomic_load(&p->meetings);
    if (atomic_fetch_add(&p->here, 1) + 1 == atomic_load(&p->size)) {
        atomic_store(&p->here, 0);
        atomic_store(&p->meetings, meetings + 1);
    }
    while (atomic_load(&p->meetings) == meetings)
        csm_yield();
}

static void note_fork(void) { atomic_store(&forked, 1); }
void csm_guard_forks(void) { csm_on_fork(note_fork); }
int csm_is_forked(void) { return atomic_load_explicit(&forked, memory_order_relaxed); }
