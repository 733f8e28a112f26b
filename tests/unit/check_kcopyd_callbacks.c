/* Unit tests of kcopyd: callbacks, and the end of a client.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kcopyd-test.h"

/*----- callbacks -------------------------------------------------------*/

#define JOBS 24

START_TEST (callbacks_on_one_thread_each)
{
  struct witness witnesses[2];
  struct kcopyd_client *clients[2];
  struct copy copies[2][JOBS];
  unsigned k, i;

  setup (1, JOBS * 16);
  for (k = 0; k < 2; ++k) {
    witness_init (&witnesses[k]);
    ck_assert_int_eq (kcopyd_client_create (8, &clients[k]), 0);
  }
  for (i = 0; i < JOBS; ++i)
    for (k = 0; k < 2; ++k) {
      struct io_region from = region (0, i * 16 + k * 8, i % 9);
      struct io_region dest = region (1, i * 16 + k * 8, i % 9);

      copy_init (&copies[k][i], clients[k], &witnesses[k]);
      ck_assert_int_eq (kcopyd_copy (clients[k], &from, 1, &dest, 0, copy_done,
                                     &copies[k][i]),
                        0);
    }
  for (k = 0; k < 2; ++k) {
    kcopyd_client_destroy (clients[k]);
    ck_assert_uint_eq (witnesses[k].violations, 0);
    ck_assert (!pthread_equal (witnesses[k].thread, pthread_self ()));
    for (i = 0; i < JOBS; ++i) {
      ck_assert_uint_eq (event_count_get (&copies[k][i].done), 1);
      ck_assert_int_eq (copies[k][i].read_err, 0);
      ck_assert_uint_eq (copies[k][i].write_err, 0);
      ck_assert (is_copied (1, i * 16 + k * 8, i * 16 + k * 8, i % 9));
      event_count_destroy (&copies[k][i].done);
    }
    mutex_destroy (&witnesses[k].lock);
  }
  ck_assert (!pthread_equal (witnesses[0].thread, witnesses[1].thread));
  teardown ();
}
END_TEST

/* Each callback starts the next job, of the one client and of the other
 * in turn; the clients are destroyed meanwhile.
 */
struct relay {
  struct kcopyd_client *clients[2];
  atomic_uint left;
  atomic_uint errors;
  struct event_count done;
};

static void
relay_next (int read_err, unsigned write_err, void *context)
{
  struct relay *r = context;
  unsigned left = atomic_fetch_sub (&r->left, 1);
  struct io_region from = region (0, left, 1), dest = region (1, left, 1);

  if (read_err != 0 || write_err != 0)
    atomic_fetch_add (&r->errors, 1);
  if (left == 0)
    event_count_add (&r->done);
  else if (kcopyd_copy (r->clients[left % 2], &from, 1, &dest, 0, relay_next,
                        r) != 0)
    abort ();
}

START_TEST (callbacks_start_jobs_of_other_clients)
{
  struct relay r = { .left = 200 };

  setup (1, 256);
  event_count_init (&r.done);
  ck_assert_int_eq (kcopyd_client_create (1, &r.clients[0]), 0);
  ck_assert_int_eq (kcopyd_client_create (1, &r.clients[1]), 0);
  relay_next (0, 0, &r);
  event_count_wait (&r.done, 1);
  kcopyd_client_destroy (r.clients[0]);
  kcopyd_client_destroy (r.clients[1]);
  ck_assert_uint_eq (r.errors, 0);
  ck_assert (is_copied (1, 1, 1, 200));
  ck_assert (is_untouched (1, 0, 1));
  event_count_destroy (&r.done);
  teardown ();
}
END_TEST

START_TEST (destroy_waits_for_jobs_of_callbacks)
{
  struct relay r = { .left = 100 };

  setup (1, 256);
  event_count_init (&r.done);
  ck_assert_int_eq (kcopyd_client_create (1, &r.clients[0]), 0);
  r.clients[1] = r.clients[0];
  relay_next (0, 0, &r);
  kcopyd_client_destroy (r.clients[0]);
  ck_assert_uint_eq (event_count_get (&r.done), 1);
  ck_assert (is_copied (1, 1, 1, 100));
  event_count_destroy (&r.done);
  teardown ();
}
END_TEST

/* Destroy is called on another thread, and has not returned before the
 * callback of a job that was stuck.
 */
struct destroyer {
  struct thread thread;
  struct kcopyd_client *kc;
  struct copy *copy;
  struct event_count started;
  unsigned done_at_return;
};

static void
destroy_client (void *arg)
{
  struct destroyer *d = arg;

  event_count_add (&d->started);
  kcopyd_client_destroy (d->kc);
  d->done_at_return = event_count_get (&d->copy->done);
}

