/* Rolling the volume back to an older snapshot; that one and all others stay.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The newest snapshot can become the volume at one stroke (volume-rollback.c).
 * So one is made of which that is wanted: it is *staged*, which is to take it
 * as any other, on top of the chain, but offer it to nobody; what is different
 * in the wanted one is written to it; then the volume is rolled back to it.
 *
 *   volume <- staged <- newest <- ... <- wanted <- older ...
 *
 * A chunk that is in none of the stores from the wanted one up to the newest
 * was not written since that was taken, and is not copied.  If a client writes
 * to it meanwhile, the staged snapshot preserves what it was.
 *
 * The order, for each piece that is copied: the newest one has what the
 * volume had, durably (snapshot_preserve_or_fail); the staged one gets what
 * the wanted one has; and in the end: the store of the staged one is flushed;
 * its record says "merging".  Until then a crash leaves a snapshot that goes:
 * what clients overwrote is handed down, what we have written to it is not,
 * since the newest has these chunks.  From then on it is as ever.
 *
 * No snapshot is lost for it: there must be room for all that is preserved
 * before anything is copied, and what fails all the same is our error.  That
 * the wanted one is valid, and what room there is, is asked when the staged
 * one is in place: before that a client's write may change it.
 *
 * The wanted one may be written meanwhile.  Which of its chunks are is noted,
 * and these are copied again: first while its clients go on, each behind a
 * hold of its range, and what is left then behind its gate.  So all that was
 * written to it before the switch is part of it, and nothing of what comes
 * after.
 *
 * Locks: admin_lock, all the time, so the chain is what it is; for a chunk that
 * is copied again its range in the wanted one; at the end the gate of that, and
 * then that of the volume.  Nobody waits for the pace while he holds a range.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bits.h"
#include "exception-store.h"
#include "log-sink.h"
#include "volume-impl.h"

#define PIECE_SECTORS 2048

/* Where it begins: no user's snapshot is of that name while there is ours. */
#define STAGED_NAME "roll-back-%u"

struct restore {
  struct volume *v;
  struct snapshot *wanted;
  struct volume_device *device; /* the wanted one's */
  sector_t chunk_sectors;       /* of the wanted one */
  uint64_t chunk_count;         /* the same */
  _Atomic uint64_t *written;    /* by its clients: to be copied again */
  unsigned wanted_index;
  unsigned newest_index;  /* of the one below what is staged, or a dead one */
  struct snapshot *keeps; /* what the volume had is preserved here */
};

/* True if the volume may be different from the wanted snapshot at SECTOR; *RUN
 * of the sectors, at most COUNT, are like it.
 */
static bool
is_different (const struct restore *re, sector_t sector, sector_t count,
              sector_t *run)
{
  unsigned i;

  *run = count;
  for (i = re->wanted_index; i <= re->newest_index; ++i) {
    struct snapshot *s = re->v->snapshots[i];
    sector_t n;

    if (s == NULL)
      continue;
    if (snapshot_has (s, sector, *run, &n)) {
      *run = n;
      return true;
    }
    *run = n;
  }
  return false;
}

/*----- room ------------------------------------------------------------*/

/* How many chunks will be preserved. */
static uint64_t
count_preserved (const struct restore *re)
{
  sector_t end = mirror_target (re->v->mirror)->sectors, sector, run;
  struct snapshot_status status;
  uint64_t count = 0, next = 0;

  snapshot_get_status (re->keeps, &status);
  for (sector = 0; sector < end; sector += run) {
    uint64_t first = sector / status.chunk_sectors, last;
    sector_t n;

    if (!is_different (re, sector, end - sector, &run))
      continue;
    if (snapshot_has (re->keeps, sector, run, &n)) {
      run = n;
      continue;
    }
    run = n;
    last = (sector + run - 1) / status.chunk_sectors;
    first = MAX_OF (first, next); /* those before are counted */
    if (last >= first)
      count += last - first + 1;
    next = last + 1;
  }
  return count;
}

static int
check_room (const struct restore *re, struct volume_why *why)
{
  uint64_t needed = count_preserved (re), room = snapshot_room (re->keeps);

  if (needed <= room)
    return 0;
  return volume_why (why, -ENOSPC,
                     "snapshot %s: cannot be rolled back to: %s must keep what "
                     "the volume is now, and its store may be full before that "
                     "(%llu chunks, room for %llu); remove it first",
                     snapshot_name (re->wanted), snapshot_name (re->keeps),
                     (unsigned long long) needed, (unsigned long long) room);
}

