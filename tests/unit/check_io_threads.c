/* Unit tests of the I/O threads.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#include "fault-alloc.h"
#include "io-threads.h"
#include "test-util.h"

/* Work that counts, and waits for a gate if it has one. */
struct job {
  struct io_work work;
  struct event_count *started;
  struct event_count *gate; /* or NULL */
  struct event_count *done;
  pthread_t thread;
  bool has_run;
  bool has_run_twice;
  bool was_io_thread;
  unsigned started_before; /* this one: others */
  struct job *next;        /* submitted by this one, or NULL */
  struct job *last;        /* submitted at the end of this one, or NULL */
};

static void
run_job (struct io_work *work)
{
  struct job *job = list_entry (work, struct job, work);
  struct job *last = job->last;

  job->thread = pthread_self ();
  job->has_run_twice = job->has_run;
  job->has_run = true;
  job->was_io_thread = io_threads_is_self ();
  job->started_before = event_count_get (job->started);
  event_count_add (job->started);
  if (job->gate != NULL)
    event_count_wait (job->gate, 1);
  if (job->next != NULL)
    io_threads_submit (&job->next->work);
  event_count_add (job->done);
  if (last != NULL)
    io_threads_submit_last (&last->work);
}

static struct event_count started, gate, done;

static void
setup (void)
{
  event_count_init (&started);
  event_count_init (&gate);
  event_count_init (&done);
}

static void
teardown (void)
{
  event_count_destroy (&done);
  event_count_destroy (&gate);
  event_count_destroy (&started);
}

static struct job
make_job (bool waits)
{
  return (struct job){
    .work = { .fn = run_job },
    .started = &started,
    .gate = waits ? &gate : NULL,
    .done = &done,
  };
}

START_TEST (start_needs_a_reference)
{
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), -EINVAL);
  io_threads_get ();
  ck_assert_int_eq (io_threads_start (IO_FLOOR_DEVICES), 0);
  fault_alloc_fail_from (FAULT_ALLOC_THREADS, 0);
  ck_assert_int_eq (io_threads_start (IO_FLOOR_DEVICES), 0); /* it is there */
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), -EAGAIN);
  fault_alloc_stop ();
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
  io_threads_put ();
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), -EINVAL);
}
END_TEST

START_TEST (start_tells_why_it_failed)
{
  unsigned floor;
  int r;

  io_threads_get ();
  for (floor = 0; floor < IO_FLOORS; ++floor) {
    fault_alloc_fail_once (FAULT_ALLOC_THREADS, floor == 0 ? 0 : 1);
    r = io_threads_start (IO_FLOOR_STACKED);
    ck_assert_uint_eq (fault_alloc_stop (), 1);
    ck_assert_int_eq (r, -EAGAIN);
    io_threads_put ();
    io_threads_get ();
  }
  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  r = io_threads_start (IO_FLOOR_STACKED);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
  ck_assert_int_eq (r, -ENOMEM);
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
  io_threads_put ();
}
END_TEST

START_TEST (work_runs_once_elsewhere)
{
  struct job jobs[200];
  unsigned i;

  setup ();
  io_threads_get ();
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
  for (i = 0; i < 200; ++i) {
    jobs[i] = make_job (false);
    io_threads_submit (&jobs[i].work);
  }
  event_count_wait (&done, 200);
  ck_assert (!io_threads_is_self ());
  io_threads_put ();
  ck_assert_uint_eq (event_count_get (&done), 200);
  for (i = 0; i < 200; ++i) {
    ck_assert (jobs[i].has_run);
    ck_assert (!jobs[i].has_run_twice);
    ck_assert (!pthread_equal (jobs[i].thread, pthread_self ()));
    ck_assert (jobs[i].was_io_thread);
  }
  teardown ();
}
END_TEST

/* Work that is stuck holds up nobody until IO_THREADS_MAX are stuck. */
START_TEST (work_that_is_stuck_holds_up_nobody)
{
  struct job stuck[IO_THREADS_MAX], later[3];
  unsigned i, j;

  setup ();
  io_threads_get ();
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
  for (i = 0; i < IO_THREADS_MAX; ++i) {
    stuck[i] = make_job (true);
    io_threads_submit (&stuck[i].work);
  }
  event_count_wait (&started, IO_THREADS_MAX);
  for (i = 0; i < IO_THREADS_MAX; ++i)
    for (j = 0; j < i; ++j)
      ck_assert (!pthread_equal (stuck[i].thread, stuck[j].thread));

  for (i = 0; i < 3; ++i) {
    later[i] = make_job (false);
    io_threads_submit (&later[i].work);
  }
  ck_assert_uint_eq (event_count_get (&started), IO_THREADS_MAX);
  event_count_add (&gate);
  event_count_wait (&done, IO_THREADS_MAX + 3);
  io_threads_put ();
  teardown ();
}
END_TEST

