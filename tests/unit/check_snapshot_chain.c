/* Unit tests of snapshots: chains of them, against a model.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "snapshot-test.h"

#define DEVICES (MAX_SNAPSHOTS + 1) /* snapshots, then the volume */
#define VOLUME MAX_SNAPSHOTS
#define THREADS 4
#define GROUP 3 /* neighbouring sectors belong to one thread */

/* What each sector of each device holds: the seed of its pattern, or
 * ZEROES.  A sector belongs to one thread while threads run.
 */
#define ZEROES 0
struct model {
  uint64_t seeds[DEVICES][SECTORS];
};

struct writer {
  struct thread thread;
  struct rig *rig;
  struct model *model;
  struct chance chance;
  unsigned number;
  unsigned operations;
  unsigned wrong; /* the line where something was, or 0 */
};

static atomic_ullong last_seed = 1000;

static bool
holds (const unsigned char *data, uint64_t seed, sector_t sector)
{
  return seed == ZEROES ? first_other_byte (data, 0, SECTOR_SIZE) == SECTOR_SIZE
                        : first_wrong_sector (data, seed, sector, 1) > sector;
}

/* Read and compare.  A broken snapshot may say -EIO. */
static bool
read_is_right (struct rig *rig, const struct model *model, unsigned device,
               sector_t sector, sector_t count)
{
  unsigned char data[GROUP * THREADS * 8 * SECTOR_SIZE];
  struct target *t = device == VOLUME ? volume_of (rig)
                                      : target_of (rig, device);
  sector_t i;
  int r = target_read (t, data, sector, count);

  if (r == -EIO && device != VOLUME &&
      !snapshot_is_valid (rig->snapshots[device].snapshot))
    return true;
  for (i = 0; r == 0 && i < count; ++i)
    if (!holds (data + i * SECTOR_SIZE, model->seeds[device][sector + i],
                sector + i))
      return false;
  return r == 0;
}

/* One random operation of a thread, on its own sectors. */
static bool
random_operation (struct writer *w)
{
  struct chance *c = &w->chance;
  sector_t groups = SECTORS / GROUP;
  sector_t group = chance_below (c, groups / THREADS) * THREADS + w->number;
  sector_t sector = group * GROUP + chance_below (c, GROUP);
  sector_t count = 1 + chance_below (c, (group + 1) * GROUP - sector);
  unsigned device = chance_below (c, 3) == 0 && w->rig->count > 0
                      ? (unsigned) chance_below (c, w->rig->count)
                      : VOLUME;
  struct target *t = device == VOLUME ? volume_of (w->rig)
                                      : target_of (w->rig, device);
  bool is_read_only = device != VOLUME &&
                      w->rig->snapshots[device].is_read_only;
  unsigned what = (unsigned) chance_below (c, 10);
  uint64_t seed = ZEROES;
  sector_t i;
  int r;

  /* Failed writes leave what the model cannot tell: none to this one. */
  if (what >= 4 && device != VOLUME && w->rig->snapshots[device].is_fragile) {
    device = VOLUME;
    t = volume_of (w->rig);
  }
  if (is_read_only) {
    /* Nobody writes it, so all of it can be looked at. */
    sector = chance_below (c, SECTORS);
    count = 1 + chance_below (c, GROUP * THREADS * 8);
    count = MIN_OF (count, SECTORS - sector);
    return read_is_right (w->rig, w->model, device, sector, count);
  }
  if (what < 4)
    return read_is_right (w->rig, w->model, device, sector, count);
  if (what < 9) {
    seed = atomic_fetch_add (&last_seed, 1);
    r = write_pattern (t, seed, sector, count);
  }
  else
    r = target_zero (t, sector, count, what % 2 ? BDEV_UNMAP : 0);
  for (i = 0; i < count; ++i)
    w->model->seeds[device][sector + i] = seed;
  return r == 0 || (r == -EIO && device != VOLUME &&
                    !snapshot_is_valid (w->rig->snapshots[device].snapshot));
}

static void
writer_main (void *arg)
{
  struct writer *w = arg;

  while (w->operations-- > 0 && w->wrong == 0)
    if (!random_operation (w))
      w->wrong = __LINE__;
}

static void
run_writers (struct rig *rig, struct model *model, struct chance *chance,
             unsigned operations)
{
  struct writer w[THREADS];
  unsigned i;

  for (i = 0; i < THREADS; ++i) {
    w[i] = (struct writer){
      .rig = rig,
      .model = model,
      .chance = { chance_next (chance) },
      .number = i,
      .operations = operations,
    };
    ck_assert_int_eq (thread_start (&w[i].thread, "writer", writer_main, &w[i]),
                      0);
  }
  for (i = 0; i < THREADS; ++i)
    thread_join (&w[i].thread);
  for (i = 0; i < THREADS; ++i)
    ck_assert_uint_eq (w[i].wrong, 0);
}

