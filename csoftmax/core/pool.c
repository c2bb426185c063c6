/* The pool: workers wait for jobs that they may join. Includes cores.h, pool.h, fpenv.h. Holds its state.

   Why they are not OpenMP's: docs/notes/threads.md. */
#include "cores.h"
#include "pool.h"
#include "fpenv.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

/* Who waits looks again and again, and lets others run in between, which takes half a microsecond where there are none.
   AWAKE: times until a worker sleeps; a sleeping one takes 60 us to come, or milliseconds if the system gives it the
   core of who calls. SOON: times until a gathering begins with those who are there. */
enum { AWAKE = 2000, SOON = 200 };

/* On the stack of who called. */
typedef struct job {
    void (*part)(struct job *, int me);
    int seats;                      /* workers that may join                */
    atomic_int joined, inside;      /* those that have, and are still in it */
    csm_cores elsewhere;            /* for workers that start, or wake      */
    struct job *next;
} job;

/* On the stack of a worker that sleeps. */
typedef struct sleeper {
    pthread_t thread;
    pthread_cond_t call;
    int called;
    struct sleeper *next;
} sleeper;

static struct {
    pthread_mutex_t lock;           /* of changes                           */
    pthread_cond_t left;
    _Atomic(job *) first;           /* of the queue; its jobs have seats    */
    sleeper *asleep;                /* the last to fall asleep              */
    int workers;
} pool = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, 0};

static atomic_int forked;

/* For all but the caller; none in a forked child, which has no workers and may find the lock held: also where a signal
   handler forks in the middle of a call. */
static int seats_of(int threads) { return csm_is_forked() ? 0 : threads - 1; }

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

/* A seat in the first job, if there is one; *me is its number. */
static job *take_seat(int *me)
{
    job *j = atomic_load(&pool.first);
    if (!j)
        return NULL;
    atomic_fetch_add(&j->inside, 1);
    *me = atomic_fetch_add(&j->joined, 1) + 1;
    if (*me == j->seats)
        remove_job(j);
    return j;
}

static void sleep_until_called(void)
{
    sleeper s = {pthread_self(), PTHREAD_COND_INITIALIZER, 0, pool.asleep};
    pool.asleep = &s;
    while (!s.called)
        pthread_cond_wait(&s.call, &pool.lock);
    pthread_cond_destroy(&s.call);
}

/* Who is woken wakes two others, and so on: the caller need not wake all, one after another. */
static void wake_two_for(const job *j)
{
    for (int i = 0; i < 2 && i < j->seats && pool.asleep; i++) {
        sleeper *const s = pool.asleep;
        pool.asleep = s->next;
        s->called = 1;
        csm_keep_to(s->thread, &j->elsewhere);
        pthread_cond_signal(&s->call);
    }
}

/* Who was woken for nothing stays awake for a while: calls come in rows. */
static job *wait_for_seat(int *me)
{
    job *j = NULL;
    while (!j) {
        for (int i = 0; i < AWAKE && !atomic_load(&pool.first); i++)
            sched_yield();
        pthread_mutex_lock(&pool.lock);
        if (!atomic_load(&pool.first))
            sleep_until_called();
        j = take_seat(me);
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

static void *be_worker(void *nothing)
{
    csm_fpenv_enter();              /* for good: it began with the modes of its creator */
    for (;;) {
        int me;
        job *const j = wait_for_seat(&me);
        j->part(j, me);
        leave(j);
    }
    return nothing;
}

/* As many as there are seats, if the system gives them. They take no signals, which are for other threads. */
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
    for (; pool.workers < j->seats && !pthread_create(&worker, &attributes, be_worker, NULL); pool.workers++)
        csm_keep_to(worker, &j->elsewhere);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

/* Left to itself the system may start or wake a worker on the core of who calls, where it waits until the call is over:
   it goes elsewhere, if it can. */
static void open_job(job *j)
{
    if (!j->seats)
        return;
    pthread_mutex_lock(&pool.lock);
    append_job(j);
    if (pool.asleep || pool.workers < j->seats)
        csm_other_cores(&j->elsewhere);
    if (pool.workers < j->seats)
        start_workers_for(j);
    wake_two_for(j);
    pthread_mutex_unlock(&pool.lock);
}

/* From now on nobody joins. */
static void close_job(job *j)
{
    if (!j->seats)
        return;
    pthread_mutex_lock(&pool.lock);
    remove_job(j);
    pthread_mutex_unlock(&pool.lock);
}

static void wait_for_all(job *j)
{
    for (int i = 0; i < AWAKE && atomic_load(&j->inside); i++)
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
    void *with;
    ptrdiff_t pieces;
    atomic_ptrdiff_t taken, by_workers;     /* how many; of these, pieces that workers took */
} sharing;

/* The caller takes pieces from the first on, workers from the last on: what a thread wrote in one call, and has in its
   cache, it is likely to get again in the next (docs/notes/threads.md). */
static void take_pieces(job *j, int me)
{
    sharing *const s = (sharing *)j;
    for (ptrdiff_t own = 0; atomic_fetch_add(&s->taken, 1) < s->pieces; own++)
        s->work(s->with, me ? s->pieces - 1 - atomic_fetch_add(&s->by_workers, 1) : own, me);
}

void csm_share(int threads, ptrdiff_t pieces, void (*work)(void *, ptrdiff_t, int), void *with)
{
    sharing s = {.job = {.part = take_pieces, .seats = seats_of(threads)},
                 .work = work, .with = with, .pieces = pieces};
    open_job(&s.job);
    take_pieces(&s.job, 0);
    close_job(&s.job);
    wait_for_all(&s.job);
}

struct csm_place {
    job job;
    void (*work)(void *, csm_place *, int, int);
    void *with;
    atomic_int size;                /* threads that take part; 0: it is not settled yet             */
    atomic_int here, meetings;      /* who waits for the others, and how often all have met         */
};

static void take_part(job *j, int me)
{
    csm_place *const p = (csm_place *)j;
    int size;
    while (!(size = atomic_load(&p->size)))
        sched_yield();
    p->work(p->with, p, me, size);
}

void csm_gather(int threads, void (*work)(void *, csm_place *, int, int), void *with)
{
    csm_place p = {.job = {.part = take_part, .seats = seats_of(threads)}, .work = work, .with = with};
    open_job(&p.job);
    for (int i = 0; i < SOON && atomic_load(&p.job.joined) < p.job.seats; i++)
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