/* The same when threads are idle already: each piece of work needs one of
 * its own, even if those woken for the others have not got up yet.
 */
START_TEST (idle_threads_are_not_counted_twice)
{
  unsigned round, i;

  for (round = 0; round < 20; ++round) {
    struct job first[4], stuck[IO_THREADS_MAX];

    setup ();
    io_threads_get ();
    ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
    for (i = 0; i < 4; ++i) {
      first[i] = make_job (false);
      io_threads_submit (&first[i].work);
    }
    event_count_wait (&done, 4);
    /* Nobody says when they are idle: a chance for them to be. */
    for (i = 0; i < 20; ++i)
      (void) sched_yield ();
    for (i = 0; i < IO_THREADS_MAX; ++i) {
      stuck[i] = make_job (true);
      io_threads_submit (&stuck[i].work);
    }
    event_count_wait (&started, 4 + IO_THREADS_MAX); /* or hang */
    event_count_add (&gate);
    event_count_wait (&done, 4 + IO_THREADS_MAX);
    io_threads_put ();
    teardown ();
  }
}
END_TEST

/* Work that a thread leaves to itself counts as work in the queue: it holds up
 * nobody, and nobody holds it up, until IO_THREADS_MAX are stuck.
 */
START_TEST (work_submitted_last_is_counted)
{
  unsigned round, i;

  for (round = 0; round < 20; ++round) {
    struct job first[4], last[4], stuck[IO_THREADS_MAX - 4];

    setup ();
    io_threads_get ();
    ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
    for (i = 0; i < 4; ++i) {
      first[i] = make_job (false);
      last[i] = make_job (true);
      first[i].last = &last[i];
      io_threads_submit (&first[i].work);
    }
    for (i = 0; i < IO_THREADS_MAX - 4; ++i) {
      stuck[i] = make_job (true);
      io_threads_submit (&stuck[i].work);
    }
    event_count_wait (&started, 4 + IO_THREADS_MAX); /* or hang */
    event_count_add (&gate);
    event_count_wait (&done, 4 + IO_THREADS_MAX);
    io_threads_put ();
    for (i = 0; i < 4; ++i) {
      ck_assert (last[i].was_io_thread);
      ck_assert (!last[i].has_run_twice);
    }
    teardown ();
  }
}
END_TEST

/* A chain of such works needs no other thread, and overtakes nobody: what was
 * submitted before the next link comes before it.
 */
START_TEST (a_chain_lets_others_in)
{
  struct job chain[100], other;
  unsigned i;

  setup ();
  io_threads_get ();
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
  fault_alloc_fail_from (FAULT_ALLOC_THREADS, 0);
  for (i = 0; i < 100; ++i) {
    chain[i] = make_job (i == 0);
    chain[i].last = i < 99 ? &chain[i + 1] : NULL;
  }
  other = make_job (false);
  io_threads_submit (&chain[0].work);
  event_count_wait (&started, 1);
  io_threads_submit (&other.work); /* while the only thread waits */
  event_count_add (&gate);
  event_count_wait (&done, 101);
  fault_alloc_stop ();
  ck_assert_uint_eq (other.started_before, 1);
  for (i = 0; i < 100; ++i)
    ck_assert (pthread_equal (chain[i].thread, other.thread));
  io_threads_put ();
  teardown ();
}
END_TEST

START_TEST (work_waits_when_no_thread_can_be_had)
{
  struct job jobs[8];
  unsigned i, j;

  setup ();
  io_threads_get ();
  ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
  fault_alloc_fail_from (FAULT_ALLOC_THREADS, 0);
  for (i = 0; i < 8; ++i) {
    jobs[i] = make_job (true);
    io_threads_submit (&jobs[i].work);
  }
  event_count_add (&gate);
  event_count_wait (&done, 8);
  fault_alloc_stop ();
  for (i = 0; i < 8; ++i)
    for (j = 0; j < i; ++j)
      ck_assert (pthread_equal (jobs[i].thread, jobs[j].thread));
  io_threads_put ();
  teardown ();
}
END_TEST

/* However much of it there is, and however few threads: work of the upper floor
 * that waits for work of the lower one does so in vain never.
 */