/* The newest below what is staged that takes chunks. */
static struct snapshot *
find_keeper (struct snapshot *staged)
{
  struct snapshot *s = snapshot_get_below (staged);

  while (!snapshot_is_valid (s)) /* the wanted one is */
    s = snapshot_get_below (s);
  return s;
}

/*----- copying ---------------------------------------------------------*/

/* Give the staged snapshot what the wanted one has, from SECTOR on.  *COUNT
 * of the sectors, which is lowered: so many were copied.
 */
static int
copy_piece (const struct restore *re, struct snapshot *staged, void *buffer,
            sector_t sector, sector_t *count)
{
  struct target *from = snapshot_target (re->wanted);
  struct target *to = snapshot_target (staged);
  struct bdev_extent extent;
  int r = target_extent (from, sector, *count, &extent);

  if (r < 0)
    return r;
  *count = MIN_OF (*count, extent.count);
  r = snapshot_preserve_or_fail (snapshot_get_below (staged), sector, *count);
  if (r < 0)
    return r;
  if (extent.is_hole)
    return target_zero (to, sector, *count, BDEV_UNMAP);
  r = target_read (from, buffer, sector, *count);
  return r < 0 ? r : target_write (to, buffer, sector, *count, 0);
}

static bool
must_stop (void *arg)
{
  const struct restore *re = arg;

  return volume_must_stop (re->v) ||
         volume_job_is_cancelled (re->v, JOB_RESTORE,
                                  snapshot_name (re->wanted));
}

static int
stop_error (const struct restore *re)
{
  return volume_must_stop (re->v) ? -ESHUTDOWN : -ECANCELED;
}

/* The same, at the pace of the background. */
static int
copy_paced (struct restore *re, struct snapshot *staged, void *buffer,
            sector_t sector, sector_t *count)
{
  struct pace_job *job = &re->v->restore_job;
  struct pace_piece piece;
  int r;

  if (!pace_wait (job, must_stop, re))
    return stop_error (re);
  pace_piece_begin (job, &piece, sector_to_bytes (*count));
  r = copy_piece (re, staged, buffer, sector, count);
  pace_piece_end (job, &piece, sector_to_bytes (*count));
  if (r == 0)
    volume_job_note_restored (re->v, snapshot_name (re->wanted),
                              sector_to_bytes (*count));
  return r;
}

static int
copy_different (struct restore *re, struct snapshot *staged, void *buffer)
{
  sector_t end = mirror_target (re->v->mirror)->sectors, sector, run;
  int r = 0;

  for (sector = 0; r == 0 && sector < end; sector += run) {
    if (!is_different (re, sector, end - sector, &run))
      continue;
    run = MIN_OF (run, PIECE_SECTORS);
    r = copy_paced (re, staged, buffer, sector, &run);
  }
  return r;
}

static uint64_t
count_different (const struct restore *re)
{
  sector_t end = mirror_target (re->v->mirror)->sectors, sector, run, count = 0;

  for (sector = 0; sector < end; sector += run)
    if (is_different (re, sector, end - sector, &run))
      count += run;
  return sector_to_bytes (count);
}

/*----- copying again ---------------------------------------------------*/

/* So often, at most, before its clients have to wait for the rest. */
#define AGAIN_MAX 3

static bool
is_written (const struct restore *re, uint64_t chunk)
{
  return atomic_load (&re->written[chunk / 64]) >> chunk % 64 & 1;
}

/* Copy chunk number CHUNK as it is now: nobody writes to it meanwhile, so what
 * is written after this sets its bit again.
 */
static int
copy_chunk (struct restore *re, struct snapshot *staged, void *buffer,
            uint64_t chunk)
{
  sector_t sector = chunk * re->chunk_sectors, count;
  sector_t end = MIN_OF (sector + re->chunk_sectors,
                         re->device->target->sectors);
  int r = 0;

  atomic_fetch_and (&re->written[chunk / 64], ~(UINT64_C (1) << chunk % 64));
  for (; r == 0 && sector < end; sector += count) {
    count = MIN_OF (end - sector, PIECE_SECTORS);
    r = copy_piece (re, staged, buffer, sector, &count);
  }
  return r;
}

