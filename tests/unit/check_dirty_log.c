/* Unit tests of the dirty log, and of its format on disk.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>

#include "dirty-log.h"
#include "fault-alloc.h"
#include "target-test.h"

#define BITS_AT 1024 /* in bytes */

/* A disk that holds a log. */
struct rig {
  struct fault_trace *trace;
  struct fault_bdev *disk;
  struct dirty_log *log;
};

static void
rig_create (struct rig *rig, sector_t sectors)
{
  rig->trace = fault_trace_create ();
  rig->disk = fault_bdev_create ("log", sectors, rig->trace);
  rig->log = NULL;
  capture_messages ();
}

static void
rig_destroy (struct rig *rig)
{
  dirty_log_destroy (rig->log);
  fault_bdev_destroy (rig->disk);
  fault_trace_destroy (rig->trace);
}

static void
rig_make (struct rig *rig, uint64_t regions, bool is_clean)
{
  ck_assert_int_eq (dirty_log_disk_create (regions, is_clean, &rig->log), 0);
  ck_assert_int_eq (dirty_log_flush (rig->log), 0);
  ck_assert_int_eq (dirty_log_disk_attach (rig->log,
                                           fault_bdev_open (rig->disk, 0)),
                    0);
  ck_assert_int_eq (dirty_log_flush (rig->log), 0);
  fault_trace_reset (rig->trace);
}

static int
rig_try_open (struct rig *rig, uint64_t regions, unsigned flags)
{
  struct block_device *bdev = fault_bdev_open (rig->disk, 0);
  int r;

  dirty_log_destroy (rig->log);
  rig->log = NULL;
  r = dirty_log_disk_open (bdev, regions, flags, &rig->log);
  if (r < 0)
    bdev_close (bdev);
  return r;
}

static void
rig_open (struct rig *rig, uint64_t regions, unsigned flags)
{
  ck_assert_int_eq (rig_try_open (rig, regions, flags), 0);
}

static void
assert_trace (struct rig *rig, const char *expected)
{
  char *text = fault_trace_text (rig->trace, FAULT_ALL & ~FAULT_READ);

  ck_assert_str_eq (text, expected);
  free (text);
  fault_trace_reset (rig->trace);
}

/* Bytes of the disk, from AT on. */
static void
poke (struct rig *rig, size_t at, const void *bytes, size_t count)
{
  unsigned char data[SECTOR_SIZE];

  ck_assert_uint_le (at % SECTOR_SIZE + count, SECTOR_SIZE);
  fault_bdev_look (rig->disk, at / SECTOR_SIZE, 1, data);
  memcpy (data + at % SECTOR_SIZE, bytes, count);
  fault_bdev_load (rig->disk, at / SECTOR_SIZE, 1, data);
}

/* A header as the kernel and LVM write it. */
static void
poke_header (struct rig *rig, uint32_t magic, uint32_t version,
             uint64_t regions)
{
  unsigned char header[16];
  unsigned i;

  for (i = 0; i < 4; ++i) {
    header[i] = (unsigned char) (magic >> 8 * i);
    header[4 + i] = (unsigned char) (version >> 8 * i);
  }
  for (i = 0; i < 8; ++i)
    header[8 + i] = (unsigned char) (regions >> 8 * i);
  poke (rig, 0, header, sizeof header);
}

#define MAGIC UINT32_C (0x4d695272)

static void
fill_disk (struct rig *rig, unsigned char byte, sector_t sectors)
{
  unsigned char data[SECTOR_SIZE];
  sector_t s;

  memset (data, byte, sizeof data);
  for (s = 0; s < sectors; ++s)
    fault_bdev_load (rig->disk, s, 1, data);
}

/*----- bits ------------------------------------------------------------*/

