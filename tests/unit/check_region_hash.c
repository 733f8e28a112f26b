/* Unit tests of the region hash.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "region-hash.h"
#include "target-test.h"

START_TEST (regions_cover_the_device)
{
  static const struct {
    sector_t sectors, region;
    uint64_t count, last;
  } shapes[] = {
    { 1, 2, 1, 1 },       { 2, 2, 1, 2 },         { 3, 2, 2, 1 },
    { 64, 64, 1, 64 },    { 65, 64, 2, 1 },       { 1000, 64, 16, 40 },
    { 4096, 1, 4096, 1 }, { 130 * 8, 8, 130, 8 },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (shapes); ++i) {
    sector_t next = 0, sector, count;
    struct region_hash *rh;
    uint64_t r;

    ck_assert_int_eq (region_hash_create (shapes[i].sectors, shapes[i].region,
                                          i % 2, &rh),
                      0);
    ck_assert_uint_eq (region_hash_region_count (rh), shapes[i].count);
    ck_assert_uint_eq (region_hash_in_sync_count (rh),
                       i % 2 ? shapes[i].count : 0);
    for (r = 0; r < shapes[i].count; ++r) {
      region_hash_region_range (rh, r, &sector, &count);
      ck_assert_uint_eq (sector, next);
      next += count;
    }
    ck_assert_uint_eq (count, shapes[i].last);
    ck_assert_uint_eq (next, shapes[i].sectors);
    ck_assert (region_hash_is_in_sync (rh, 0, shapes[i].sectors) ==
               (i % 2 != 0));
    region_hash_destroy (rh);
  }
  region_hash_destroy (NULL);
}
END_TEST

START_TEST (too_many_regions_are_refused)
{
  struct region_hash *rh = NULL;
  sector_t most = REGION_HASH_MAX_REGIONS * 4;

  ck_assert_int_eq (region_hash_create (most + 1, 4, false, &rh), -E2BIG);
  ck_assert_int_eq (region_hash_create (SECTOR_MAX, 4, true, &rh), -E2BIG);
  ck_assert_ptr_null (rh);
  ck_assert_int_eq (region_hash_create (most, 4, false, &rh), 0);
  ck_assert_uint_eq (region_hash_region_count (rh), REGION_HASH_MAX_REGIONS);
  region_hash_destroy (rh);
}
END_TEST

START_TEST (want_of_memory_is_told)
{
  struct region_hash *rh = NULL;
  unsigned k, failed = 1;
  int r;

  for (k = 0; failed > 0; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = region_hash_create (1000, 64, true, &rh);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_eq (k, 4);
  region_hash_destroy (rh);
}
END_TEST

#define REGION 4
#define REGIONS 200
#define SECTORS (REGION * REGIONS - 1)

/* States against an array of bools. */
START_TEST (states_are_as_the_model)
{
  struct chance chance = chance_begin ("states_are_as_the_model");
  unsigned round, step;

  for (round = 0; round < 50; ++round) {
    bool model[REGIONS];
    struct region_hash *rh;
    unsigned i;

    for (i = 0; i < REGIONS; ++i)
      model[i] = round % 2;
    ck_assert_int_eq (region_hash_create (SECTORS, REGION, round % 2, &rh), 0);
    for (step = 0; step < 100; ++step) {
      sector_t sector = chance_below (&chance, SECTORS);
      sector_t count = 1 + chance_below (&chance, 60);
      uint64_t first = sector / REGION, last, in_sync = 0, next, expected;
      bool all = true;

      count = MIN_OF (count, SECTORS - sector);
      last = (sector + count - 1) / REGION;
      if (chance_below (&chance, 3) == 0) {
        region_hash_write_begin (rh, sector, count);
        region_hash_set_nosync (rh, sector, count);
        region_hash_write_end (rh, sector, count);
        for (i = first; i <= last; ++i)
          model[i] = false;
      }
      else {
        bool recovered = chance_below (&chance, 4) != 0;

        region_hash_recovery_begin (rh, first);
        region_hash_recovery_end (rh, first, recovered);
        model[first] |= recovered;
      }
      for (i = 0; i < REGIONS; ++i)
        in_sync += model[i];
      ck_assert_uint_eq (region_hash_in_sync_count (rh), in_sync);
      for (i = first; i <= last; ++i)
        all &= model[i];
      ck_assert (region_hash_is_in_sync (rh, sector, count) == all);
      for (expected = first; expected < REGIONS && model[expected];)
        expected++;
      next = first;
      ck_assert (region_hash_next_nosync (rh, &next) == (expected < REGIONS));
      if (expected < REGIONS)
        ck_assert_uint_eq (next, expected);
    }
    ck_assert (!region_hash_next_nosync (rh, &(uint64_t){ REGIONS }));
    region_hash_destroy (rh);
  }
}
END_TEST

