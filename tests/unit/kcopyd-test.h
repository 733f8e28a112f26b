/* What the unit tests of kcopyd share: disks, jobs, and looking at both.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Like test-util.h, everything is here and inline; a test uses what it
 * needs.
 */

#ifndef DMIO_KCOPYD_TEST_H
#define DMIO_KCOPYD_TEST_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "bits.h"
#include "fault-bdev.h"
#include "kcopyd.h"
#include "kcopyd-throttle.h"
#include "test-util.h"

#define PAGE_SECTORS (DM_PAGE_SIZE / SECTOR_SIZE)

#define IGNORE (1U << KCOPYD_IGNORE_ERROR)
#define SEQ (1U << KCOPYD_WRITE_SEQ)
#define SPARSE (1U << KCOPYD_SPARSE)
#define OFFLOAD (1U << KCOPYD_OFFLOAD)

/*----- disks -----------------------------------------------------------*/

/* A source, number 0, and destinations from 1 on; each is full of a
 * pattern, whose seed is its number.
 */
static struct fault_trace *trace;
static struct fault_bdev *disks[1 + KCOPYD_MAX_REGIONS];
static struct block_device *devices[1 + KCOPYD_MAX_REGIONS];
static unsigned disk_count;
static sector_t disk_sectors;

static inline void
setup (unsigned num_dests, sector_t sectors)
{
  char *data = test_alloc_sectors (sectors);
  unsigned i;

  trace = fault_trace_create ();
  for (i = 0; i <= num_dests; ++i) {
    char name[16];

    (void) snprintf (name, sizeof name, "d%u", i);
    disks[i] = fault_bdev_create (name, sectors, trace);
    devices[i] = fault_bdev_open (disks[i], 0);
    fill_pattern (data, i, 0, sectors);
    fault_bdev_load (disks[i], 0, sectors, data);
  }
  disk_count = num_dests + 1;
  disk_sectors = sectors;
  free (data);
}

static inline void
teardown (void)
{
  unsigned i;

  for (i = 0; i < disk_count; ++i) {
    bdev_close (devices[i]);
    fault_bdev_destroy (disks[i]);
  }
  fault_trace_destroy (trace);
}

static inline struct io_region
region (unsigned disk, sector_t sector, sector_t count)
{
  return (struct io_region){
    .bdev = devices[disk],
    .sector = sector,
    .count = count,
  };
}

/* Disk I holds, from SECTOR on, COUNT sectors of the source's from FROM
 * on.
 */
static inline bool
is_copied (unsigned i, sector_t sector, sector_t from, sector_t count)
{
  char *data = test_alloc_sectors (count);
  bool r;

  fault_bdev_look (disks[i], sector, count, data);
  r = first_wrong_sector (data, 0, from, count) == from + count;
  free (data);
  return r;
}

/* The sectors of disk I are as they were at first. */
static inline bool
is_untouched (unsigned i, sector_t sector, sector_t count)
{
  char *data = test_alloc_sectors (count);
  bool r;

  fault_bdev_look (disks[i], sector, count, data);
  r = first_wrong_sector (data, i, sector, count) == sector + count;
  free (data);
  return r;
}

/*----- jobs ------------------------------------------------------------*/

/* What the callbacks of one client have in common. */
struct witness {
  struct mutex lock;
  bool has_thread;
  pthread_t thread;
  bool is_inside;
  unsigned violations; /* of: one thread, one after another */
};

struct copy {
  struct kcopyd_client *kc;
  struct witness *witness;
  struct event_count done;
  int read_err;
  unsigned write_err;
  unsigned order; /* among all that are done, from 1 */
};

static atomic_uint copies_done;

static inline void
witness_init (struct witness *w)
{
  *w = (struct witness){ .has_thread = false };
  mutex_init (&w->lock);
}

static inline void
witness_enter (struct witness *w)
{
  mutex_lock (&w->lock);
  if (w->is_inside)
    w->violations++;
  w->is_inside = true;
  if (!w->has_thread)
    w->thread = pthread_self ();
  else if (!pthread_equal (w->thread, pthread_self ()))
    w->violations++;
  w->has_thread = true;
  mutex_unlock (&w->lock);
}

static inline void
witness_leave (struct witness *w)
{
  mutex_lock (&w->lock);
  w->is_inside = false;
  mutex_unlock (&w->lock);
}

static inline void
copy_done (int read_err, unsigned write_err, void *context)
{
  struct copy *c = context;
  struct witness *w = c->witness;

  if (w != NULL)
    witness_enter (w);
  c->read_err = read_err;
  c->write_err = write_err;
  c->order = atomic_fetch_add (&copies_done, 1) + 1;
  event_count_add (&c->done); /* now C may be gone */
  if (w != NULL)
    witness_leave (w);
}