START_TEST (bits_are_marked_and_cleared)
{
  static const uint64_t sizes[] = { 1, 2, 63, 64, 65, 4095, 4096, 4097, 9000 };
  struct chance chance = chance_begin ("bits_are_marked_and_cleared");
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (sizes); ++i) {
    uint64_t n = sizes[i], r, dirty = 0;
    bool *model = test_alloc (n);
    struct dirty_log *log;
    unsigned j;

    memset (model, false, n);
    ck_assert_int_eq (dirty_log_core_create (n, true, &log), 0);
    ck_assert_uint_eq (dirty_log_dirty_count (log), 0);
    for (j = 0; j < 50; ++j) {
      uint64_t first = chance_below (&chance, n);
      uint64_t last = first + chance_below (&chance, n - first);
      bool is_clear = chance_below (&chance, 2);

      memset (model + first, !is_clear, last - first + 1);
      (is_clear ? dirty_log_clear : dirty_log_mark) (log, first, last);
    }
    for (r = 0; r < n; ++r) {
      uint64_t next = r, expected = r;

      dirty += model[r];
      quick_assert (dirty_log_is_dirty (log, r) == model[r]);
      while (expected < n && !model[expected])
        expected++;
      quick_assert (dirty_log_next_dirty (log, &next) == (expected < n));
      quick_assert (next == (expected < n ? expected : r));
    }
    ck_assert_uint_eq (dirty_log_dirty_count (log), dirty);
    ck_assert_int_eq (dirty_log_flush (log), 0);
    dirty_log_destroy (log);
    free (model);
  }
}
END_TEST

/*----- the format ------------------------------------------------------*/

START_TEST (a_new_log_is_in_the_kernels_format)
{
  static const unsigned char header[16] = { 'r', 'R', 'i', 'M', 2, 0, 0, 0,
                                            70,  0,   0,   0,   0, 0, 0, 0 };
  unsigned char data[8 * SECTOR_SIZE];
  struct rig rig;

  rig_create (&rig, 8);
  ck_assert_uint_eq (dirty_log_disk_bytes (70), 4096);
  ck_assert_uint_eq (dirty_log_disk_bytes ((4096 - 1024) * 8), 4096);
  ck_assert_uint_eq (dirty_log_disk_bytes ((4096 - 1024) * 8 + 1), 8192);
  rig_make (&rig, 70, true);
  dirty_log_mark (rig.log, 65, 66);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  fault_bdev_look_durable (rig.disk, 0, 8, data);
  ck_assert_mem_eq (data, header, 16);
  assert_all_bytes (data + 16, 0, BITS_AT - 16);
  assert_all_bytes (data + BITS_AT, 0xff, 8);
  ck_assert_uint_eq (data[BITS_AT + 8], 0x39);
  assert_all_bytes (data + BITS_AT + 9, 0, sizeof data - BITS_AT - 9);
  rig_destroy (&rig);
}
END_TEST

START_TEST (only_changed_sectors_are_written)
{
  struct dirty_log_status status;
  struct rig rig;

  rig_create (&rig, 8);
  rig_make (&rig, 5 * 4096, true);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  assert_trace (&rig, "");
  dirty_log_mark (rig.log, 4096, 4096);
  dirty_log_mark (rig.log, 5000, 5000);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  assert_trace (&rig, "log write 3+1, log flush");
  dirty_log_mark (rig.log, 4096, 5000);
  dirty_log_clear (rig.log, 4 * 4096, 5 * 4096 - 1); /* so they are */
  dirty_log_mark (rig.log, 2 * 4096 + 5, 3 * 4096 + 5);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  assert_trace (&rig, "log write 3+3, log flush");
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  assert_trace (&rig, "");
  dirty_log_get_status (rig.log, &status);
  ck_assert_str_eq (status.type, "disk");
  ck_assert_uint_eq (status.dirty, 5001 - 4096 + 4097);
  ck_assert_int_eq (status.error, 0);
  ck_assert_uint_eq (status.writes, 2 + 2); /* two to make it */
  ck_assert_uint_eq (status.flushes, 2 + 2);
  rig_open (&rig, 5 * 4096, 0);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 5001 - 4096 + 4097);
  rig_destroy (&rig);
}
END_TEST

