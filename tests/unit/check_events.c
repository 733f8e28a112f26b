/* Unit tests of the ring of events.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "events.h"
#include "test-util.h"

static void
put (struct events *events, unsigned leg)
{
  events_put (events, &(struct event){
                        .type = EVENT_LEG_STATE, .has_leg = true, .leg = leg });
}

START_TEST (each_once_and_in_order)
{
  struct events *events;
  struct event event;
  uint64_t next = 1, lost, counts[EVENT_TYPES];
  unsigned i;

  ck_assert_int_eq (events_create (&events), 0);
  ck_assert (!events_take (events, &next, &event, &lost));
  for (i = 0; i < 3 * EVENTS_KEPT; ++i) {
    put (events, i);
    ck_assert (events_take (events, &next, &event, &lost));
    ck_assert_uint_eq (lost, 0);
    ck_assert_uint_eq (event.leg, i);
    ck_assert_uint_eq (event.number, i + 1);
    ck_assert (!events_take (events, &next, &event, &lost));
  }
  ck_assert_uint_eq (events_next (events), next);
  events_get_counts (events, counts);
  ck_assert_uint_eq (counts[EVENT_LEG_STATE], 3 * EVENTS_KEPT);
  ck_assert_uint_eq (counts[EVENT_VOLUME_STATE], 0);
  events_destroy (events);
}
END_TEST

/* A full ring loses none; one more loses one, and says so. */
START_TEST (what_is_missed_is_counted)
{
  struct events *events;
  struct event event;
  uint64_t next = 1, lost;
  unsigned i;

  ck_assert_int_eq (events_create (&events), 0);
  for (i = 0; i < EVENTS_KEPT; ++i)
    put (events, i);
  ck_assert (events_take (events, &next, &event, &lost));
  ck_assert_uint_eq (lost, 0);
  ck_assert_uint_eq (event.number, 1);
  for (i = 0; i < 10; ++i)
    put (events, i);
  ck_assert (events_take (events, &next, &event, &lost));
  ck_assert_uint_eq (lost, 9);
  for (i = 0; i < EVENTS_KEPT; ++i) {
    ck_assert (events_take (events, &next, &event, &lost));
    ck_assert_uint_eq (lost, 0);
    ck_assert_uint_eq (event.number, 11 + i);
  }
  ck_assert (!events_take (events, &next, &event, &lost));
  events_destroy (events);
}
END_TEST

static void
count_wake (void *opaque)
{
  ++*(unsigned *) opaque;
}

START_TEST (readers_are_woken)
{
  struct events *events;
  unsigned woken = 0;

  ck_assert_int_eq (events_create (&events), 0);
  put (events, 0);
  events_set_wake (events, count_wake, &woken);
  put (events, 0);
  ck_assert_uint_eq (woken, 1);
  events_set_wake (events, NULL, NULL);
  put (events, 0);
  ck_assert_uint_eq (woken, 1);
  events_destroy (events);
}
END_TEST

#define WRITERS 4
#define EACH 2000

struct writer {
  struct events *events;
  struct thread thread;
};

static void
write_events (void *arg)
{
  struct writer *w = arg;
  unsigned i;

  for (i = 0; i < EACH; ++i)
    put (w->events, i);
}

/* Whatever a slow reader meets: what it saw and what it missed is all there
 * was.
 */
START_TEST (nothing_is_unaccounted_for)
{
  struct events *events;
  struct writer writers[WRITERS];
  struct event event;
  uint64_t next = 1, lost, seen = 0, missed = 0, last = 0;
  unsigned i;

  ck_assert_int_eq (events_create (&events), 0);
  for (i = 0; i < WRITERS; ++i) {
    writers[i].events = events;
    ck_assert_int_eq (thread_start (&writers[i].thread, "writer", write_events,
                                    &writers[i]),
                      0);
  }
  while (seen + missed < WRITERS * EACH) {
    if (!events_take (events, &next, &event, &lost))
      continue;
    missed += lost;
    if (lost > 0)
      continue;
    ck_assert_uint_gt (event.number, last);
    last = event.number;
    seen++;
    ck_assert_uint_eq (seen + missed, last);
  }
  for (i = 0; i < WRITERS; ++i)
    thread_join (&writers[i].thread);
  ck_assert (!events_take (events, &next, &event, &lost));
  events_destroy (events);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    each_once_and_in_order,
    what_is_missed_is_counted,
    readers_are_woken,
    nothing_is_unaccounted_for,
    NULL,
  };

  return unit_main ("events", tests);
}