/*----- writes and recovery ---------------------------------------------*/

struct step {
  struct thread thread;
  struct region_hash *rh;
  sector_t sector;
  sector_t count;
  atomic_bool is_in;
  struct event_count may_leave;
};

static void
write_main (void *arg)
{
  struct step *s = arg;

  region_hash_write_begin (s->rh, s->sector, s->count);
  atomic_store (&s->is_in, true);
  event_count_wait (&s->may_leave, 1);
  region_hash_write_end (s->rh, s->sector, s->count);
}

static void
recover_main (void *arg)
{
  struct step *s = arg;

  region_hash_recovery_begin (s->rh, s->sector / REGION);
  atomic_store (&s->is_in, true);
  event_count_wait (&s->may_leave, 1);
  region_hash_recovery_end (s->rh, s->sector / REGION, true);
}

static void
step_start (struct step *s, struct region_hash *rh, void (*fn) (void *),
            sector_t sector, sector_t count)
{
  s->rh = rh;
  s->sector = sector;
  s->count = count;
  atomic_store (&s->is_in, false);
  event_count_init (&s->may_leave);
  ck_assert_int_eq (thread_start (&s->thread, "step", fn, s), 0);
}

static void
step_end (struct step *s)
{
  event_count_add (&s->may_leave);
  thread_join (&s->thread);
  event_count_destroy (&s->may_leave);
}

/* That somebody waits can be seen only by his not getting on. */
static bool
stays_out (struct step *s)
{
  unsigned i;

  for (i = 0; i < 5; ++i)
    short_wait ();
  return !atomic_load (&s->is_in);
}

START_TEST (recovery_waits_for_writes_and_writes_for_recovery)
{
  struct step writes[2], late, elsewhere, recovery;
  struct region_hash *rh;

  ck_assert_int_eq (region_hash_create (SECTORS, REGION, false, &rh), 0);
  step_start (&writes[0], rh, write_main, 5 * REGION, 1);
  step_start (&writes[1], rh, write_main, 3 * REGION, 10 * REGION);
  wait_until (atomic_load (&writes[0].is_in));
  wait_until (atomic_load (&writes[1].is_in));
  step_start (&recovery, rh, recover_main, 5 * REGION, 0);
  ck_assert (stays_out (&recovery));
  /* New writes are kept out while it waits, else it would for ever. */
  step_start (&late, rh, write_main, 4 * REGION, 2 * REGION);
  step_start (&elsewhere, rh, write_main, 6 * REGION, 1);
  wait_until (atomic_load (&elsewhere.is_in));
  ck_assert (stays_out (&late));
  step_end (&writes[0]);
  ck_assert (stays_out (&recovery));
  step_end (&writes[1]);
  wait_until (atomic_load (&recovery.is_in));
  ck_assert (stays_out (&late));
  step_end (&recovery);
  wait_until (atomic_load (&late.is_in));
  ck_assert_uint_eq (region_hash_in_sync_count (rh), 1);
  step_end (&late);
  step_end (&elsewhere);
  region_hash_destroy (rh);
}
END_TEST

/* A region has one holder at a time; holding alone changes no state. */
START_TEST (holders_wait_for_each_other)
{
  struct step recovery, write;
  struct region_hash *rh;

  ck_assert_int_eq (region_hash_create (SECTORS, REGION, false, &rh), 0);
  region_hash_hold (rh, 5);
  step_start (&recovery, rh, recover_main, 5 * REGION, 0);
  step_start (&write, rh, write_main, 5 * REGION, 1);
  ck_assert (stays_out (&recovery));
  ck_assert (!atomic_load (&write.is_in));
  region_hash_release (rh, 5);
  ck_assert_uint_eq (region_hash_in_sync_count (rh), 0);
  /* In whatever order they come now. */
  event_count_add (&write.may_leave);
  wait_until (atomic_load (&recovery.is_in));
  step_end (&recovery);
  wait_until (atomic_load (&write.is_in));
  thread_join (&write.thread);
  event_count_destroy (&write.may_leave);
  ck_assert_uint_eq (region_hash_in_sync_count (rh), 1);
  region_hash_hold (rh, 5);
  region_hash_release (rh, 5);
  ck_assert_uint_eq (region_hash_in_sync_count (rh), 1);
  region_hash_destroy (rh);
}
END_TEST