/* The same while clients go on, at the pace of the background. */
static int
copy_chunk_paced (struct restore *re, struct snapshot *staged, void *buffer,
                  uint64_t chunk)
{
  struct pace_job *job = &re->v->restore_job;
  sector_t sector = chunk * re->chunk_sectors;
  uint64_t bytes = sector_to_bytes (re->chunk_sectors);
  struct pace_piece piece;
  struct range_hold hold;
  int r;

  if (!pace_wait (job, must_stop, re))
    return stop_error (re);
  pace_piece_begin (job, &piece, bytes);
  range_lock_acquire (&re->device->range_lock, &hold, sector,
                      MIN_OF (re->chunk_sectors,
                              re->device->target->sectors - sector));
  r = copy_chunk (re, staged, buffer, chunk);
  range_lock_release (&re->device->range_lock, &hold);
  pace_piece_end (job, &piece, bytes);
  return r;
}

/* What clients have written to the wanted one since it was copied, until there
 * is nothing left, or they write as fast as we copy.
 */
static int
copy_written (struct restore *re, struct snapshot *staged, void *buffer)
{
  bool is_done = false;
  unsigned times;
  uint64_t chunk;
  int r = 0;

  for (times = 0; !is_done && times < AGAIN_MAX; ++times) {
    is_done = true;
    for (chunk = 0; r == 0 && chunk < re->chunk_count; ++chunk)
      if (is_written (re, chunk)) {
        is_done = false;
        r = copy_chunk_paced (re, staged, buffer, chunk);
      }
  }
  return r;
}

/* The rest of it, behind the gate: so it rests for nobody. */
static int
copy_last_written (struct restore *re, struct snapshot *staged)
{
  uint64_t chunk;
  void *buffer;
  int r = 0;

  if (posix_memalign (&buffer, 4096, sector_to_bytes (PIECE_SECTORS)) != 0)
    return -ENOMEM;
  for (chunk = 0; r == 0 && chunk < re->chunk_count; ++chunk)
    if (is_written (re, chunk))
      r = volume_must_stop (re->v) ? -ESHUTDOWN
                                   : copy_chunk (re, staged, buffer, chunk);
  free (buffer);
  return r;
}

static int
copy_all (struct restore *re, struct snapshot *staged)
{
  const char *name = snapshot_name (re->wanted);
  void *buffer;
  int r;

  if (posix_memalign (&buffer, 4096, sector_to_bytes (PIECE_SECTORS)) != 0)
    return -ENOMEM;
  volume_job_begin_restore (re->v, name, count_different (re));
  pace_job_begin (&re->v->restore_job);
  r = copy_different (re, staged, buffer);
  if (r == 0)
    r = copy_written (re, staged, buffer);
  /* What was cancelled after the last piece is cancelled all the same. */
  if (r == 0 && must_stop (re))
    r = stop_error (re);
  pace_job_end (&re->v->restore_job);
  volume_job_end_restore (re->v, name);
  free (buffer);
  return r;
}

/*----- all of it -------------------------------------------------------*/

static int
stage (const struct restore *re, unsigned *index, struct volume_why *why)
{
  struct volume *v = re->v;
  char name[SNAPSHOT_NAME_MAX + 1];
  struct volume_snapshot_request request = { .name = name };
  /* Never full, whatever new snapshots are like. */
  sector_t full = exception_store_full_size (STORE_PERSISTENT,
                                             mirror_target (v->mirror)->sectors,
                                             v->chunk_bytes >> SECTOR_SHIFT);
  unsigned i = 0;
  int r;

  if (full > SECTOR_MAX)
    return volume_why (why, -EFBIG,
                       "the store that this needs would be too large for a "
                       "file; give a larger chunk-size=");
  request.cow_bytes = sector_to_bytes (full);
  do
    (void) snprintf (name, sizeof name, STAGED_NAME, ++i);
  while (volume_find_record (v, name) >= 0);
  r = volume_check_new_snapshot (v, &request, why);
  return r < 0 ? r : volume_stage (v, &request, index, why);
}

/* Once something is staged above it, and is valid, no client's write can make
 * the wanted one invalid: those go there.
 */
