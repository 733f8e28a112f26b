/* Unit tests of flushes that are shared.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "group-sync.h"
#include "test-util.h"

/* A flush that counts, waits at a gate if it is shut, and returns what it
 * is told.
 */
struct fake {
  struct group_sync gs;
  struct event_count begun;
  struct event_count may_end; /* as often as flushes may end */
  unsigned ended;
  int result;
  bool is_running;
  bool has_overlapped;
};

static int
fake_flush (void *arg)
{
  struct fake *f = arg;

  f->has_overlapped |= f->is_running;
  f->is_running = true;
  event_count_add (&f->begun);
  event_count_wait (&f->may_end, ++f->ended);
  f->is_running = false;
  return f->result;
}

static void
fake_init (struct fake *f, unsigned may_end)
{
  *f = (struct fake){ .result = 0 };
  group_sync_init (&f->gs);
  event_count_init (&f->begun);
  event_count_init (&f->may_end);
  while (may_end-- > 0)
    event_count_add (&f->may_end);
}

static void
fake_destroy (struct fake *f)
{
  event_count_destroy (&f->may_end);
  event_count_destroy (&f->begun);
  group_sync_destroy (&f->gs);
}

START_TEST (alone_each_call_flushes)
{
  struct fake f;

  fake_init (&f, 3);
  ck_assert_int_eq (group_sync_error (&f.gs), 0);
  ck_assert_int_eq (group_sync (&f.gs, fake_flush, &f), 0);
  ck_assert_int_eq (group_sync (&f.gs, fake_flush, &f), 0);
  ck_assert_int_eq (group_sync (&f.gs, fake_flush, &f), 0);
  ck_assert_uint_eq (event_count_get (&f.begun), 3);
  fake_destroy (&f);
}
END_TEST

START_TEST (the_first_error_is_for_ever)
{
  struct fake f;

  fake_init (&f, 9);
  f.result = -ENOSPC;
  ck_assert_int_eq (group_sync (&f.gs, fake_flush, &f), -ENOSPC);
  ck_assert_int_eq (group_sync_error (&f.gs), -ENOSPC);
  f.result = 0;
  ck_assert_int_eq (group_sync (&f.gs, fake_flush, &f), -ENOSPC);
  f.result = -EIO;
  ck_assert_int_eq (group_sync (&f.gs, fake_flush, &f), -ENOSPC);
  group_sync_fail (&f.gs, -EROFS);
  ck_assert_int_eq (group_sync_error (&f.gs), -ENOSPC);
  fake_destroy (&f);

  fake_init (&f, 9);
  group_sync_fail (&f.gs, -EROFS);
  ck_assert_int_eq (group_sync_error (&f.gs), -EROFS);
  ck_assert_int_eq (group_sync (&f.gs, fake_flush, &f), -EROFS);
  fake_destroy (&f);
}
END_TEST

/* One flush is held up; those who come meanwhile are not content with it,
 * and share the next.
 */
#define CALLERS 6

struct caller {
  struct thread thread;
  struct fake *fake;
  struct event_count *about_to;
  unsigned begun_before;
  unsigned begun_after;
  int result;
};

static void
call_group_sync (void *arg)
{
  struct caller *c = arg;

  c->begun_before = event_count_get (&c->fake->begun);
  event_count_add (c->about_to);
  c->result = group_sync (&c->fake->gs, fake_flush, c->fake);
  c->begun_after = event_count_get (&c->fake->begun);
}

static void
share (int result)
{
  struct caller callers[CALLERS];
  struct event_count about_to;
  struct fake f;
  unsigned i;

  fake_init (&f, 0);
  f.result = result;
  event_count_init (&about_to);
  for (i = 0; i < CALLERS; ++i) {
    callers[i] = (struct caller){ .fake = &f, .about_to = &about_to };
    ck_assert_int_eq (thread_start (&callers[i].thread, "caller",
                                    call_group_sync, &callers[i]),
                      0);
    if (i == 0)
      event_count_wait (&f.begun, 1);
  }
  event_count_wait (&about_to, CALLERS);
  for (i = 0; i < CALLERS; ++i)
    event_count_add (&f.may_end);
  for (i = 0; i < CALLERS; ++i) {
    thread_join (&callers[i].thread);
    ck_assert_int_eq (callers[i].result, result);
    /* A flush began after the call had. */
    if (result == 0)
      ck_assert_uint_gt (callers[i].begun_after, callers[i].begun_before);
  }
  ck_assert (!f.has_overlapped);
  ck_assert_uint_le (event_count_get (&f.begun), CALLERS);
  event_count_destroy (&about_to);
  fake_destroy (&f);
}

START_TEST (who_comes_meanwhile_waits_for_the_next)
{
  unsigned round;

  for (round = 0; round < 100; ++round) {
    share (0);
    share (-EIO);
  }
}
END_TEST

/* One that is in flight, begun here and ended elsewhere. */
START_TEST (a_flush_may_be_in_flight)
{
  struct caller caller;
  struct event_count about_to;
  struct fake f;

  fake_init (&f, 0);
  event_count_init (&about_to);
  ck_assert_int_eq (group_sync_begin (&f.gs), 0);
  ck_assert_int_eq (group_sync_begin (&f.gs), -EAGAIN);
  caller = (struct caller){ .fake = &f, .about_to = &about_to };
  must (thread_start (&caller.thread, "caller", call_group_sync, &caller) == 0);
  event_count_wait (&about_to, 1);
  ck_assert_uint_eq (event_count_get (&f.begun), 0);
  group_sync_end (&f.gs, 0);
  /* It had begun too early for the other one. */
  event_count_wait (&f.begun, 1);
  event_count_add (&f.may_end);
  thread_join (&caller.thread);
  ck_assert_int_eq (caller.result, 0);
  /* It fails for all, until that is forgotten. */
  ck_assert_int_eq (group_sync_begin (&f.gs), 0);
  group_sync_end (&f.gs, -EIO);
  ck_assert_int_eq (group_sync_begin (&f.gs), -EIO);
  ck_assert_int_eq (group_sync_error (&f.gs), -EIO);
  group_sync_reset (&f.gs);
  ck_assert_int_eq (group_sync_error (&f.gs), 0);
  ck_assert_int_eq (group_sync_begin (&f.gs), 0);
  group_sync_end (&f.gs, 0);
  event_count_destroy (&about_to);
  fake_destroy (&f);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    alone_each_call_flushes,
    the_first_error_is_for_ever,
    who_comes_meanwhile_waits_for_the_next,
    a_flush_may_be_in_flight,
    NULL,
  };

  return unit_main ("group-sync", tests);
}