#define WRITERS 4
#define RECOVERERS 2

struct crowd {
  struct region_hash *rh;
  atomic_int writers[REGIONS];
  atomic_int recoverers[REGIONS];
  atomic_bool is_over;
  atomic_bool is_wrong;
};

struct crowd_member {
  struct thread thread;
  struct crowd *crowd;
  struct chance chance;
};

static void
crowd_writer_main (void *arg)
{
  struct crowd_member *m = arg;
  struct crowd *c = m->crowd;
  unsigned round;

  for (round = 0; round < 4000; ++round) {
    sector_t sector = chance_below (&m->chance, 8 * REGION);
    sector_t count = 1 + chance_below (&m->chance, 3 * REGION);
    uint64_t first = sector / REGION, last = (sector + count - 1) / REGION, i;

    region_hash_write_begin (c->rh, sector, count);
    for (i = first; i <= last; ++i) {
      atomic_fetch_add (&c->writers[i], 1);
      if (atomic_load (&c->recoverers[i]) > 0)
        atomic_store (&c->is_wrong, true);
    }
    if (chance_below (&m->chance, 4) == 0)
      region_hash_set_nosync (c->rh, sector, count);
    for (i = first; i <= last; ++i)
      atomic_fetch_sub (&c->writers[i], 1);
    region_hash_write_end (c->rh, sector, count);
  }
}

static void
crowd_recoverer_main (void *arg)
{
  struct crowd_member *m = arg;
  struct crowd *c = m->crowd;

  while (!atomic_load (&c->is_over)) {
    uint64_t region = chance_below (&m->chance, 8);
    unsigned i;

    region_hash_recovery_begin (c->rh, region);
    if (atomic_fetch_add (&c->recoverers[region], 1) > 0)
      atomic_store (&c->is_wrong, true);
    for (i = 0; i < 50; ++i)
      if (atomic_load (&c->writers[region]) > 0)
        atomic_store (&c->is_wrong, true);
    atomic_fetch_sub (&c->recoverers[region], 1);
    region_hash_recovery_end (c->rh, region, true);
  }
}

START_TEST (nobody_writes_where_a_region_recovers)
{
  struct chance chance = chance_begin ("nobody_writes_where_a_region_recovers");
  static struct crowd crowd;
  struct crowd_member writers[WRITERS], recoverers[RECOVERERS];
  uint64_t in_sync = 0, r;
  unsigned i;

  ck_assert_int_eq (region_hash_create (SECTORS, REGION, false, &crowd.rh), 0);
  for (i = 0; i < RECOVERERS; ++i) {
    recoverers[i].crowd = &crowd;
    recoverers[i].chance.state = chance_next (&chance);
    ck_assert_int_eq (thread_start (&recoverers[i].thread, "recoverer",
                                    crowd_recoverer_main, &recoverers[i]),
                      0);
  }
  for (i = 0; i < WRITERS; ++i) {
    writers[i].crowd = &crowd;
    writers[i].chance.state = chance_next (&chance);
    ck_assert_int_eq (thread_start (&writers[i].thread, "writer",
                                    crowd_writer_main, &writers[i]),
                      0);
  }
  for (i = 0; i < WRITERS; ++i)
    thread_join (&writers[i].thread);
  atomic_store (&crowd.is_over, true);
  for (i = 0; i < RECOVERERS; ++i)
    thread_join (&recoverers[i].thread);
  ck_assert (!atomic_load (&crowd.is_wrong));
  /* The counter has kept up with the bits. */
  for (r = 0; r < REGIONS; ++r)
    in_sync += region_hash_is_in_sync (crowd.rh, r * REGION, 1);
  ck_assert_uint_eq (region_hash_in_sync_count (crowd.rh), in_sync);
  region_hash_destroy (crowd.rh);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    regions_cover_the_device,
    too_many_regions_are_refused,
    want_of_memory_is_told,
    states_are_as_the_model,
    recovery_waits_for_writes_and_writes_for_recovery,
    holders_wait_for_each_other,
    nobody_writes_where_a_region_recovers,
    NULL,
  };

  return unit_main ("region-hash", tests);
}
