/* What the tests of the mirror share: a mirror of disks that can fail.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Legs are disks that share a trace, so the order in which they are used
 * can be seen, and what had happened when a leg's failure was recorded.
 */

#ifndef DM_MIRROR_TEST_H
#define DM_MIRROR_TEST_H

#include "mirror.h"
#include "pace.h"
#include "target-test.h"

#define SECTORS 250 /* the last region is short */
#define REGION 16
#define REGIONS 16
#define AT_ONCE 8 /* so many of these are copied at once */
#define BASE_SEED 1
#define OTHER_SEED 100 /* + leg: what it holds when it is not in sync */

/*----- a mirror of disks -----------------------------------------------*/

struct change {
  unsigned leg;
  enum leg_state state;
  size_t at; /* events in the trace before */
  char reason[256];
};

#define MAX_CHANGES 32

struct rig {
  struct fault_trace *trace;
  struct fault_bdev *disks[MIRROR_MAX_LEGS];
  unsigned open_flags[MIRROR_MAX_LEGS];
  struct mirror_params params;
  uint64_t rate; /* of the background */
  struct mirror *mirror;
  struct target *target;

  /* What leg_changed was told, and what it is to answer. */
  struct mutex lock;
  unsigned change_count;
  struct change changes[MAX_CHANGES];
  int answer;
};

static inline int
note_change (void *opaque, unsigned leg, enum leg_state state,
             const char *reason)
{
  struct rig *rig = opaque;
  struct change *c;
  int r;

  mutex_lock (&rig->lock);
  if (rig->change_count == MAX_CHANGES)
    abort ();
  c = &rig->changes[rig->change_count++];
  c->leg = leg;
  c->state = state;
  c->at = fault_trace_count (rig->trace);
  (void) snprintf (c->reason, sizeof c->reason, "%s",
                   reason != NULL ? reason : "(none)");
  r = rig->answer;
  mutex_unlock (&rig->lock);
  return r;
}

static inline unsigned
change_count (struct rig *rig)
{
  unsigned n;

  mutex_lock (&rig->lock);
  n = rig->change_count;
  mutex_unlock (&rig->lock);
  return n;
}

/* All legs in sync, and equal: of so many sectors, in regions of
 * REGION_SECTORS.
 */
static inline void
rig_create_sized (struct rig *rig, unsigned legs, sector_t sectors,
                  sector_t region_sectors)
{
  unsigned char *data = test_alloc_sectors (sectors);
  unsigned i;

  memset (rig, 0, sizeof *rig);
  mutex_init (&rig->lock);
  rig->trace = fault_trace_create ();
  fill_pattern (data, BASE_SEED, 0, sectors);
  for (i = 0; i < legs; ++i) {
    char name[8] = { 'l', 'e', 'g', (char) ('0' + i), '\0' };

    rig->disks[i] = fault_bdev_create (name, sectors, rig->trace);
    fault_bdev_load (rig->disks[i], 0, sectors, data);
    rig->params.states[i] = LEG_IN_SYNC;
  }
  free (data);
  rig->params.leg_count = legs;
  rig->params.sectors = sectors;
  rig->params.region_sectors = region_sectors;
  rig->params.is_in_sync = true;
  ck_assert_int_eq (pace_create (0, &rig->params.pace), 0);
  rig->params.leg_changed = note_change;
  rig->params.opaque = rig;
}

static inline void
rig_create (struct rig *rig, unsigned legs)
{
  rig_create_sized (rig, legs, SECTORS, REGION);
}

static inline void
rig_open (struct rig *rig)
{
  unsigned i;

  for (i = 0; i < rig->params.leg_count; ++i)
    rig->params.legs[i] = fault_bdev_open (rig->disks[i], rig->open_flags[i]);
  (void) pace_set_rate (rig->params.pace, rig->rate);
  ck_assert_int_eq (mirror_create (&rig->params, &rig->mirror), 0);
  rig->target = mirror_target (rig->mirror);
  capture_messages ();
}

/* Nothing is in sync, and all but the first leg hold something else. */
static inline void
rig_open_unequal (struct rig *rig)
{
  unsigned char *data = test_alloc_sectors (rig->params.sectors);
  unsigned i;

  for (i = 1; i < rig->params.leg_count; ++i) {
    fill_pattern (data, OTHER_SEED + i, 0, rig->params.sectors);
    fault_bdev_load (rig->disks[i], 0, rig->params.sectors, data);
  }
  free (data);
  rig->params.is_in_sync = false;
  rig_open (rig);
}