/* More than goes into one write. */
START_TEST (a_large_log_is_written_in_pieces)
{
  const uint64_t regions = 300 * 4096 + 1;
  struct rig rig;

  rig_create (&rig, dirty_log_disk_bytes (regions) / SECTOR_SIZE);
  rig_make (&rig, regions, true);
  dirty_log_mark (rig.log, 0, regions - 1);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  assert_trace (&rig, "log write 2+128, log write 130+128, log write 258+45, "
                      "log flush");
  dirty_log_clear (rig.log, 130 * 4096, 130 * 4096);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  rig_open (&rig, regions, 0);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), regions - 1);
  ck_assert (!dirty_log_is_dirty (rig.log, 130 * 4096));
  rig_destroy (&rig);
}
END_TEST

/*----- logs of others --------------------------------------------------*/

/* tests/golden/g6_log1000.bin: a mirror of 1000 sectors, regions of 64. */
START_TEST (the_kernels_log_is_read)
{
  const char *top = getenv ("abs_top_srcdir");
  unsigned char golden[4096], data[4096];
  char path[TEST_PATH_BYTES];
  struct rig rig;
  FILE *file;

  (void) snprintf (path, sizeof path, "%s/tests/golden/g6_log1000.bin",
                   top != NULL ? top : ".");
  file = fopen (path, "rb");
  ck_assert_msg (file != NULL, "%s: %s", path, strerror (errno));
  ck_assert_uint_eq (fread (golden, 1, sizeof golden, file), sizeof golden);
  ck_assert_int_eq (fclose (file), 0);

  rig_create (&rig, 8);
  fault_bdev_load (rig.disk, 0, 8, golden);
  rig_open (&rig, 16, 0);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 0);
  /* Whoever wrote it may not have flushed it. */
  assert_trace (&rig, "");
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  assert_trace (&rig, "log flush");
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  assert_trace (&rig, "");

  /* Marked and cleared again it is what it was. */
  dirty_log_mark (rig.log, 3, 5);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  fault_bdev_look_durable (rig.disk, 0, 8, data);
  ck_assert_uint_eq (data[BITS_AT], 0xc7);
  dirty_log_clear (rig.log, 0, 15);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  fault_bdev_look_durable (rig.disk, 0, 8, data);
  ck_assert_mem_eq (data, golden, sizeof golden);
  rig_destroy (&rig);
}
END_TEST

/* The kernel counts 16 of 79 in sync, when this log grows to 5000 sectors. */
START_TEST (a_log_grows_and_shrinks_as_the_kernels)
{
  unsigned char data[8 * SECTOR_SIZE];
  struct rig rig;
  uint64_t r;

  rig_create (&rig, 8);
  rig_make (&rig, 16, true);
  /* Behind the last region there may be anything. */
  poke (&rig, BITS_AT + 8, "\xff\xff", 2);
  ck_assert_int_eq (rig_try_open (&rig, 79, 0), -EINVAL);
  assert_said ("has 16 regions and the volume has 79");
  rig_open (&rig, 79, DIRTY_LOG_RESIZE);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 79 - 16);
  for (r = 0; r < 79; ++r)
    ck_assert_int_eq (dirty_log_is_dirty (rig.log, r), r >= 16);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  /* That more bits count is durable after what they are. */
  assert_trace (&rig, "log write 2+1, log flush, log write 0+2, log flush");

  dirty_log_mark (rig.log, 2, 2);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  rig_open (&rig, 5, DIRTY_LOG_RESIZE);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 1);
  ck_assert (dirty_log_is_dirty (rig.log, 2));
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  fault_bdev_look_durable (rig.disk, 0, 8, data);
  ck_assert_uint_eq (data[8], 5);
  ck_assert_uint_eq (data[BITS_AT], 0x1b);
  ck_assert_uint_eq (data[BITS_AT + 1], 0);
  rig_destroy (&rig);
}
END_TEST

/* LVM wipes the device with ones (in sync) or zeroes, and writes a header by
 * which all bits count.
 */
