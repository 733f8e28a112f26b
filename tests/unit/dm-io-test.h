/* What the unit tests of dm-io share: memory, the six calls, and disks.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_DM_IO_TEST_H
#define DMIO_DM_IO_TEST_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "bits.h"
#include "dm-io.h"
#include "fault-bdev.h"
#include "test-util.h"

/*----- memory of three kinds -------------------------------------------*/

enum memory_kind {
  PAGES,
  VECTOR,
  PLAIN,
  MEMORY_KINDS,
};

/* Pieces are allocated one by one, so that a sanitizer sees one byte too
 * many.
 */
struct memory {
  enum memory_kind kind;
  size_t bytes;
  unsigned offset;         /* of pages: into the first */
  unsigned count;          /* of pages or elements */
  struct page_list *pages; /* an array, linked in order */
  struct bio_vec *bvec;    /* with a NULL page behind */
  char *plain;
};

/* Lengths of the pieces of a vector, used round and round; 0 ends them,
 * and EMPTY_PIECE is a piece without bytes.
 */
#define EMPTY_PIECE UINT_MAX

extern const unsigned whole_sectors[];
extern const unsigned odd_pieces[];
extern const unsigned small_pieces[]; /* more than 128 in two sectors */
extern const unsigned tiny_pieces[];  /* more than 128 in a sector */

struct memory memory_of_pages (size_t bytes, unsigned offset);
struct memory memory_of_vector (size_t bytes, const unsigned *lengths);
struct memory memory_of_kind (enum memory_kind kind, size_t bytes);
void memory_free (struct memory *m);

/* Copy between all of the memory and DATA. */
void memory_copy (const struct memory *m, char *data, bool to_memory);
void memory_fill (const struct memory *m, uint64_t seed);

#define assert_memory_pattern(m, seed, sector) \
  do { \
    char *data_ = test_alloc ((m)->bytes); \
    memory_copy ((m), data_, false); \
    assert_pattern (data_, (seed), (sector_t) (sector), \
                    (sector_t) (m)->bytes / 512); \
    free (data_); \
  } while (0)

#define assert_memory_zero(m) \
  do { \
    char *data_ = test_alloc ((m)->bytes); \
    memory_copy ((m), data_, false); \
    assert_all_bytes (data_, 0, (m)->bytes); \
    free (data_); \
  } while (0)

/*----- six calls -------------------------------------------------------*/

#define UNTOUCHED 0xdeadbeefUL

/* What the callbacks of one request, or of several, have seen. */
struct completion {
  struct event_count calls;
  unsigned long bits;
  pthread_t thread;
};

/* Two callbacks: CONTEXT is a struct completion; it must not happen. */
void note_completion (unsigned long bits, void *context);
void never_called (unsigned long bits, void *context);

/* The asynchronous call for this memory. */
int submit (unsigned n, struct io_region *where, int rw, const struct memory *m,
            io_notify_fn fn, void *context);

/* Synchronous, or asynchronous and waited for: the same result, after the
 * laws of completion have been checked.
 */
int call_dm_io (bool is_async, unsigned n, struct io_region *where, int rw,
                const struct memory *m, unsigned long *bits);

/*----- disks -----------------------------------------------------------*/

#define DISK_SECTORS ((sector_t) 400)
#define DISKS 64

/* Which calls the disks can have in flight, and when these complete. */
enum disk_kind {
  BLOCKING,
  IN_FLIGHT_TO_END,
  IN_FLIGHT_AT_ONCE,
  IN_FLIGHT_ELSEWHERE,
  MIXED, /* disk I is of kind I % 4, and some refuse each third begin */
  DISK_KINDS,
};

/* Set by dm_io_main, or by a test before setup. */
extern enum disk_kind disk_kind;

/* Some disks, full of a pattern each, seed 1000 + number. */
extern struct fault_trace *trace;
extern struct fault_bdev *disks[DISKS];
extern struct block_device *devices[DISKS];
extern unsigned disk_count;
extern sector_t disk_sectors;

void setup_disks (unsigned count, sector_t sectors);
void setup (unsigned count); /* of DISK_SECTORS each */
void teardown (void);

/* The kind of disk I (never MIXED). */
enum disk_kind kind_of_disk (unsigned i);

struct io_region region (unsigned disk, sector_t sector, sector_t count);

/* Disk I holds pattern SEED from SECTOR on for COUNT sectors, which starts
 * like the memory, and around it what it held before.
 */
#define assert_disk_written(i, seed, at, length) \
  do { \
    sector_t sector_ = (at), count_ = (length); \
    char *data_ = test_alloc_sectors (disk_sectors); \
    fault_bdev_look (disks[i], 0, disk_sectors, data_); \
    assert_pattern (data_, 1000 + (i), (sector_t) 0, sector_); \
    assert_pattern (data_ + sector_ * 512, (seed), (sector_t) 0, count_); \
    assert_pattern (data_ + (sector_ + count_) * 512, 1000 + (i), \
                    sector_ + count_, disk_sectors - sector_ - count_); \
    free (data_); \
  } while (0)

#define assert_disk_untouched(i) assert_disk_written (i, 0, 0, 0)

#define STEPS (FAULT_BEGIN | FAULT_END)

/* Begins and ends come in their order: a begin says that there are more if,
 * and only if, the next step is another begin.
 */
void assert_more_is_exact (void);

/* Run TESTS, as unit_main does, on each kind of disk, or on a mixture of
 * them if it must be quick.
 */
int dm_io_main (const char *name, const TTest *const *tests);

#endif /* DMIO_DM_IO_TEST_H */
