/* The I/O of one slice of a job.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * There are short ways: a hole is not read but made, a device may copy by
 * itself.  A destination to which the short way does not lead, whatever
 * the error was, is left to the long way, reading and writing: that has the
 * last word, and tells which side has failed.
 *
 * A set of destinations is a number with bit i for destination i.
 */

#include <config.h>

#include <assert.h>

#include "bits.h"
#include "checked-math.h"
#include "dm-io-errors.h"
#include "kcopyd-impl.h"

/* The part of WHERE that SLICE copies.  If WHERE is not all on its device
 * the part is nowhere on it, so that nothing is done and its error is
 * told: adding to a sector that is out of range could lead back into it.
 */
static struct io_region
slice_region (const struct io_region *where, const struct slice *slice)
{
  struct io_region part = *where;

  if (range_is_inside (where->sector, where->count, bdev_sectors (where->bdev)))
    part.sector += slice->offset;
  else
    part.sector = UINT64_MAX;
  part.count = slice->count;
  return part;
}

static bool
is_hole (const struct io_region *where)
{
  struct bdev_extent extent;

  return bdev_extent (where->bdev, where->sector, where->count, &extent) == 0 &&
         extent.is_hole && extent.count == where->count;
}

static void
read_source (struct slice *slice)
{
  struct io_region from = slice_region (&slice->job->from, slice);

  slice->is_read = true;
  slice->moved_data = true;
  if (dm_io_sync_errors (1, &from, DM_IO_READ, slice->pages, 0, NULL,
                         &slice->why.read) < 0) {
    slice->read_failed = true;
    slice->tally.read_errors = 1;
  }
  else
    slice->tally.sectors_read = slice->count;
}

/* Have RW done at once on the destinations of the set WANTED.  Returns the
 * set of those that failed, of which slice->why says why.
 */
static unsigned
do_dests (struct slice *slice, int rw, unsigned wanted)
{
  const struct kcopyd_job *job = slice->job;
  struct io_region where[KCOPYD_MAX_REGIONS];
  unsigned number[KCOPYD_MAX_REGIONS];
  int errors[KCOPYD_MAX_REGIONS];
  unsigned count = 0, failed = 0, i;
  unsigned long bits = 0;

  for (i = 0; i < job->num_dests; ++i)
    if (wanted >> i & 1) {
      number[count] = i;
      where[count++] = slice_region (&job->dests[i], slice);
    }
  if (dm_io_sync_errors (count, where, rw, slice->pages, 0, &bits, errors) < 0)
    assert (bits != 0);
  for (i = 0; i < count; ++i)
    if (bits >> i & 1) {
      failed |= 1U << number[i];
      slice->why.write[number[i]] = errors[i];
    }
  return failed;
}

static unsigned
count_of (unsigned set)
{
  return (unsigned) __builtin_popcount (set);
}

/* Zero the destinations of the set WANTED.  Returns those that failed. */
static unsigned
zero_dests (struct slice *slice, int rw, unsigned wanted)
{
  const struct kcopyd_job *job = slice->job;
  unsigned failed = 0, i;

  if (job_has_flag (job, KCOPYD_SPARSE)) {
    rw |= DM_IO_UNMAP;
    for (i = 0; i < job->num_dests; ++i) {
      struct io_region dest = slice_region (&job->dests[i], slice);

      if ((wanted >> i & 1) && is_hole (&dest)) {
        wanted &= ~(1U << i);
        slice->tally.sectors_skipped += slice->count;
      }
    }
  }
  if (wanted != 0)
    failed = do_dests (slice, DM_IO_WRITE_ZEROES | rw, wanted);
  slice->tally.sectors_zeroed += slice->count * count_of (wanted & ~failed);
  return failed;
}

/* Have the source's device copy to the destinations of the set WANTED.
 * Returns those it did not copy to.
 */
static unsigned
offload (struct slice *slice, unsigned wanted)
{
  const struct kcopyd_job *job = slice->job;
  struct io_region from = slice_region (&job->from, slice);
  unsigned left = wanted, i;

  for (i = 0; i < job->num_dests; ++i) {
    struct io_region dest = slice_region (&job->dests[i], slice);

    if ((wanted >> i & 1) && bdev_copy (from.bdev, from.sector, dest.bdev,
                                        dest.sector, slice->count) == 0)
      left &= ~(1U << i);
  }
  if (left != wanted)
    slice->moved_data = true;
  slice->tally.sectors_offloaded += slice->count * count_of (wanted & ~left);
  return left;
}

void
kcopyd_slice_read (struct slice *slice)
{
  const struct kcopyd_job *job = slice->job;

  if (job->kind == JOB_ZERO)
    return;
  if (job_has_flag (job, KCOPYD_SPARSE)) {
    struct io_region from = slice_region (&job->from, slice);

    slice->is_hole = is_hole (&from);
  }
  if (!slice->is_hole && !job_has_flag (job, KCOPYD_OFFLOAD))
    read_source (slice);
}

/* All but what has not been read, which is nobody's data. */
void
kcopyd_slice_write (struct slice *slice)
{
  const struct kcopyd_job *job = slice->job;
  unsigned wanted = (1U << job->num_dests) - 1;

  if (job->kind == JOB_ZERO) {
    slice->moved_data = true; /* for all we know */
    slice->write_err = zero_dests (slice, 0, wanted);
    slice->tally.write_errors = count_of (slice->write_err);
    return;
  }
  if (slice->is_hole)
    wanted = zero_dests (slice, DM_IO_FAST, wanted);
  else if (!slice->is_read)
    wanted = offload (slice, wanted);
  if (wanted != 0 && !slice->is_read)
    read_source (slice);
  if (wanted == 0 || slice->read_failed)
    return;
  slice->write_err = do_dests (slice, DM_IO_WRITE, wanted);
  slice->tally.write_errors = count_of (slice->write_err);
  slice->tally.sectors_written = slice->count *
                                 count_of (wanted & ~slice->write_err);
}