START_TEST (logs_of_lvm_are_taken)
{
  static const unsigned char ones[] = { 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0xff };
  unsigned char data[4 * SECTOR_SIZE];
  struct rig rig;

  rig_create (&rig, 4);
  fill_disk (&rig, 0xff, 4);
  poke_header (&rig, MAGIC, 2, UINT64_MAX);
  rig_open (&rig, 16, 0);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 0);
  assert_trace (&rig, "");
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  fault_bdev_look_durable (rig.disk, 0, 4, data);
  ck_assert_uint_eq (data[8], 16);
  assert_all_bytes (data + 9, 0, 7);
  assert_all_bytes (data + 16, 0xff, BITS_AT - 16);
  ck_assert_mem_eq (data + BITS_AT, ones, sizeof ones);
  assert_all_bytes (data + BITS_AT + 8, 0xff, sizeof data - BITS_AT - 8);
  rig_open (&rig, 16, 0);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 0);

  fill_disk (&rig, 0, 4);
  poke_header (&rig, MAGIC, 2, UINT64_MAX);
  rig_open (&rig, 16, 0);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 16);
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  rig_open (&rig, 16, 0);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 16);
  rig_destroy (&rig);
}
END_TEST

START_TEST (version_1_becomes_version_2)
{
  unsigned char data[4 * SECTOR_SIZE];
  struct rig rig;

  rig_create (&rig, 4);
  fill_disk (&rig, 0x5a, 4);
  poke_header (&rig, MAGIC, 1, 64);
  rig_open (&rig, 64, 0);
  ck_assert_uint_eq (dirty_log_dirty_count (rig.log), 32);
  ck_assert (dirty_log_is_dirty (rig.log, 0));
  ck_assert (!dirty_log_is_dirty (rig.log, 1));
  ck_assert_int_eq (dirty_log_flush (rig.log), 0);
  assert_trace (&rig, "log flush, log write 0+2, log flush");
  fault_bdev_look_durable (rig.disk, 0, 4, data);
  ck_assert_uint_eq (data[4], 2);
  assert_all_bytes (data + 16, 0x5a, sizeof data - 16);
  rig_destroy (&rig);
}
END_TEST

START_TEST (what_is_no_log_is_refused)
{
  static const struct {
    uint32_t magic, version;
    uint64_t regions;
    sector_t sectors;
    const char *message;
  } cases[] = {
    { 0, 2, 16, 4, "is not a dirty log" },
    { UINT32_MAX, 2, 16, 4, "is not a dirty log" },
    { MAGIC + 1, 2, 16, 4, "is not a dirty log" },
    { MAGIC, 0, 16, 4, "has version 0" },
    { MAGIC, 3, 16, 4, "has version 3" },
    { MAGIC, UINT32_MAX, 16, 4, "has version 4294967295" },
    { MAGIC, 2, 0, 4, "has 0 regions and the volume has 16" },
    { MAGIC, 2, 15, 4, "has 15 regions" },
    { MAGIC, 2, 17, 4, "has 17 regions" },
    { MAGIC, 2, UINT64_MAX - 1, 4, "has 18446744073709551614 regions" },
    { MAGIC, 2, 16, 2, "too few for a dirty log" },
    { MAGIC, 2, 16, 1, "too few for a dirty log" },
  };
  struct dirty_log_info info;
  struct block_device *bdev;
  struct rig rig;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    rig_create (&rig, cases[i].sectors);
    poke_header (&rig, cases[i].magic, cases[i].version, cases[i].regions);
    ck_assert_int_eq (rig_try_open (&rig, 16, 0), -EINVAL);
    assert_said (cases[i].message);
    assert_said ("E: log: ");
    assert_said ("remove it");
    assert_trace (&rig, "");
    rig_destroy (&rig);
  }

  /* Too short for the bits. */
  rig_create (&rig, 3);
  poke_header (&rig, MAGIC, 2, UINT64_MAX);
  ck_assert_int_eq (rig_try_open (&rig, 4097, 0), -EINVAL);
  assert_said ("too few for 4097 regions");
  rig_open (&rig, 4096, 0);
  ck_assert_int_eq (rig_try_open (&rig, UINT64_C (1) << 32, 0), -E2BIG);
  bdev = fault_bdev_open (rig.disk, FAULT_OPEN_READ_ONLY);
  ck_assert_int_eq (dirty_log_disk_read_info (bdev, &info), 0);
  ck_assert_uint_eq (info.version, 2);
  ck_assert (info.regions == UINT64_MAX);
  ck_assert_uint_eq (info.room, 4096);
  poke_header (&rig, 0, 2, 16);
  ck_assert_int_eq (dirty_log_disk_read_info (bdev, &info), -EINVAL);
  bdev_close (bdev);
  assert_trace (&rig, "");
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_log_that_cannot_be_read_is_told)
{
  struct rig rig;
  unsigned k;

  rig_create (&rig, 8);
  rig_make (&rig, 16, true);
  for (k = 0; k < 2; ++k) {
    capture_messages ();
    fault_bdev_fail_once (rig.disk, FAULT_READ, k);
    ck_assert_int_eq (rig_try_open (&rig, 16, 0), -EIO);
    assert_said ("log: cannot be read: Input/output error");
    fault_bdev_heal (rig.disk);
  }
  rig_destroy (&rig);
}
END_TEST