static int
check_wanted (const struct restore *re, struct volume_why *why)
{
  if (snapshot_is_valid (re->wanted))
    return 0;
  return volume_why (why, -EIO,
                     "snapshot %s: has become invalid, the volume cannot be "
                     "rolled back to it",
                     snapshot_name (re->wanted));
}

static int
why_not_copied (const struct restore *re, int r, struct volume_why *why)
{
  return volume_why (why, r,
                     "snapshot %s: what it holds cannot be copied, and the "
                     "volume stays as it is: %s",
                     snapshot_name (re->wanted), errno_text (r));
}

static int
copy_to_staged (struct restore *re, struct snapshot *staged,
                struct volume_why *why)
{
  int r = check_wanted (re, why);

  if (r < 0)
    return r;
  re->keeps = find_keeper (staged);
  r = check_room (re, why);
  if (r < 0)
    return r;
  r = copy_all (re, staged);
  if (r == -ECANCELED)
    return volume_why (why, r,
                       "snapshot %s: the roll-back to it was cancelled, and "
                       "the volume stays as it is",
                       snapshot_name (re->wanted));
  if (r == -ESHUTDOWN)
    return volume_why (why, r,
                       "snapshot %s: the roll-back to it ends, for the server "
                       "is being stopped, and the volume stays as it is",
                       snapshot_name (re->wanted));
  return r < 0 ? why_not_copied (re, r, why) : 0;
}

/* Behind the gate of the wanted one: what its clients have written before is in
 * what is staged, and becomes the volume's.
 */
static int
switch_to_staged (struct restore *re, unsigned index, struct volume_why *why)
{
  int r = copy_last_written (re, re->v->snapshots[index]);

  if (r < 0)
    return why_not_copied (re, r, why);
  /* If what is staged broke, and then this one, the switch is refused. */
  r = check_wanted (re, why);
  return r < 0 ? r : volume_roll_back_to_staged (re->v, index, why);
}

static void
shut_gate (struct restore *re)
{
  struct volume_device *d = re->device;

  range_lock_acquire (&d->range_lock, &d->gate, 0, d->target->sectors);
}

static void
open_gate (struct restore *re)
{
  range_lock_release (&re->device->range_lock, &re->device->gate);
}

/* Have noted what clients write to the wanted one from now on, or no more.
 * Those whose writes are in flight are waited for.
 */
static void
watch_wanted (struct restore *re, _Atomic uint64_t *written)
{
  shut_gate (re);
  snapshot_watch (re->wanted, written);
  open_gate (re);
}

static int
stage_and_switch (struct restore *re, struct volume_why *why)
{
  struct volume *v = re->v;
  struct volume_why cause = { "" };
  unsigned index;
  int r = stage (re, &index, &cause);

  if (r < 0) /* of a name that nobody has given */
    return volume_why (why, r, "snapshot %s: cannot be rolled back to: %s",
                       snapshot_name (re->wanted), cause.text);
  re->newest_index = index - 1;
  r = copy_to_staged (re, v->snapshots[index], why);
  if (r == 0) {
    shut_gate (re);
    r = switch_to_staged (re, index, why);
    open_gate (re);
  }
  if (r < 0)
    volume_unstage (v, index);
  return r;
}

int
volume_restore (struct volume *v, unsigned index, struct volume_why *why)
{
  struct restore re = {
    .v = v,
    .wanted = v->snapshots[index],
    .device = volume_device_of (v, v->snapshots[index]),
    .wanted_index = index,
  };
  struct snapshot_status status;
  int r;

  snapshot_get_status (re.wanted, &status);
  re.chunk_sectors = status.chunk_sectors;
  re.chunk_count = div_round_up (re.device->target->sectors, re.chunk_sectors);
  re.written = calloc (re.chunk_count / 64 + 1, sizeof re.written[0]);
  if (re.written == NULL)
    return volume_why (why, -ENOMEM, "snapshot %s: %s",
                       snapshot_name (re.wanted), errno_text (-ENOMEM));
  watch_wanted (&re, re.written);
  r = stage_and_switch (&re, why);
  watch_wanted (&re, NULL);
  free (re.written);
  if (r == 0)
    log_info ("snapshot %s: the volume is rolled back to it, and it stays",
              snapshot_name (re.wanted));
  return r;
}
