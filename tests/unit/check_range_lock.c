/* Unit tests of the range lock.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "range-lock.h"
#include "target-test.h"

/* One thread that takes a range, says so, and holds it until told. */
struct holder {
  struct thread thread;
  struct range_lock *rl;
  sector_t sector;
  sector_t count;
  struct event_count *got;
  struct event_count may_release;
  atomic_bool has_it;
};

static void
holder_main (void *arg)
{
  struct holder *h = arg;
  struct range_hold hold;

  range_lock_acquire (h->rl, &hold, h->sector, h->count);
  atomic_store (&h->has_it, true);
  event_count_add (h->got);
  event_count_wait (&h->may_release, 1);
  range_lock_release (h->rl, &hold);
}

/* How many hold or want a range. */
static unsigned
hold_count (struct range_lock *rl)
{
  struct list *link;
  unsigned n = 0;

  mutex_lock (&rl->lock);
  list_for_each (link, &rl->holds)
    n++;
  mutex_unlock (&rl->lock);
  return n;
}

static unsigned
waiting_count (struct range_lock *rl)
{
  unsigned n;

  mutex_lock (&rl->lock);
  n = rl->waiting;
  mutex_unlock (&rl->lock);
  return n;
}

#define HOLDERS 6

struct rig {
  struct range_lock rl;
  struct event_count got;
  struct holder holders[HOLDERS];
  unsigned count;
};

static void
rig_create (struct rig *rig)
{
  memset (rig, 0, sizeof *rig);
  range_lock_init (&rig->rl);
  event_count_init (&rig->got);
}

/* Have one more thread want a range, after all the others. */
static struct holder *
want (struct rig *rig, sector_t sector, sector_t count)
{
  struct holder *h = &rig->holders[rig->count++];

  h->rl = &rig->rl;
  h->sector = sector;
  h->count = count;
  h->got = &rig->got;
  event_count_init (&h->may_release);
  ck_assert_int_eq (thread_start (&h->thread, "holder", holder_main, h), 0);
  wait_until (hold_count (&rig->rl) == rig->count);
  return h;
}

/* Let everybody go, and join. */
static void
rig_destroy (struct rig *rig)
{
  unsigned i;

  for (i = 0; i < rig->count; ++i)
    event_count_add (&rig->holders[i].may_release);
  for (i = 0; i < rig->count; ++i) {
    thread_join (&rig->holders[i].thread);
    event_count_destroy (&rig->holders[i].may_release);
  }
  range_lock_destroy (&rig->rl);
  event_count_destroy (&rig->got);
}

START_TEST (ranges_apart_do_not_notice_each_other)
{
  struct rig rig;

  rig_create (&rig);
  (void) want (&rig, 10, 10);
  (void) want (&rig, 0, 10); /* up to the border */
  (void) want (&rig, 20, 1);
  (void) want (&rig, UINT64_C (1) << 50, 5);
  event_count_wait (&rig.got, 4);
  ck_assert_uint_eq (waiting_count (&rig.rl), 0);
  rig_destroy (&rig);
}
END_TEST

START_TEST (ranges_that_overlap_wait)
{
  static const struct {
    sector_t sector, count;
  } overlaps[] = { { 10, 10 },  { 0, 11 },  { 19, 1 },
                   { 19, 100 }, { 0, 100 }, { 12, 3 } };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (overlaps); ++i) {
    struct holder *first, *second;
    struct rig rig;

    rig_create (&rig);
    first = want (&rig, 10, 10);
    event_count_wait (&rig.got, 1);
    second = want (&rig, overlaps[i].sector, overlaps[i].count);
    wait_until (waiting_count (&rig.rl) == 1);
    ck_assert (!atomic_load (&second->has_it));
    event_count_add (&first->may_release);
    event_count_wait (&rig.got, 2);
    ck_assert (atomic_load (&second->has_it));
    rig_destroy (&rig);
  }
}
END_TEST

/* Who came first goes first, and nobody overtakes who waits, even where
 * nobody holds anything: else large ranges would wait for ever.
 */