START_TEST (stacked_work_waits_for_devices)
{
  struct job stacked[IO_THREADS_MAX + 4], other;
  unsigned round, i;

  for (round = 0; round < 2; ++round) {
    setup ();
    io_threads_get ();
    ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
    if (round == 1)
      fault_alloc_fail_from (FAULT_ALLOC_THREADS, 0);
    for (i = 0; i < IO_THREADS_MAX + 4; ++i) {
      stacked[i] = make_job (true);
      stacked[i].work.floor = IO_FLOOR_STACKED;
      io_threads_submit (&stacked[i].work);
    }
    event_count_wait (&started, round == 0 ? IO_THREADS_MAX : 1);
    other = make_job (false);
    other.done = &gate;
    io_threads_submit (&other.work);
    event_count_wait (&done, IO_THREADS_MAX + 4); /* or hang */
    if (round == 1)
      fault_alloc_stop ();
    io_threads_put ();
    ck_assert (other.was_io_thread);
    for (i = 0; i < IO_THREADS_MAX + 4; ++i) {
      ck_assert (stacked[i].was_io_thread);
      ck_assert (!pthread_equal (stacked[i].thread, other.thread));
    }
    teardown ();
  }
}
END_TEST

/* The last put waits for all that was submitted, and for what that submitted
 * itself, be it of the same floor or, with BOTH_FLOORS, of the other.
 */
static void
put_after_work (bool both_floors)
{
  unsigned round;

  for (round = 0; round < 50; ++round) {
    struct job jobs[40];
    unsigned i;

    setup ();
    io_threads_get ();
    ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
    for (i = 0; i < 40; ++i) {
      jobs[i] = make_job (false);
      if (both_floors)
        jobs[i].work.floor = (i + i / 20) % IO_FLOORS;
    }
    for (i = 0; i < 20; ++i) {
      jobs[i].next = &jobs[i + 20];
      io_threads_submit (&jobs[i].work);
    }
    io_threads_put ();
    ck_assert_uint_eq (event_count_get (&done), 40);
    for (i = 0; i < 40; ++i) {
      ck_assert (jobs[i].has_run);
      ck_assert (!jobs[i].has_run_twice);
    }
    teardown ();
  }
}

START_TEST (put_waits_for_all_work)
{
  put_after_work (false);
}
END_TEST

START_TEST (put_waits_for_both_floors)
{
  put_after_work (true);
}
END_TEST

START_TEST (references_add_up_and_lives_follow)
{
  unsigned life;

  setup ();
  for (life = 0; life < 20; ++life) {
    struct job job = make_job (false);

    io_threads_get ();
    io_threads_get ();
    ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), 0);
    io_threads_put ();
    io_threads_submit (&job.work); /* one reference is left */
    event_count_wait (&done, life + 1);
    io_threads_put ();
    ck_assert_int_eq (io_threads_start (IO_FLOOR_STACKED), -EINVAL);
  }
  teardown ();
}
END_TEST

/* References from many threads, while others end the threads. */
#define LIVERS 4

static void
live_often (void *arg)
{
  unsigned *failures = arg;
  unsigned i;

  for (i = 0; i < 100; ++i) {
    struct event_count own_done;
    struct job job = make_job (false);

    event_count_init (&own_done);
    job.done = &own_done;
    io_threads_get ();
    if (io_threads_start (IO_FLOOR_STACKED) != 0)
      ++*failures;
    else {
      io_threads_submit (&job.work);
      event_count_wait (&own_done, 1);
    }
    io_threads_put ();
    event_count_destroy (&own_done);
  }
}

START_TEST (lives_of_many_threads)
{
  struct thread threads[LIVERS];
  unsigned failures[LIVERS] = { 0 };
  unsigned i;

  setup ();
  for (i = 0; i < LIVERS; ++i)
    ck_assert_int_eq (thread_start (&threads[i], "liver", live_often,
                                    &failures[i]),
                      0);
  for (i = 0; i < LIVERS; ++i) {
    thread_join (&threads[i]);
    ck_assert_uint_eq (failures[i], 0);
  }
  ck_assert_uint_eq (event_count_get (&started), LIVERS * 100);
  teardown ();
}
END_TEST

/* A reference starts no thread: a child that got one by fork can work. */
START_TEST (get_before_fork)
{
  pid_t pid;
  int status;

  io_threads_get ();
  pid = fork ();
  ck_assert_int_ge (pid, 0);
  if (pid == 0) {
    struct job job = make_job (false);

    setup ();
    if (io_threads_start (IO_FLOOR_STACKED) != 0)
      _exit (1);
    io_threads_submit (&job.work);
    event_count_wait (&done, 1);
    io_threads_put ();
    _exit (0);
  }
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert_int_eq (status, 0);
  io_threads_put ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    start_needs_a_reference,
    start_tells_why_it_failed,
    work_runs_once_elsewhere,
    work_that_is_stuck_holds_up_nobody,
    idle_threads_are_not_counted_twice,
    work_submitted_last_is_counted,
    a_chain_lets_others_in,
    work_waits_when_no_thread_can_be_had,
    stacked_work_waits_for_devices,
    put_waits_for_all_work,
    put_waits_for_both_floors,
    references_add_up_and_lives_follow,
    lives_of_many_threads,
    get_before_fork,
    NULL,
  };

  return unit_main ("io-threads", tests);
}