static void
check_model (struct rig *rig, const struct model *model)
{
  unsigned device;
  sector_t s;

  for (device = 0; device < DEVICES; ++device) {
    if (device < VOLUME && device >= rig->count)
      continue;
    for (s = 0; s < SECTORS; ++s)
      ck_assert_msg (read_is_right (rig, model, device, s, 1),
                     "device %u, sector %u", device, (unsigned) s);
  }
}

/* Take a snapshot: close, add, open. */
static struct rig_snapshot *
take_snapshot (struct rig *rig, struct model *model, sector_t chunk_sectors,
               sector_t cow_sectors)
{
  struct rig_snapshot *rs;

  rig_close (rig);
  rs = rig_add (rig, chunk_sectors, cow_sectors);
  memcpy (model->seeds[rig->count - 1], model->seeds[VOLUME],
          sizeof model->seeds[VOLUME]);
  return rs;
}

static void
chain_against_model (struct chance *chance)
{
  static const sector_t chunks[] = { 1, 2, 4, 8, 16, 32 };
  static struct model model;
  struct rig_snapshot *rs;
  struct rig rig;
  unsigned i;
  sector_t s;

  for (s = 0; s < SECTORS; ++s)
    model.seeds[VOLUME][s] = BASE_SEED;
  rig_create (&rig);
  rig_open (&rig);
  for (i = 0; i < 3; ++i) {
    run_writers (&rig, &model, chance, 60);
    rs = take_snapshot (&rig, &model,
                        chunks[chance_below (chance, ARRAY_COUNT (chunks))], 0);
    rs->is_read_only = i == 0 && chance_below (chance, 2) == 0;
    rig_open (&rig);
  }
  run_writers (&rig, &model, chance, 200);
  check_model (&rig, &model);
  rig_reopen (&rig);
  check_model (&rig, &model);
  run_writers (&rig, &model, chance, 60);
  check_model (&rig, &model);

  /* One more, that breaks: by want of room, or by a failing disk. */
  if (chance_below (chance, 2) == 0) {
    rs = take_snapshot (&rig, &model, 8, 10 * 8);
    rs->is_fragile = true;
    rig_open (&rig);
    run_writers (&rig, &model, chance, 200);
  }
  else {
    rs = take_snapshot (&rig, &model,
                        chunks[chance_below (chance, ARRAY_COUNT (chunks))], 0);
    rs->is_fragile = true;
    rig_open (&rig);
    fault_bdev_fail_from (rs->disk, FAULT_WRITE | FAULT_FLUSH | FAULT_ZERO,
                          (unsigned) chance_below (chance, 20));
    run_writers (&rig, &model, chance, 200);
  }
  /* If chance has spared it so far, this breaks it. */
  ck_assert_int_eq (write_pattern (volume_of (&rig), 77, 0, SECTORS), 0);
  for (s = 0; s < SECTORS; ++s)
    model.seeds[VOLUME][s] = 77;
  fault_bdev_heal (rs->disk);
  ck_assert (!snapshot_is_valid (rig.snapshots[3].snapshot));
  for (i = 0; i < 3; ++i)
    ck_assert (snapshot_is_valid (rig.snapshots[i].snapshot));
  check_model (&rig, &model);
  rig_reopen (&rig);
  check_model (&rig, &model);
  run_writers (&rig, &model, chance, 100);
  check_model (&rig, &model);
  rig_reopen (&rig);
  check_model (&rig, &model);
  rig_finish (&rig);
}

START_TEST (chains_are_as_the_model)
{
  struct chance chance = chance_begin ("chains_are_as_the_model");
  const char *text = getenv ("UNIT_ROUNDS");
  unsigned round, rounds = text != NULL ? (unsigned) atoi (text) : 10;

  for (round = 0; round < rounds; ++round)
    chain_against_model (&chance);
}
END_TEST

/* The newest snapshot is full at once, so chunks go to older ones; what
 * the broken one holds stays theirs.
 */
START_TEST (older_snapshots_survive_the_newest)
{
  unsigned char data[SECTOR_SIZE];
  struct rig rig;

  rig_create (&rig);
  (void) rig_add (&rig, 2, 0);
  (void) rig_add (&rig, 16, 3 * 16);
  rig_open (&rig);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 17, 1), 0);
  ck_assert (snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 0, SECTORS), 0);
  ck_assert (!snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert (snapshot_is_valid (rig.snapshots[0].snapshot));
  assert_frozen (target_of (&rig, 0));
  /* Chunk 1 is in the broken one only. */
  assert_target_pattern (snapshot_view (rig.snapshots[1].snapshot), BASE_SEED,
                         16, 16);
  ck_assert_int_eq (target_read (target_of (&rig, 1), data, 16, 1), -EIO);
  rig_reopen (&rig);
  assert_frozen (target_of (&rig, 0));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 0, SECTORS), 0);
  assert_frozen (target_of (&rig, 0));
  rig_finish (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    older_snapshots_survive_the_newest,
    chains_are_as_the_model,
    NULL,
  };

  return unit_main ("snapshot_chain", tests);
}
