/* Unit tests of the region hash.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "region-hash.h"
#include "target-test.h"

/* A hash with a core log, which is the caller's. */
static int
create_hash (sector_t sectors, sector_t region_sectors, bool is_in_sync,
             struct dirty_log **log, struct region_hash **rh)
{
  struct region_hash_params params = {
    .sectors = sectors,
    .region_sectors = region_sectors,
  };
  int r = dirty_log_core_create (div_round_up (sectors, region_sectors),
                                 is_in_sync, log);

  if (r < 0)
    return r;
  params.log = *log;
  r = region_hash_create (&params, rh);
  if (r < 0)
    dirty_log_destroy (*log);
  return r;
}

static void
destroy_hash (struct region_hash *rh, struct dirty_log *log)
{
  region_hash_destroy (rh);
  dirty_log_destroy (log);
}

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
    struct dirty_log *log;
    uint64_t r;

    ck_assert_int_eq (create_hash (shapes[i].sectors, shapes[i].region, i % 2,
                                   &log, &rh),
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
    destroy_hash (rh, log);
  }
  region_hash_destroy (NULL);
}
END_TEST

START_TEST (too_many_regions_are_refused)
{
  struct region_hash *rh = NULL;
  sector_t most = REGION_HASH_MAX_REGIONS * 4;
  struct dirty_log *log;

  ck_assert_int_eq (create_hash (most + 1, 4, true, &log, &rh), -E2BIG);
  ck_assert_int_eq (create_hash (SECTOR_MAX, 4, true, &log, &rh), -E2BIG);
  ck_assert_ptr_null (rh);
  ck_assert_int_eq (create_hash (most, 4, true, &log, &rh), 0);
  ck_assert_uint_eq (region_hash_region_count (rh), REGION_HASH_MAX_REGIONS);
  destroy_hash (rh, log);
}
END_TEST