static inline void
copy_init (struct copy *c, struct kcopyd_client *kc, struct witness *w)
{
  *c = (struct copy){ .kc = kc, .witness = w };
  event_count_init (&c->done);
}

/* Make a client, copy, and destroy the client; then all callbacks have
 * been.
 */
static inline struct copy
copy_and_wait (unsigned pages, struct io_region from, unsigned num_dests,
               const struct io_region *dests, unsigned flags)
{
  struct copy c;
  struct kcopyd_client *kc;
  struct io_region *dests_copy = test_alloc (num_dests * sizeof *dests);

  ck_assert_int_eq (kcopyd_client_create (pages, &kc), 0);
  copy_init (&c, kc, NULL);
  memcpy (dests_copy, dests, num_dests * sizeof *dests);
  ck_assert_int_eq (kcopyd_copy (kc, &from, num_dests, dests_copy, flags,
                                 copy_done, &c),
                    0);
  /* The arrays are the caller's again. */
  memset (&from, 0xff, sizeof from);
  memset (dests_copy, 0xff, num_dests * sizeof *dests);
  free (dests_copy);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (event_count_get (&c.done), 1);
  event_count_destroy (&c.done);
  return c;
}

/* A client whose parts are small, so that little is a lot. */
#define SMALL_SECTORS ((sector_t) 8)

static inline struct kcopyd_client *
small_client (unsigned pages, unsigned sub_jobs)
{
  const struct kcopyd_options options = {
    .struct_size = sizeof options,
    .num_pages = pages,
    .sub_job_sectors = SMALL_SECTORS,
    .sub_jobs = sub_jobs,
  };
  struct kcopyd_client *kc;

  must (kcopyd_client_create_options (&options, &kc) == 0);
  return kc;
}

/* Copy COUNT sectors from SECTOR of the source on to the same place of each
 * destination, or zero these; C is told.
 */
static inline void
start_job (struct copy *c, unsigned num_dests, sector_t sector, sector_t count,
           unsigned flags)
{
  struct io_region from = region (0, sector, count);
  struct io_region dests[KCOPYD_MAX_REGIONS];
  unsigned i;

  for (i = 0; i < num_dests; ++i)
    dests[i] = region (1 + i, sector, count);
  must (kcopyd_copy (c->kc, &from, num_dests, dests, flags, copy_done, c) == 0);
}

static inline void
start_zero (struct copy *c, unsigned num_dests, sector_t sector, sector_t count,
            unsigned flags)
{
  struct io_region dests[KCOPYD_MAX_REGIONS];
  unsigned i;

  for (i = 0; i < num_dests; ++i)
    dests[i] = region (1 + i, sector, count);
  must (kcopyd_zero (c->kc, num_dests, dests, flags, copy_done, c) == 0);
}

/* Destroy C's client, and so wait for C, which must have been told once. */
static inline void
finish (struct copy *c)
{
  kcopyd_client_destroy (c->kc);
  must (event_count_get (&c->done) == 1);
  event_count_destroy (&c->done);
}

static inline struct kcopyd_progress
progress_of (struct kcopyd_client *kc)
{
  struct kcopyd_progress p = { .struct_size = sizeof p };

  must (kcopyd_client_progress (kc, &p) == 0);
  return p;
}

/* The sectors of disk I read as zeroes. */
static inline bool
is_zeroed (unsigned i, sector_t sector, sector_t count)
{
  char *data = test_alloc_sectors (count);
  bool r;

  fault_bdev_look (disks[i], sector, count, data);
  r = first_other_byte (data, 0, sector_to_bytes (count)) ==
      sector_to_bytes (count);
  free (data);
  return r;
}

/* Wait until disk I has seen N calls of kinds OPS.  Nobody tells. */
static inline void
wait_for_calls (unsigned i, unsigned ops, unsigned n)
{
  while (fault_bdev_calls (disks[i], ops) < n)
    (void) sched_yield ();
}

/* Make holes on disk I, which nobody has seen being made. */
static inline void
punch (unsigned i, sector_t sector, sector_t count)
{
  must (bdev_discard (devices[i], sector, count, 0) == 0);
  fault_trace_reset (trace);
}

/* Copy all of the disk in parts of eight sectors, one after the other. */
static inline struct copy
copy_small (unsigned num_dests, unsigned flags)
{
  struct copy c;

  copy_init (&c, small_client (1, 1), NULL);
  start_job (&c, num_dests, 0, disk_sectors, flags);
  finish (&c);
  return c;
}

#endif /* DMIO_KCOPYD_TEST_H */
