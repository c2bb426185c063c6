/* The pool: workers wait for jobs that they may join. Includes affinity.h, pool.h, fpenv.h. Holds its state.

   Why they are not OpenMP's: docs/notes/threads.md. */
#include "affinity.h"
#include "pool.h"
#include "fpenv.h"
#include "tuning.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

/* On the stack of who called. */
typedef struct job {
    void (*part)(struct job *, int me);
    int max_workers;                      /* that may join                       */
    atomic_int joined, inside;      /* those that have, and are still in it */
    csm_cores elsewhere;            /* for workers that start, or wake      */
    struct job *next;
} job;

/* On the stack of a worker that sleeps. */
typedef struct waiter {
    pthread_t thread;
    pthread_cond_t call;
    int called;
    struct waiter *next;
} waiter;

static struct {
    pthread_mutex_t lock;           /* of changes                           */
    pthread_cond_t left;
    _Atomic(job *) first;           /* of the queue; its jobs take workers  */
    waiter *asleep;                /* the last to fall asleep              */
    int workers;
} pool = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, 0};

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
    waiter s = {pthread_self(), PTHREAD_COND_INITIALIZER, 0, pool.asleep};
    pool.asleep = &s;
    while (!s.called)
        pthread_cond_wait(&s.call, &pool.lock);
    pthread_cond_destroy(&s.call);
}

/* Who is woken wakes two others, and so on: the caller need not wake all, one after another. */
static void wake_two_for(const job *j)
{
    for (int i = 0; i < 2 && i < j->max_workers && pool.asleep; i++) {
        waiter *const s = pool.asleep;
        pool.asleep = s->next;
        s->called = 1;
        csm_keep_to(s->thread, &j->elsewhere);
        pthread_cond_signal(&s->call);
    }
}

/* A worker that was woken for nothing stays awake for a while: calls come one after another. */
static job *wait_for_job(int *me)
{
    job *j = NULL;
    while (!j) {
        for (int i = 0; i < SPIN_YIELDS && !atomic_load(&pool.first); i++)
            sched_yield();
        pthread_mutex_lock(&pool.lock);
        if (!atomic_load(&pool.first))
            sleep_until_called();
        j = join_job(me);
        if (j && atomic_load(&pool.first) == j)
            wake_two_for(j);
        pthread_mutex_unlock(&pool.lock);
    }
    return j;
}

static void leave(job *j)
{
    pthread_mutex_lock(&pool.lock);
    if (atomic_fetch_sub(&j->inside, 1) == 1)
        pthread_cond_broadcast(&pool.left);
    pthread_mutex_unlock(&pool.lock);
}

static void *worker_main(void *nothing)
{
    csm_fpenv_enter();              /* for good: it began with the modes of its creator */
    for (;;) {
        int me;
        job *const j = wait_for_job(&me);
        j->part(j, me);
        leave(j);
    }
    return nothing;
}

/* As many workers as a job takes, if the system gives them. They take no signals, which are for other threads. */
static void start_workers_for(const job *j)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes))
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t worker;
    for (; pool.workers < j->max_workers && !pthread_create(&worker, &attributes, worker_main, NULL); pool.workers++)
        csm_keep_to(worker, &j->elsewhere);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

/* Left to itself the system may start or wake a worker on the core of who calls, where it waits until the call is over:
   it goes elsewhere, if it can. */
static void open_job(job *j)
{
    if (!j->max_workers)
        return;
    pthread_mutex_lock(&pool.lock);
    append_job(j);
    if (pool.asleep || pool.workers < j->max_workers)
        csm_other_cores(&j->elsewhere);
    if (pool.workers < j->max_workers)
        start_workers_for(j);
    wake_two_for(j);
    pthread_mutex_unlock(&pool.lock);
}

/* From now on nobody joins. */
static void close_job(job *j)
{
    if (!j->max_workers)
        return;
    pthread_mutex_lock(&pool.lock);
    remove_job(j);
    pthread_mutex_unlock(&pool.lock);
}

static void wait_for_all(job *j)
{
    for (int i = 0; i < SPIN_YIELDS && atomic_load(&j->inside); i++)
        sched_yield();
    if (!atomic_load(&j->inside))
        return;
    pthread_mutex_lock(&pool.lock);
    while (atomic_load(&j->inside))
        pthread_cond_wait(&pool.left, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
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

void csm_share(int threads, ptrdiff_t chunks, void (*work)(void *, ptrdiff_t, int), void *context)
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
        sched_yield();
    p->work(p->context, p, me, size);
}

void csm_gather(int threads, void (*work)(void *, csm_place *, int, int), void *context)
{
    csm_place p = {.job = {.part = take_part, .max_workers = workers_for(threads)}, .work = work, .context = context};
    open_job(&p.job);
    for (int i = 0; i < JOIN_YIELDS && atomic_load(&p.job.joined) < p.job.max_workers; i++)
        sched_yield();
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
        sched_yield();
}

static void note_fork(void) { atomic_store(&forked, 1); }
void csm_guard_forks(void) { pthread_atfork(NULL, NULL, note_fork); }
int csm_is_forked(void) { return atomic_load_explicit(&forked, memory_order_relaxed); }