START_TEST (want_of_memory_is_told)
{
  struct region_hash *rh = NULL;
  struct dirty_log *log;
  unsigned k, failed = 1;
  int r;

  for (k = 0; failed > 0; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = create_hash (1000, 64, true, &log, &rh);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_gt (k, 6);
  destroy_hash (rh, log);
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
    struct dirty_log *log;
    unsigned i;

    for (i = 0; i < REGIONS; ++i)
      model[i] = round % 2;
    ck_assert_int_eq (create_hash (SECTORS, REGION, round % 2, &log, &rh), 0);
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
    destroy_hash (rh, log);
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
  struct dirty_log *log;

  ck_assert_int_eq (create_hash (SECTORS, REGION, false, &log, &rh), 0);
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
  destroy_hash (rh, log);
}
END_TEST

/* A region has one holder at a time; holding alone changes no state. */
START_TEST (holders_wait_for_each_other)
{
  struct step recovery, write;
  struct region_hash *rh;
  struct dirty_log *log;

  ck_assert_int_eq (create_hash (SECTORS, REGION, false, &log, &rh), 0);
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
  destroy_hash (rh, log);
}
END_TEST

#define WRITERS 4
#define RECOVERERS 2

struct crowd {
  struct region_hash *rh;
  struct dirty_log *log;
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
      if (atomic_load (&c->recoverers[i]) > 0 ||
          !dirty_log_is_dirty (c->log, i))
        atomic_store (&c->is_wrong, true);
    }
    if (chance_below (&m->chance, 4) == 0)
      region_hash_set_nosync (c->rh, sector, count);
    for (i = first; i <= last; ++i) {
      if (!dirty_log_is_dirty (c->log, i))
        atomic_store (&c->is_wrong, true);
      atomic_fetch_sub (&c->writers[i], 1);
    }
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

static void
crowd_cleaner_main (void *arg)
{
  struct crowd_member *m = arg;
  struct crowd *c = m->crowd;

  while (!atomic_load (&c->is_over)) {
    if (chance_below (&m->chance, 2))
      region_hash_choose_idle (c->rh);
    else
      region_hash_choose_all (c->rh);
    region_hash_clean_chosen (c->rh);
  }
}

/* And what is written is dirty in the log, whoever cleans it. */
START_TEST (nobody_writes_where_a_region_recovers)
{
  struct chance chance = chance_begin ("nobody_writes_where_a_region_recovers");
  static struct crowd crowd;
  struct crowd_member writers[WRITERS], recoverers[RECOVERERS], cleaner;
  uint64_t in_sync = 0, r;
  unsigned i;

  ck_assert_int_eq (create_hash (SECTORS, REGION, false, &crowd.log, &crowd.rh),
                    0);
  cleaner.crowd = &crowd;
  cleaner.chance.state = chance_next (&chance);
  ck_assert_int_eq (thread_start (&cleaner.thread, "cleaner",
                                  crowd_cleaner_main, &cleaner),
                    0);
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
  thread_join (&cleaner.thread);
  for (i = 0; i < RECOVERERS; ++i)
    thread_join (&recoverers[i].thread);
  ck_assert (!atomic_load (&crowd.is_wrong));
  /* The counter has kept up with the bits. */
  for (r = 0; r < REGIONS; ++r) {
    bool is_in_sync = region_hash_is_in_sync (crowd.rh, r * REGION, 1);

    in_sync += is_in_sync;
    ck_assert (is_in_sync || dirty_log_is_dirty (crowd.log, r));
  }
  ck_assert_uint_eq (region_hash_in_sync_count (crowd.rh), in_sync);
  /* Now that nobody writes, all that is in sync can be clean. */
  region_hash_choose_all (crowd.rh);
  region_hash_clean_chosen (crowd.rh);
  ck_assert_uint_eq (dirty_log_dirty_count (crowd.log), REGIONS - in_sync);
  destroy_hash (crowd.rh, crowd.log);
}
END_TEST

/*----- the log ---------------------------------------------------------*/

/* A hash with a disk log, all clean. */
struct logged {
  struct fault_trace *trace;
  struct fault_bdev *disk;
  struct dirty_log *log;
  struct region_hash *rh;
  unsigned failures; /* that were asked about */
  int answer;
};

static int
take_failure (void *opaque, int error)
{
  struct logged *l = opaque;

  l->failures++;
  return error == -EIO ? l->answer : -EPROTO;
}

static void
logged_create (struct logged *l)
{
  struct region_hash_params params = {
    .sectors = SECTORS,
    .region_sectors = REGION,
    .log_failed = take_failure,
    .opaque = l,
  };

  memset (l, 0, sizeof *l);
  l->trace = fault_trace_create ();
  l->disk = fault_bdev_create ("log", 8, l->trace);
  ck_assert_int_eq (dirty_log_disk_create (REGIONS, true, &l->log), 0);
  ck_assert_int_eq (dirty_log_disk_attach (l->log,
                                           fault_bdev_open (l->disk, 0)),
                    0);
  ck_assert_int_eq (dirty_log_flush (l->log), 0);
  fault_trace_reset (l->trace);
  params.log = l->log;
  ck_assert_int_eq (region_hash_create (&params, &l->rh), 0);
}

static void
logged_destroy (struct logged *l)
{
  destroy_hash (l->rh, l->log);
  fault_bdev_destroy (l->disk);
  fault_trace_destroy (l->trace);
}

static void
assert_log_trace (struct logged *l, const char *expected)
{
  char *text = fault_trace_text (l->trace, FAULT_ALL);

  ck_assert_str_eq (text, expected);
  free (text);
  fault_trace_reset (l->trace);
}

static void
write_once (struct logged *l, uint64_t region, int expected)
{
  ck_assert_int_eq (region_hash_write_begin (l->rh, region * REGION, 1),
                    expected);
  ck_assert (dirty_log_is_dirty (l->log, region));
  region_hash_write_end (l->rh, region * REGION, 1);
}

START_TEST (a_clean_region_is_marked_once)
{
  struct logged l;

  logged_create (&l);
  write_once (&l, 7, 1);
  assert_log_trace (&l, "log write 2+1, log flush");
  write_once (&l, 7, 0);
  write_once (&l, 7, 0);
  assert_log_trace (&l, "");
  /* Some of these are, and some are not. */
  ck_assert_int_eq (region_hash_write_begin (l.rh, 5 * REGION, 5 * REGION), 1);
  region_hash_write_end (l.rh, 5 * REGION, 5 * REGION);
  assert_log_trace (&l, "log write 2+1, log flush");
  ck_assert_int_eq (region_hash_write_begin (l.rh, 5 * REGION, 5 * REGION), 0);
  region_hash_write_end (l.rh, 5 * REGION, 5 * REGION);
  ck_assert_uint_eq (dirty_log_dirty_count (l.log), 5);
  ck_assert_uint_eq (region_hash_cleanable_count (l.rh), 5);
  ck_assert_uint_eq (region_hash_in_sync_count (l.rh), REGIONS);
  ck_assert_int_eq (region_hash_mark_all (l.rh), 0);
  ck_assert_uint_eq (dirty_log_dirty_count (l.log), REGIONS);
  assert_log_trace (&l, "log write 2+1, log flush");
  logged_destroy (&l);
}
END_TEST

START_TEST (only_idle_regions_are_cleaned)
{
  struct logged l;

  logged_create (&l);
  write_once (&l, 1, 1);
  write_once (&l, 2, 1);
  write_once (&l, 3, 1);
  ck_assert_int_eq (region_hash_write_begin (l.rh, 4 * REGION, 1), 1);
  /* All have been written since the last time, which was never. */
  ck_assert_uint_eq (region_hash_choose_idle (l.rh), 0);
  ck_assert_uint_eq (region_hash_clean_chosen (l.rh), 0);
  /* 4 is being written. */
  write_once (&l, 1, 0);
  ck_assert_uint_eq (region_hash_choose_idle (l.rh), 2);
  /* What is written between choosing and cleaning stays. */
  write_once (&l, 2, 0);
  ck_assert_uint_eq (region_hash_clean_chosen (l.rh), 1);
  ck_assert (!dirty_log_is_dirty (l.log, 3));
  ck_assert_uint_eq (dirty_log_dirty_count (l.log), 3);
  /* A cleaned one is marked again. */
  fault_trace_reset (l.trace);
  write_once (&l, 3, 1);
  assert_log_trace (&l, "log write 2+1, log flush");
  region_hash_write_end (l.rh, 4 * REGION, 1);
  /* Chosen when it was not being written, and cleaned when it is. */
  ck_assert_uint_eq (region_hash_choose_all (l.rh), 4);
  ck_assert_int_eq (region_hash_write_begin (l.rh, 4 * REGION, 1), 0);
  ck_assert_uint_eq (region_hash_clean_chosen (l.rh), 3);
  ck_assert (dirty_log_is_dirty (l.log, 4));
  region_hash_write_end (l.rh, 4 * REGION, 1);
  /* Choosing again forgets what was chosen. */
  ck_assert_uint_eq (region_hash_choose_all (l.rh), 1);
  ck_assert_uint_eq (region_hash_choose_all (l.rh), 1);
  ck_assert_uint_eq (region_hash_clean_chosen (l.rh), 1);
  ck_assert_uint_eq (region_hash_clean_chosen (l.rh), 0);
  logged_destroy (&l);
}
END_TEST

START_TEST (what_is_not_in_sync_stays_dirty)
{
  struct logged l;

  logged_create (&l);
  ck_assert_int_eq (region_hash_write_begin (l.rh, 0, 3 * REGION), 1);
  region_hash_set_nosync (l.rh, REGION, 1);
  region_hash_write_end (l.rh, 0, 3 * REGION);
  ck_assert_uint_eq (region_hash_cleanable_count (l.rh), 2);
  ck_assert_uint_eq (region_hash_choose_all (l.rh), 2);
  ck_assert_uint_eq (region_hash_clean_chosen (l.rh), 2);
  ck_assert (dirty_log_is_dirty (l.log, 1));
  region_hash_recovery_begin (l.rh, 1);
  region_hash_recovery_end (l.rh, 1, true);
  ck_assert_uint_eq (region_hash_choose_idle (l.rh), 1);
  ck_assert_uint_eq (region_hash_clean_chosen (l.rh), 1);
  ck_assert_uint_eq (dirty_log_dirty_count (l.log), 0);

  /* A leg comes back: it lacks what is dirty, and nothing else. */
  ck_assert_int_eq (region_hash_write_begin (l.rh, 8 * REGION, 2 * REGION), 1);
  region_hash_write_end (l.rh, 8 * REGION, 2 * REGION);
  region_hash_set_dirty_nosync (l.rh);
  ck_assert_uint_eq (region_hash_in_sync_count (l.rh), REGIONS - 2);
  ck_assert (!region_hash_is_in_sync (l.rh, 8 * REGION, 1));
  ck_assert (!region_hash_is_in_sync (l.rh, 9 * REGION, 1));
  ck_assert_uint_eq (region_hash_cleanable_count (l.rh), 0);
  /* The others still agree, until a write has failed on all. */
  ck_assert (region_hash_legs_agree (l.rh, 0, SECTORS));
  ck_assert_int_eq (region_hash_write_begin (l.rh, 8 * REGION, REGION), 0);
  region_hash_set_nosync (l.rh, 8 * REGION, 1);
  region_hash_write_end (l.rh, 8 * REGION, REGION);
  ck_assert (!region_hash_legs_agree (l.rh, 7 * REGION, 2 * REGION));
  ck_assert (region_hash_legs_agree (l.rh, 9 * REGION, 1));
  region_hash_recovery_begin (l.rh, 8);
  region_hash_recovery_end (l.rh, 8, false);
  ck_assert (!region_hash_legs_agree (l.rh, 8 * REGION, 1));
  region_hash_recovery_begin (l.rh, 8);
  region_hash_recovery_end (l.rh, 8, true);
  ck_assert (region_hash_legs_agree (l.rh, 8 * REGION, 1));
  logged_destroy (&l);
}
END_TEST

START_TEST (a_write_that_cannot_be_marked_is_not_done)
{
  struct logged l;

  logged_create (&l);
  write_once (&l, 1, 1);
  fault_bdev_fail_from (l.disk, FAULT_WRITE, 0);
  l.answer = -ENOSPC;
  ck_assert_int_eq (region_hash_write_begin (l.rh, 2 * REGION, 1), -ENOSPC);
  ck_assert_int_eq (region_hash_write_begin (l.rh, 0, 4 * REGION), -ENOSPC);
  ck_assert_uint_eq (l.failures, 2);
  ck_assert (region_hash_has_log (l.rh));
  /* No write is in flight: or these would wait for ever. */
  region_hash_recovery_begin (l.rh, 1);
  region_hash_recovery_end (l.rh, 1, true);
  region_hash_recovery_begin (l.rh, 2);
  region_hash_recovery_end (l.rh, 2, true);
  write_once (&l, 1, 0); /* is dirty since before */

  /* Now it can be recorded that there is no log: all goes on without. */
  l.answer = 0;
  write_once (&l, 2, 1);
  write_once (&l, 3, 1);
  ck_assert_uint_eq (l.failures, 3);
  ck_assert (!region_hash_has_log (l.rh));
  ck_assert_uint_eq (region_hash_cleanable_count (l.rh), 0);
  ck_assert_uint_eq (region_hash_choose_all (l.rh), 0);
  logged_destroy (&l);
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
    a_clean_region_is_marked_once,
    only_idle_regions_are_cleaned,
    what_is_not_in_sync_stays_dirty,
    a_write_that_cannot_be_marked_is_not_done,
    NULL,
  };

  return unit_main ("region-hash", tests);
}