START_TEST (destroy_waits_for_jobs_in_flight)
{
  unsigned kind;

  for (kind = 0; kind < 2; ++kind) { /* stuck in the read, in the write */
    struct destroyer d = { .done_at_return = 77 };
    struct copy c;
    struct io_region from, dest;
    unsigned i;

    setup (1, 64);
    from = region (0, 0, 64);
    dest = region (1, 0, 64);
    ck_assert_int_eq (kcopyd_client_create (1, &d.kc), 0);
    copy_init (&c, d.kc, NULL);
    d.copy = &c;
    event_count_init (&d.started);
    fault_bdev_gate_shut (disks[kind], FAULT_ALL, 0, 0);
    ck_assert_int_eq (kcopyd_copy (d.kc, &from, 1, &dest, 0, copy_done, &c), 0);
    fault_bdev_gate_wait (disks[kind], 1);
    ck_assert_int_eq (thread_start (&d.thread, "destroyer", destroy_client, &d),
                      0);
    event_count_wait (&d.started, 1);
    for (i = 0; i < 100; ++i) /* a chance to return too early */
      (void) sched_yield ();
    ck_assert_uint_eq (event_count_get (&c.done), 0);
    fault_bdev_gate_open (disks[kind]);
    thread_join (&d.thread);
    ck_assert_uint_eq (d.done_at_return, 1);
    ck_assert (is_copied (1, 0, 0, 64));
    event_count_destroy (&d.started);
    event_count_destroy (&c.done);
    teardown ();
  }
  kcopyd_client_destroy (NULL);
}
END_TEST

/* A callback that blocks delays the callbacks of its client, but not the
 * copying, nor other clients.
 */
struct blocker {
  struct event_count entered;
  struct event_count gate;
};

static void
block_in_callback (int read_err, unsigned write_err, void *context)
{
  struct blocker *b = context;

  (void) read_err;
  (void) write_err;
  event_count_add (&b->entered);
  event_count_wait (&b->gate, 1);
}

START_TEST (a_slow_callback_delays_callbacks_only)
{
  struct kcopyd_client *slow, *other;
  struct blocker b;
  struct copy c[2];
  struct io_region from, dest;
  unsigned i;

  setup (1, 64);
  event_count_init (&b.entered);
  event_count_init (&b.gate);
  ck_assert_int_eq (kcopyd_client_create (1, &slow), 0);
  ck_assert_int_eq (kcopyd_client_create (1, &other), 0);
  from = region (0, 0, 1);
  dest = region (1, 0, 1);
  ck_assert_int_eq (kcopyd_copy (slow, &from, 1, &dest, 0, block_in_callback,
                                 &b),
                    0);
  event_count_wait (&b.entered, 1);

  copy_init (&c[0], slow, NULL);
  copy_init (&c[1], other, NULL);
  for (i = 0; i < 2; ++i) {
    from = region (0, 8 + 8 * i, 8);
    dest = region (1, 8 + 8 * i, 8);
    if (i == 0)
      fault_bdev_gate_shut (disks[1], FAULT_WRITE, 8, 8);
    ck_assert_int_eq (kcopyd_copy (c[i].kc, &from, 1, &dest, 0, copy_done,
                                   &c[i]),
                      0);
    if (i == 0) { /* it is copied all the same */
      fault_bdev_gate_wait (disks[1], 1);
      fault_bdev_gate_open (disks[1]);
    }
  }
  event_count_wait (&c[1].done, 1);
  ck_assert_uint_eq (event_count_get (&c[0].done), 0);
  event_count_add (&b.gate);
  event_count_wait (&c[0].done, 1);
  kcopyd_client_destroy (slow);
  kcopyd_client_destroy (other);
  ck_assert (is_copied (1, 8, 8, 16));
  for (i = 0; i < 2; ++i)
    event_count_destroy (&c[i].done);
  event_count_destroy (&b.entered);
  event_count_destroy (&b.gate);
  teardown ();
}
END_TEST

/*----- prepared callbacks ----------------------------------------------*/

struct doer {
  struct thread thread;
  struct kcopyd_job *job;
  int read_err;
  unsigned write_err;
};

static void
do_job (void *arg)
{
  struct doer *d = arg;

  kcopyd_do_callback (d->job, d->read_err, d->write_err);
}