START_TEST (they_go_in_the_order_in_which_they_came)
{
  struct holder *a, *b, *c, *d;
  struct rig rig;

  rig_create (&rig);
  a = want (&rig, 0, 10);
  event_count_wait (&rig.got, 1);
  b = want (&rig, 5, 10);  /* waits for a */
  c = want (&rig, 12, 10); /* waits for b, though nobody holds it */
  d = want (&rig, 30, 10); /* waits for nobody */
  event_count_wait (&rig.got, 2);
  wait_until (waiting_count (&rig.rl) == 2);
  ck_assert (atomic_load (&d->has_it));
  ck_assert (!atomic_load (&b->has_it));
  ck_assert (!atomic_load (&c->has_it));
  event_count_add (&a->may_release);
  event_count_wait (&rig.got, 3);
  ck_assert (atomic_load (&b->has_it));
  wait_until (waiting_count (&rig.rl) == 1);
  ck_assert (!atomic_load (&c->has_it));
  event_count_add (&b->may_release);
  event_count_wait (&rig.got, 4);
  ck_assert (atomic_load (&c->has_it));
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_range_is_wanted_while_one_has_it_or_waits)
{
  struct rig rig;

  rig_create (&rig);
  ck_assert (!range_lock_is_wanted (&rig.rl, 0, 100));
  (void) want (&rig, 10, 10);
  event_count_wait (&rig.got, 1);
  (void) want (&rig, 15, 15); /* waits */
  wait_until (waiting_count (&rig.rl) == 1);
  ck_assert (range_lock_is_wanted (&rig.rl, 19, 1));
  ck_assert (range_lock_is_wanted (&rig.rl, 25, 100));
  ck_assert (!range_lock_is_wanted (&rig.rl, 0, 10));
  ck_assert (!range_lock_is_wanted (&rig.rl, 30, 10));
  ck_assert (!range_lock_is_wanted (&rig.rl, 12, 0));
  rig_destroy (&rig);
}
END_TEST

START_TEST (one_range_is_a_queue)
{
  struct rig rig;
  unsigned i, j;

  rig_create (&rig);
  for (i = 0; i < HOLDERS; ++i)
    (void) want (&rig, 7, 3);
  for (i = 0; i < HOLDERS; ++i) {
    event_count_wait (&rig.got, i + 1);
    wait_until (waiting_count (&rig.rl) == HOLDERS - 1 - i);
    for (j = 0; j < HOLDERS; ++j)
      ck_assert (atomic_load (&rig.holders[j].has_it) == (j <= i));
    event_count_add (&rig.holders[i].may_release);
  }
  rig_destroy (&rig);
}
END_TEST

/*----- many threads ----------------------------------------------------*/

#define SECTORS 64
#define THREADS 6

/* Plain memory on purpose: the lock is all that protects it. */
struct shared {
  struct range_lock rl;
  unsigned owners[SECTORS];
};

struct user {
  struct thread thread;
  struct shared *shared;
  struct chance chance;
  unsigned number;
  bool is_wrong;
};

static void
user_main (void *arg)
{
  struct user *u = arg;
  unsigned round;

  for (round = 0; round < 3000; ++round) {
    sector_t sector = chance_below (&u->chance, SECTORS);
    sector_t count = 1 + chance_below (&u->chance, 16);
    struct range_hold hold;
    sector_t s;

    count = MIN_OF (count, SECTORS - sector);
    range_lock_acquire (&u->shared->rl, &hold, sector, count);
    for (s = sector; s < sector + count; ++s) {
      u->is_wrong |= u->shared->owners[s] != 0;
      u->shared->owners[s] = u->number;
    }
    for (s = sector; s < sector + count; ++s) {
      u->is_wrong |= u->shared->owners[s] != u->number;
      u->shared->owners[s] = 0;
    }
    range_lock_release (&u->shared->rl, &hold);
  }
}

START_TEST (a_sector_has_one_owner)
{
  struct chance chance = chance_begin ("a_sector_has_one_owner");
  struct user users[THREADS];
  struct shared shared = { .owners = { 0 } };
  unsigned i;

  range_lock_init (&shared.rl);
  for (i = 0; i < THREADS; ++i) {
    users[i] = (struct user){
      .shared = &shared,
      .chance = { chance_next (&chance) },
      .number = i + 1,
    };
    ck_assert_int_eq (thread_start (&users[i].thread, "user", user_main,
                                    &users[i]),
                      0);
  }
  for (i = 0; i < THREADS; ++i) {
    thread_join (&users[i].thread);
    ck_assert (!users[i].is_wrong);
  }
  range_lock_destroy (&shared.rl);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    ranges_apart_do_not_notice_each_other,
    ranges_that_overlap_wait,
    they_go_in_the_order_in_which_they_came,
    a_range_is_wanted_while_one_has_it_or_waits,
    one_range_is_a_queue,
    a_sector_has_one_owner,
    NULL,
  };

  return unit_main ("range-lock", tests);
}