/*----- flushing --------------------------------------------------------*/

#define WRITERS 6

struct writer {
  struct thread thread;
  struct dirty_log *log;
  uint64_t region;
  int result;
};

static void
mark_one (void *arg)
{
  struct writer *w = arg;

  dirty_log_mark (w->log, w->region, w->region);
  w->result = dirty_log_flush (w->log);
}

/* While one flush runs, all others gather for the next. */
START_TEST (those_who_wait_share_a_flush)
{
  struct writer writers[WRITERS];
  struct dirty_log_status status;
  struct rig rig;
  unsigned i;

  rig_create (&rig, 8);
  rig_make (&rig, 16, true);
  fault_bdev_gate_shut (rig.disk, FAULT_WRITE, 0, 0);
  for (i = 0; i < WRITERS; ++i) {
    writers[i] = (struct writer){ .log = rig.log, .region = i };
    ck_assert_int_eq (thread_start (&writers[i].thread, "writer", mark_one,
                                    &writers[i]),
                      0);
    if (i == 0)
      fault_bdev_gate_wait (rig.disk, 1);
  }
  wait_until (dirty_log_dirty_count (rig.log) == WRITERS);
  fault_bdev_gate_pass (rig.disk, 1);
  fault_bdev_gate_wait (rig.disk, 1);
  fault_bdev_gate_open (rig.disk);
  for (i = 0; i < WRITERS; ++i) {
    thread_join (&writers[i].thread);
    ck_assert_int_eq (writers[i].result, 0);
  }
  dirty_log_get_status (rig.log, &status);
  ck_assert_uint_eq (status.writes, 2 + 2); /* two to make it */
  assert_trace (&rig, "log write 2+1, log flush, log write 2+1, log flush");
  rig_destroy (&rig);
}
END_TEST

/* Whatever fails, first or last: nothing succeeds from then on. */
START_TEST (a_failure_is_for_ever)
{
  static const unsigned ops[] = { FAULT_WRITE, FAULT_FLUSH };
  struct dirty_log_status status;
  struct rig rig;
  unsigned i, k;

  for (i = 0; i < ARRAY_COUNT (ops); ++i) {
    for (k = 0; k < 2; ++k) {
      rig_create (&rig, 8);
      rig_make (&rig, 16, true);
      fault_bdev_fail_once (rig.disk, ops[i], k);
      if (k == 1) {
        dirty_log_mark (rig.log, 1, 1);
        ck_assert_int_eq (dirty_log_flush (rig.log), 0);
      }
      dirty_log_mark (rig.log, 2, 2);
      ck_assert_int_eq (dirty_log_flush (rig.log), -EIO);
      fault_bdev_heal (rig.disk);
      ck_assert_int_eq (dirty_log_flush (rig.log), -EIO);
      dirty_log_get_status (rig.log, &status);
      ck_assert_int_eq (status.error, -EIO);
      rig_destroy (&rig);
    }
  }
}
END_TEST