/* Done on any thread, they are called on the client's, in turn. */
START_TEST (prepared_callbacks_are_called)
{
  enum { DOERS = 6 };
  struct doer doers[DOERS];
  struct copy c[DOERS];
  struct witness witness;
  struct kcopyd_client *kc;
  unsigned i;

  witness_init (&witness);
  ck_assert_int_eq (kcopyd_client_create (1, &kc), 0);
  ck_assert_ptr_null (kcopyd_prepare_callback (kc, NULL, NULL));
  for (i = 0; i < DOERS; ++i) {
    copy_init (&c[i], kc, &witness);
    doers[i] = (struct doer){
      .job = kcopyd_prepare_callback (kc, copy_done, &c[i]),
      .read_err = (int) i - 2,
      .write_err = 100 * i,
    };
    ck_assert_ptr_nonnull (doers[i].job);
  }
  ck_assert_uint_eq (progress_of (kc).jobs_started, DOERS);
  for (i = 0; i < DOERS; ++i)
    ck_assert_uint_eq (event_count_get (&c[i].done), 0);
  for (i = 1; i < DOERS; ++i)
    ck_assert_int_eq (thread_start (&doers[i].thread, "doer", do_job,
                                    &doers[i]),
                      0);
  do_job (&doers[0]);
  for (i = 1; i < DOERS; ++i)
    thread_join (&doers[i].thread);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (witness.violations, 0);
  ck_assert (!pthread_equal (witness.thread, pthread_self ()));
  for (i = 0; i < DOERS; ++i) {
    ck_assert_uint_eq (event_count_get (&c[i].done), 1);
    ck_assert_int_eq (c[i].read_err, (int) i - 2);
    ck_assert_uint_eq (c[i].write_err, 100 * i);
    event_count_destroy (&c[i].done);
  }
  mutex_destroy (&witness.lock);
}
END_TEST

START_TEST (destroy_waits_for_prepared_callbacks)
{
  struct destroyer d = { .done_at_return = 77 };
  struct kcopyd_job *job;
  struct copy c;
  unsigned i;

  ck_assert_int_eq (kcopyd_client_create (1, &d.kc), 0);
  copy_init (&c, d.kc, NULL);
  d.copy = &c;
  event_count_init (&d.started);
  job = kcopyd_prepare_callback (d.kc, copy_done, &c);
  ck_assert_ptr_nonnull (job);
  ck_assert_int_eq (thread_start (&d.thread, "destroyer", destroy_client, &d),
                    0);
  event_count_wait (&d.started, 1);
  for (i = 0; i < 100; ++i) /* a chance to return too early */
    (void) sched_yield ();
  kcopyd_do_callback (job, 0, 0);
  thread_join (&d.thread);
  ck_assert_uint_eq (d.done_at_return, 1);
  event_count_destroy (&d.started);
  event_count_destroy (&c.done);
}
END_TEST

/*----- what would wait for itself --------------------------------------*/

enum waiting_for_itself {
  DESTROY_IN_ITS_CALLBACK,
  DESTROY_IN_A_CALLBACK_OF_DM_IO,
  PUT_IN_A_CALLBACK_OF_DM_IO,
  WAYS_TO_WAIT
};

static void
destroy_in_copy (int read_err, unsigned write_err, void *context)
{
  (void) read_err;
  (void) write_err;
  kcopyd_client_destroy (context);
}

static void
destroy_in_read (unsigned long error, void *context)
{
  (void) error;
  kcopyd_client_destroy (context);
  _exit (0);
}

static void
put_in_read (unsigned long error, void *context)
{
  (void) error;
  (void) context;
  dm_io_put (1);
  _exit (0);
}

static void
wait_for_itself (enum waiting_for_itself how)
{
  struct io_region none = region (0, 0, 0);
  struct kcopyd_client *kc;

  must (kcopyd_client_create (1, &kc) == 0);
  must (dm_io_get (2) == 0);
  switch (how) {
  case DESTROY_IN_ITS_CALLBACK:
    kcopyd_do_callback (kcopyd_prepare_callback (kc, destroy_in_copy, kc), 0,
                        0);
    break;
  case DESTROY_IN_A_CALLBACK_OF_DM_IO:
    must (dm_io_async_vm (1, &none, DM_IO_READ, NULL, destroy_in_read, kc) ==
          0);
    break;
  default:
    must (dm_io_async_vm (1, &none, DM_IO_READ, NULL, put_in_read, kc) == 0);
    break;
  }
  for (;;)
    (void) pause ();
}

/* Also where it would have gone well this time, because others have the
 * threads, too.
 */
START_TEST (what_would_wait_for_itself_is_noticed)
{
  enum waiting_for_itself how;

  for (how = 0; how < WAYS_TO_WAIT; ++how) {
    pid_t child = fork ();
    int status;

    ck_assert_int_ge (child, 0);
    if (child == 0) {
      setup (0, 8);
      wait_for_itself (how);
    }
    ck_assert_int_eq (waitpid (child, &status, 0), child);
    if (!WIFSIGNALED (status) || WTERMSIG (status) != SIGABRT)
      ck_abort_msg ("way %d: status %d", how, status);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    callbacks_on_one_thread_each,
    callbacks_start_jobs_of_other_clients,
    destroy_waits_for_jobs_of_callbacks,
    destroy_waits_for_jobs_in_flight,
    a_slow_callback_delays_callbacks_only,
    prepared_callbacks_are_called,
    destroy_waits_for_prepared_callbacks,
    what_would_wait_for_itself_is_noticed,
    NULL,
  };

  return unit_main ("kcopyd-callbacks", tests);
}