static inline void
rig_close (struct rig *rig)
{
  mirror_destroy (rig->mirror);
  rig->mirror = NULL;
}

static inline void
rig_destroy (struct rig *rig)
{
  unsigned i;

  rig_close (rig);
  for (i = 0; i < rig->params.leg_count; ++i) {
    ck_assert_uint_eq (fault_bdev_open_count (rig->disks[i]), 0);
    fault_bdev_destroy (rig->disks[i]);
  }
  fault_trace_destroy (rig->trace);
  pace_destroy (rig->params.pace);
  mutex_destroy (&rig->lock);
}

static inline struct mirror_status
status_of (struct rig *rig)
{
  struct mirror_status status;

  mirror_get_status (rig->mirror, &status);
  return status;
}

static inline enum leg_state
state_of (struct rig *rig, unsigned leg)
{
  return status_of (rig).legs[leg].state;
}

static inline int
write_pattern (struct rig *rig, uint64_t seed, sector_t sector, sector_t count)
{
  unsigned char *data = test_alloc_sectors (count);
  int r;

  fill_pattern (data, seed, sector, count);
  r = target_write (rig->target, data, sector, count, 0);
  free (data);
  return r;
}

static inline int
read_one (struct rig *rig, sector_t sector)
{
  unsigned char data[SECTOR_SIZE];

  return target_read (rig->target, data, sector, 1);
}

#define assert_disk_pattern(disk, seed, sector, count) \
  do { \
    unsigned char *data_ = test_alloc_sectors (count); \
    fault_bdev_look ((disk), (sector), (count), data_); \
    assert_pattern (data_, (seed), (sector), (count)); \
    free (data_); \
  } while (0)

#define assert_trace(rig, ops, expected) \
  do { \
    char *text_ = fault_trace_text ((rig)->trace, (ops)); \
    ck_assert_str_eq (text_, (expected)); \
    free (text_); \
  } while (0)

static inline int
compare_texts (const void *a, const void *b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

/* The events, in the order of the alphabet: where they come in any other. */
static inline char *
sorted_trace (struct rig *rig, unsigned ops)
{
  char *text = fault_trace_text (rig->trace, ops), *at, *state = NULL;
  char *sorted = test_alloc (strlen (text) + 1);
  char **parts = test_alloc ((strlen (text) + 1) * sizeof *parts);
  size_t n = 0, i;

  for (at = strtok_r (text, ",", &state); at != NULL;
       at = strtok_r (NULL, ",", &state))
    parts[n++] = at + (*at == ' ');
  qsort (parts, n, sizeof *parts, compare_texts);
  sorted[0] = '\0';
  for (i = 0; i < n; ++i) {
    strcat (sorted, i > 0 ? ", " : "");
    strcat (sorted, parts[i]);
  }
  free (parts);
  free (text);
  return sorted;
}

#define assert_sorted_trace(rig, ops, expected) \
  do { \
    char *text_ = sorted_trace ((rig), (ops)); \
    ck_assert_str_eq (text_, (expected)); \
    free (text_); \
  } while (0)

/* All legs that are not failed hold the same. */
static inline void
assert_equal_legs (struct rig *rig)
{
  unsigned char *a = test_alloc_sectors (rig->params.sectors);
  unsigned char *b = test_alloc_sectors (rig->params.sectors);
  unsigned i, first = UINT32_MAX;

  for (i = 0; i < rig->params.leg_count; ++i) {
    if (state_of (rig, i) == LEG_FAILED)
      continue;
    if (first == UINT32_MAX) {
      first = i;
      fault_bdev_look (rig->disks[i], 0, rig->params.sectors, a);
      continue;
    }
    fault_bdev_look (rig->disks[i], 0, rig->params.sectors, b);
    ck_assert_mem_eq (a, b, sector_to_bytes (rig->params.sectors));
  }
  free (a);
  free (b);
}

/* True if the resync has done what it can for now. */
static inline bool
resync_has_paused (struct rig *rig)
{
  return !status_of (rig).is_resyncing || was_said ("the next try is in");
}

static inline void
wait_for_resync (struct rig *rig)
{
  wait_until (resync_has_paused (rig));
}

/* Go over what is not in sync, once. */
static inline void
resync_once (struct rig *rig)
{
  capture_messages ();
  ck_assert_int_eq (mirror_start_resync (rig->mirror), 0);
  wait_for_resync (rig);
  mirror_stop_resync (rig->mirror);
  ck_assert (!status_of (rig).is_resyncing);
}

#endif /* DM_MIRROR_TEST_H */