static bool
keep_by_chance (void *context, unsigned index, sector_t sector)
{
  (void) index;
  (void) sector;
  return chance_below (context, 2);
}

/* Whatever a crash leaves of what was not flushed: a mark that was flushed is
 * there, unless it was cleared since; and nothing is clean that never was.
 */
START_TEST (marks_survive_a_crash)
{
  struct chance chance = chance_begin ("marks_survive_a_crash");
  enum { REGIONS = 3 * 4096 };
  static bool must_be_dirty[REGIONS];
  unsigned round, i;

  for (round = 0; round < 60; ++round) {
    struct rig rig;
    uint64_t r;

    rig_create (&rig, 8);
    rig_make (&rig, REGIONS, true);
    memset (must_be_dirty, false, sizeof must_be_dirty);
    for (i = chance_below (&chance, 30); i-- > 0;) {
      uint64_t first = chance_below (&chance, REGIONS - 8);
      uint64_t last = first + chance_below (&chance, 8);

      if (chance_below (&chance, 4) == 0) {
        dirty_log_clear (rig.log, first, last);
        memset (must_be_dirty + first, false, last - first + 1);
      }
      else {
        dirty_log_mark (rig.log, first, last);
        if (chance_below (&chance, 4) == 0)
          fault_trace_cut_power (rig.trace, FAULT_ALL & ~FAULT_READ,
                                 (unsigned) chance_below (&chance, 3));
        if (dirty_log_flush (rig.log) < 0)
          break;
        for (r = first; r <= last; ++r)
          must_be_dirty[r] = true;
      }
    }
    dirty_log_destroy (rig.log);
    rig.log = NULL;
    fault_bdev_crash (rig.disk, keep_by_chance, &chance);
    fault_trace_power_on (rig.trace);
    rig_open (&rig, REGIONS, 0);
    for (r = 0; r < REGIONS; ++r)
      quick_assert (!must_be_dirty[r] || dirty_log_is_dirty (rig.log, r));
    rig_destroy (&rig);
  }
}
END_TEST

START_TEST (fails_at_every_allocation)
{
  struct dirty_log *log = NULL;
  struct block_device *bdev;
  struct rig rig;
  unsigned k;
  int r;

  rig_create (&rig, 8);
  rig_make (&rig, 16, true);
  bdev = fault_bdev_open (rig.disk, 0);
  for (k = 0;; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = dirty_log_core_create (16, true, &log);
    if (fault_alloc_stop () == 0)
      break;
    ck_assert_int_eq (r, -ENOMEM);
  }
  ck_assert_int_eq (r, 0);
  ck_assert_uint_gt (k, 1);
  dirty_log_destroy (log);
  for (k = 0;; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = dirty_log_disk_open (bdev, 16, 0, &log);
    if (fault_alloc_stop () == 0)
      break;
    ck_assert_int_eq (r, -ENOMEM);
  }
  ck_assert_int_eq (r, 0);
  ck_assert_uint_gt (k, 3);
  dirty_log_destroy (log);
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_device_must_be_large_enough)
{
  struct block_device *bdev;
  struct rig rig;

  rig_create (&rig, 3);
  ck_assert_int_eq (dirty_log_disk_create (4097, true, &rig.log), 0);
  bdev = fault_bdev_open (rig.disk, 0);
  ck_assert_int_eq (dirty_log_disk_attach (rig.log, bdev), -EINVAL);
  bdev_close (bdev);
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    bits_are_marked_and_cleared,
    a_new_log_is_in_the_kernels_format,
    only_changed_sectors_are_written,
    a_large_log_is_written_in_pieces,
    the_kernels_log_is_read,
    a_log_grows_and_shrinks_as_the_kernels,
    logs_of_lvm_are_taken,
    version_1_becomes_version_2,
    what_is_no_log_is_refused,
    a_log_that_cannot_be_read_is_told,
    those_who_wait_share_a_flush,
    a_failure_is_for_ever,
    marks_survive_a_crash,
    fails_at_every_allocation,
    a_device_must_be_large_enough,
    NULL,
  };

  return unit_main ("dirty-log", tests);
}
