/* Unit tests of the kernel's tables, and of parts of devices.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "config.h"
#include "fault-alloc.h"
#include "part-bdev.h"
#include "table-line.h"
#include "table.h"
#include "target-test.h"

static int
set (struct volume_spec *spec, const char *text)
{
  capture_messages ();
  volume_spec_init (spec);
  return config_set (spec, "table", text);
}

struct refused_table {
  const char *text, *said;
};

static void
expect_refused (const struct refused_table *table)
{
  struct volume_spec spec;

  ck_assert_msg (set (&spec, table->text) == -EINVAL, "%s", table->text);
  ck_assert_msg (strstr (captured_text, table->said) != NULL, "%s: %s",
                 table->text, captured_text);
  volume_spec_free (&spec);
}

START_TEST (tables_are_taken)
{
  static const struct {
    const char *text;
    uint64_t sectors, region;
    const char *log;
    enum sync_mode sync;
    unsigned legs;
    const char *path0, *path1;
    sector_t offset0, offset1;
  } cases[] = {
    { "0 204800 mirror core 2 1024 nosync 2 a.img 0 b.img 0 1 handle_errors",
      204800, 1024, NULL, SYNC_NONE, 2, "a.img", "b.img", 0, 0 },
    { "0 1000 mirror core 1 2 2 /dev/a 8 /dev/b 16", 1000, 2, NULL, SYNC_AUTO,
      2, "/dev/a", "/dev/b", 8, 16 },
    { " 0\t1000 mirror  core 1 64 2 a 0 b 0 0\n", 1000, 64, NULL, SYNC_AUTO, 2,
      "a", "b", 0, 0 },
    { "0 1000 mirror disk 2 log 64 2 a 0 b 0 2 handle_errors keep_log", 1000,
      64, "log", SYNC_AUTO, 2, "a", "b", 0, 0 },
    { "0 1000 mirror disk 3 my\\ log 64 sync 2 a\\\\b 0 nbd://h/x 0 "
      "2 keep_log handle_errors",
      1000, 64, "my log", SYNC_FULL, 2, "a\\b", "nbd://h/x", 0, 0 },
    { "0 512 mirror core 1 512 9 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0", 512, 512,
      NULL, SYNC_AUTO, 9, "a", "b", 0, 0 },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct volume_spec spec;

    ck_assert_msg (set (&spec, cases[i].text) == 0, "%s: %s", cases[i].text,
                   captured_text);
    ck_assert_int_eq (config_check (&spec), 0);
    ck_assert_uint_eq (spec.size_bytes, cases[i].sectors * SECTOR_SIZE);
    ck_assert_uint_eq (spec.region_bytes, cases[i].region * SECTOR_SIZE);
    ck_assert (spec.has_region_bytes && spec.is_table);
    ck_assert_int_eq (spec.sync, cases[i].sync);
    ck_assert_uint_eq (spec.leg_count, cases[i].legs);
    ck_assert_str_eq (spec.legs[0].path, cases[i].path0);
    ck_assert_str_eq (spec.legs[1].path, cases[i].path1);
    ck_assert_uint_eq (spec.legs[0].offset, cases[i].offset0);
    ck_assert_uint_eq (spec.legs[1].offset, cases[i].offset1);
    ck_assert_pstr_eq (spec.log_path, cases[i].log);
    volume_spec_free (&spec);
  }
}
END_TEST

START_TEST (what_the_kernel_refuses_is_refused)
{
  static const struct refused_table cases[] = {
    { "", "'' is not where the target starts" },
    { "0", "'' is not its length" },
    { "8 100 mirror core 1 64 2 a 0 b 0",
      "'8' is not where the target starts" },
    { "0 0 mirror core 1 64 2 a 0 b 0", "its length is 0" },
    { "0 -5 mirror core 1 64 2 a 0 b 0", "'-5' is not its length" },
    { "0 18446744073709551616 mirror core 1 64 2 a 0 b 0",
      "is not its length" },
    { "0 1e3 mirror core 1 64 2 a 0 b 0", "'1e3' is not its length" },
    { "0 1000 raid1 core 1 64 2 a 0 b 0", "'raid1' is not a target" },
    { "0 1000 mirror", "'' is not a log" },
    { "0 1000 mirror userspace 1 64 2 a 0 b 0", "'userspace' is not a log" },
    { "0 1000 mirror core 0 2 a 0 b 0", "the log core needs 1 arguments" },
    { "0 1000 mirror core 3 64 sync x 2 a 0 b 0", "'3' is not the number" },
    { "0 1000 mirror disk 1 64 2 a 0 b 0", "the log disk needs 2 arguments" },
    { "0 1000 mirror disk 4 l 64 sync x 2 a 0 b 0", "'4' is not the number" },
    { "0 1000 mirror disk 2", "ends where the log's file" },
    { "0 1000 mirror core 1 63 2 a 0 b 0", "regions of 63 sectors" },
    { "0 1000 mirror core 1 1 2 a 0 b 0", "regions of 1 sectors" },
    { "0 1000 mirror core 1 0 2 a 0 b 0", "regions of 0 sectors" },
    { "0 1000 mirror core 1 1024 2 a 0 b 0", "'1024' is not the size of a" },
    { "0 1000 mirror core 2 64 maybe 2 a 0 b 0", "'maybe' is not an argument" },
    { "0 1000 mirror core 2 64 2 a 0 b 0", "'2' is not an argument of a log" },
    { "0 1000 mirror core 1 64 sync 2 a 0 b 0", "'sync' is not the number of" },
    { "0 1000 mirror core 1 64", "'' is not the number of legs" },
    { "0 1000 mirror core 1 64 1 a 0", "1 legs: a mirror has from 2 to 9" },
    { "0 1000 mirror core 1 64 10 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0",
      "'10' is not the number of legs" },
    { "0 1000 mirror core 1 64 2 a 0", "where the path of leg 1 should be" },
    { "0 1000 mirror core 1 64 2 a 0 b", "'' is not where the leg begins" },
    { "0 1000 mirror core 1 64 2 a 0 b x", "'x' is not where the leg begins" },
    { "0 1000 mirror core 1 64 2 a 18446744073709551000 b 0",
      "is not where the leg begins" },
    { "0 1000 mirror core 1 64 2 a 0 b 0 1", "'' is not a feature" },
    { "0 1000 mirror core 1 64 2 a 0 b 0 1 quick", "'quick' is not a feature" },
    { "0 1000 mirror core 1 64 2 a 0 b 0 1 keep_log", "needs handle_errors" },
    { "0 1000 mirror core 1 64 2 a 0 b 0 3 a b c",
      "is not the number of feat" },
    { "0 1000 mirror core 1 64 2 a 0 b 0 1 handle_errors more",
      "has 'more' behind its end" },
    { "0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 "
      "6 7 8 9 0",
      "has more than 40 words" },
    { "0 1000 mirror core 1 64 2 %s%n 0 \\", "'' is not where the leg begins" },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i)
    expect_refused (&cases[i]);
}
END_TEST

START_TEST (tables_of_snapshots_are_taken)
{
  static const struct {
    const char *text;
    sector_t sectors, chunk;
    const char *origin, *cow;
    bool is_persistent, may_overflow, zeroes, passes_down;
  } cases[] = {
    { "0 204800 snapshot origin.img cow.img P 16", 204800, 16, "origin.img",
      "cow.img", true, false, false, false },
    { " 0\t1 snapshot  o\\ o c\\\\c N 0\n", 1, 0, "o o", "c\\c", false, false,
      false, false },
    { "0 18014398509481983 snapshot nbd://h/x /dev/c PO 2097152 0",
      18014398509481983, 2097152, "nbd://h/x", "/dev/c", true, true, false,
      false },
    /* Only the first letter counts, and behind P the second. */
    { "0 100 snapshot o c poxy 1 1 discard_zeroes_cow", 100, 1, "o", "c", true,
      true, true, false },
    { "0 100 snapshot o c pO 8 2 discard_passdown_origin discard_zeroes_cow",
      100, 8, "o", "c", true, true, true, true },
    { "0 100 snapshot o c p 8 2 discard_zeroes_cow discard_passdown_origin",
      100, 8, "o", "c", true, false, true, true },
    { "0 100 snapshot o c nonsense 8 0", 100, 8, "o", "c", false, false, false,
      false },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct volume_spec spec;
    struct table_line *line;

    ck_assert_msg (set (&spec, cases[i].text) == 0, "%s: %s", cases[i].text,
                   captured_text);
    ck_assert_int_eq (config_set (&spec, "direct", "off"), 0);
    ck_assert_int_eq (config_check (&spec), 0);
    ck_assert_uint_eq (spec.line_count, 1);
    ck_assert_uint_eq (spec.leg_count, 0);
    line = &spec.lines[0];
    ck_assert_uint_eq (line->sectors, cases[i].sectors);
    ck_assert_uint_eq (line->chunk_sectors, cases[i].chunk);
    ck_assert_str_eq (line->origin, cases[i].origin);
    ck_assert_str_eq (line->cow, cases[i].cow);
    ck_assert (line->is_persistent == cases[i].is_persistent);
    ck_assert (line->may_overflow == cases[i].may_overflow);
    ck_assert (line->discard_zeroes_cow == cases[i].zeroes);
    ck_assert (line->discard_passes_down == cases[i].passes_down);
    volume_spec_free (&spec);
  }
}
END_TEST

START_TEST (snapshots_that_the_kernel_refuses_are_refused)
{
  static const struct refused_table cases[] = {
    { "8 100 snapshot o c P 8", "'8' is not where the target starts" },
    { "0 0 snapshot o c P 8", "its length is 0" },
    { "0 18014398509481984 snapshot o c P 8", "is not its length" },
    { "0 100 snapshot", "ends where the path of the origin" },
    { "0 100 snapshot o", "ends where the path of the COW store" },
    { "0 100 snapshot same same P 8", "cannot be its own COW store" },
    { "0 100 snapshot o c", "'' is not a kind of store" },
    { "0 100 snapshot o c X 8", "'X' is not a kind of store" },
    { "0 100 snapshot o c PX 8", "'PX' is not a kind of store" },
    { "0 100 snapshot o c PPO 8", "'PPO' is not a kind of store" },
    { "0 100 snapshot o c O 8", "'O' is not a kind of store" },
    { "0 100 snapshot o c %s%n 8", "'%s%n' is not a kind of store" },
    { "0 100 snapshot o c P", "'' is not the size of a chunk" },
    { "0 100 snapshot o c P -8", "'-8' is not the size of a chunk" },
    { "0 100 snapshot o c P 0x8", "'0x8' is not the size of a chunk" },
    { "0 100 snapshot o c P 3", "chunks of 3 sectors" },
    { "0 100 snapshot o c P 2097151", "chunks of 2097151 sectors" },
    { "0 100 snapshot o c P 2097153", "'2097153' is not the size of a chunk" },
    { "0 100 snapshot o c P 4194304", "'4194304' is not the size of a chunk" },
    { "0 100 snapshot o c P 4294967304", "is not the size of a chunk" },
    { "0 100 snapshot o c P 18446744073709551616", "is not the size of a" },
    { "0 100 snapshot o c P 8 3 a b c", "'3' is not the number of features" },
    { "0 100 snapshot o c P 8 1", "'' is not a feature of a snapshot" },
    { "0 100 snapshot o c P 8 1 Discard_zeroes_cow", "is not a feature of a" },
    { "0 100 snapshot o c P 8 1 discard_passdown_origin",
      "needs discard_zeroes_cow" },
    { "0 100 snapshot o c P 8 2 discard_zeroes_cow", "'' is not a feature" },
    { "0 100 snapshot o c P 8 0 more", "has 'more' behind its end" },
    { "0 100 snapshot o c P 8 1 discard_zeroes_cow discard_passdown_origin",
      "has 'discard_passdown_origin' behind its end" },
    { "0 100 Snapshot o c P 8", "'Snapshot' is not a target" },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i)
    expect_refused (&cases[i]);
}
END_TEST

START_TEST (tables_may_have_several_lines)
{
  static const struct {
    const char *text;
    unsigned lines;
    int by_default;
    const char *names; /* of all, with a blank behind each */
  } cases[] = {
    { "0 8 snapshot-origin o", 1, 0, "- " },
    { "vol: 0 8 snapshot-origin o", 1, 0, "vol " },
    { "a: 0 8 snapshot o c P 8", 1, 0, "a " },
    { "0 8 snapshot-origin o;a: 0 8 snapshot o c P 8; b: 0 8 snapshot o d N 8",
      3, 0, "- a b " },
    { "a: 0 8 snapshot o c P 8\nvol: 0 9 snapshot-origin o\n", 2, 1, "a vol " },
    { "a: 0 8 snapshot o c P 8\n\n ; \n0 8 snapshot o d P 8;", 2, 1, "a - " },
    { "a: 0 8 snapshot o c P 8;b: 0 8 snapshot o d P 8", 2, -1, "a b " },
    { "a: 0 8 snapshot-origin o;b: 0 8 snapshot-origin p", 2, -1, "a b " },
    { "0 8 snapshot-merge o c P 8 0;a: 0 8 snapshot o d P 8", 2, 0, "- a " },
    { "a: 0 8 snapshot o c P 8;m: 0 8 snapshot-merge o d po 0", 2, 1, "a m " },
    { "m: 0 8 snapshot-merge o d P 8;o: 0 8 snapshot-origin p", 2, -1, "m o " },
    /* A backslash takes the meaning from what ends a line, too. */
    { "vg-lv.1: 0 8 snapshot-origin o\\;\\\np", 1, 0, "vg-lv.1 " },
  };
  unsigned i, j;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct volume_spec spec;
    char names[100] = "";

    ck_assert_msg (set (&spec, cases[i].text) == 0, "%s: %s", cases[i].text,
                   captured_text);
    ck_assert_int_eq (config_check (&spec), 0);
    ck_assert_uint_eq (spec.line_count, cases[i].lines);
    ck_assert_int_eq (table_lines_default (spec.lines, spec.line_count),
                      cases[i].by_default);
    for (j = 0; j < spec.line_count; ++j) {
      const char *name = spec.lines[j].name;

      strcat (strcat (names, name != NULL ? name : "-"), " ");
      ck_assert ((spec.lines[j].cow == NULL) ==
                 (spec.lines[j].target == TABLE_ORIGIN));
    }
    ck_assert_str_eq (names, cases[i].names);
    if (i == ARRAY_COUNT (cases) - 1)
      ck_assert_str_eq (spec.lines[0].origin, "o;\np");
    volume_spec_free (&spec);
  }
}
END_TEST

START_TEST (lines_that_do_not_fit_are_refused)
{
  static const struct refused_table cases[] = {
    { " ; \n", "'' is not where the target starts" },
    { "a:", "'' is not where the target starts" },
    { "a: b: 0 8 snapshot-origin o", "'b:' is not where the target starts" },
    { "a b: 0 8 snapshot-origin o", "'a' is not where the target starts" },
    { ": 0 8 snapshot-origin o", "'' is not a name for a device" },
    { "..: 0 8 snapshot-origin o", "'..' is not a name for a device" },
    { "%s%n: 0 8 snapshot-origin o", "'%s%n' is not a name for a device" },
    { "a/b: 0 8 snapshot-origin o", "'a/b' is not a name for a device" },
    { "0 8 snapshot-origin", "ends where the path of the origin" },
    { "0 8 snapshot-origin o p", "has 'p' behind its end" },
    { "0 8 snapshot-origin o;0 8 snapshot-origin p", "two lines have no name" },
    { "a: 0 8 snapshot-origin o;a: 0 8 snapshot o c P 8",
      "two lines have the name 'a'" },
    { "0 8 snapshot o c P 8;vol: 0 8 snapshot-origin o",
      "would both be the default export" },
    { "0 8 snapshot-merge o", "ends where the path of the COW store" },
    { "0 8 snapshot-merge o c N 8", "that is not remembered; give P" },
    { "0 8 snapshot-merge o c P 8 1 more", "'more' is not a feature" },
    { "0 8 snapshot-merge o o P 8", "cannot be its own COW store" },
    { "0 8 snapshot o c P 8;vol: 0 8 snapshot-merge o d P 8",
      "would both be the default export" },
    { "a: 0 1000 mirror core 1 64 2 a 0 b 0", "a mirror must be alone" },
    { "0 8 snapshot-origin o;0 1000 mirror core 1 64 2 a 0 b 0",
      "a mirror must be alone" },
    { "a: 0 8 snapshot o c P 8\nb: 0 8 snapshot o d P 7", "chunks of 7" },
    { "a: 0 8 snapshot\no c P 8", "ends where the path of the origin" },
  };
  char many[TABLE_MAX_LINES * 32 + 64] = "";
  struct volume_spec spec;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i)
    expect_refused (&cases[i]);
  for (i = 0; i < TABLE_MAX_LINES; ++i)
    (void) snprintf (many + strlen (many), 32, "n%u: 0 8 snapshot o c%u N 8;",
                     i, i);
  ck_assert_int_eq (set (&spec, many), 0);
  volume_spec_free (&spec);
  strcat (many, "0 8 snapshot-origin o");
  ck_assert_int_eq (set (&spec, many), -EINVAL);
  assert_said ("more than 64 lines");
  volume_spec_free (&spec);
}
END_TEST

START_TEST (a_snapshot_has_no_volume)
{
  static const char *const keys[][2] = {
    { "size", "1M" },        { "meta", "dir" },
    { "region-size", "1M" }, { "sync", "none" },
    { "snapshot", "s" },     { "discard-snapshot", "s" },
    { "control", "sock" },   { "on-cow-error", "break-guest-write" },
    { "leg", "a" },
  };
  struct volume_spec spec;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (keys); ++i) {
    ck_assert_int_eq (set (&spec, "0 100 snapshot o c P 8"), 0);
    ck_assert_int_eq (config_set (&spec, keys[i][0], keys[i][1]), 0);
    ck_assert_int_eq (config_check (&spec), -EINVAL);
    assert_said (keys[i][0]);
    assert_said ("is for a volume, and the table is one of snapshots");
    volume_spec_free (&spec);
  }
}
END_TEST

START_TEST (other_keys_are_not_beside_it)
{
  static const char table[] = "0 1000 mirror disk 2 log 64 2 a 0 b 0";
  static const char *const keys[][3] = {
    { "leg", "c", "leg=: the table says that" },
    { "size", "1M", "size=: the table says that" },
    { "region-size", "1M", "region-size=: the table says that" },
    { "sync", "none", "sync=: the table says that" },
    { "meta", "dir", "the log is in that folder" },
  };
  struct volume_spec spec;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (keys); ++i) {
    ck_assert_int_eq (set (&spec, table), 0);
    ck_assert_int_eq (config_set (&spec, keys[i][0], keys[i][1]), 0);
    ck_assert_int_eq (config_check (&spec), -EINVAL);
    assert_said (keys[i][2]);
    volume_spec_free (&spec);
  }
  ck_assert_int_eq (set (&spec, "0 1000 mirror core 1 64 2 a 0 b 8"), 0);
  ck_assert_int_eq (config_set (&spec, "meta", "dir"), 0);
  ck_assert_int_eq (config_check (&spec), -EINVAL);
  assert_said ("leg 1 begins at sector 8");
  volume_spec_free (&spec);
  volume_spec_init (&spec);
  ck_assert_int_eq (config_set (&spec, "leg", "c"), 0);
  ck_assert_int_eq (config_set (&spec, "table", table), -EINVAL);
  assert_said ("legs were given already");
  volume_spec_free (&spec);
}
END_TEST

/* Each of COUNT allocations that TEXT asks for fails in turn. */
static void
want_memory (const char *text, unsigned count)
{
  unsigned k, failed = 1;

  for (k = 0; failed > 0; ++k) {
    struct volume_spec spec;
    int r;

    ck_assert_uint_lt (k, 20);
    volume_spec_init (&spec);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = config_set (&spec, "table", text);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
    volume_spec_free (&spec);
  }
  ck_assert_uint_eq (k, count + 1);
}

START_TEST (want_of_memory_is_told)
{
  want_memory ("0 1000 mirror disk 2 log 64 2 a 0 b 8", 4);
  want_memory ("0 1000 snapshot o c P 8", 4);
  want_memory ("a: 0 9 snapshot o c P 8;0 9 snapshot-origin o", 8);
}
END_TEST

/*----- parts -----------------------------------------------------------*/

START_TEST (a_part_is_in_its_place)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("disk", 100, trace);
  struct block_device *bdev, *whole;
  unsigned char data[2 * SECTOR_SIZE];
  struct iovec iov = { data, sizeof data };
  struct bdev_io io = {
    .op = BDEV_READ, .iov = &iov, .iovcnt = 1, .sector = 5
  };
  struct bdev_extent extent;
  unsigned flags;

  for (flags = 0; flags < 2; ++flags) {
    fault_trace_reset (trace);
    whole = bdev = fault_bdev_open (disk, flags ? FAULT_OPEN_FLIGHT : 0);
    ck_assert_int_eq (part_bdev_take (&bdev, 0), 0);
    ck_assert_ptr_eq (bdev, whole);
    ck_assert_int_eq (part_bdev_take (&bdev, 100), -EINVAL);
    ck_assert_ptr_eq (bdev, whole);
    ck_assert_int_eq (part_bdev_take (&bdev, 30), 0);
    ck_assert_uint_eq (bdev_sectors (bdev), 70);
    ck_assert_str_eq (bdev_name (bdev), "disk");
    ck_assert (bdev_can_begin (bdev) == (flags != 0));
    fill_pattern (data, 7, 5, 2);
    ck_assert_int_eq (bdev_write (bdev, &iov, 1, 5, BDEV_FUA), 0);
    ck_assert_int_eq (bdev_write (bdev, &iov, 1, 69, 0), -EINVAL);
    memset (data, 0, sizeof data);
    ck_assert_int_eq (bdev_read (bdev, &iov, 1, 5), 0);
    assert_pattern (data, 7, 5, 2);
    if (flags) {
      memset (data, 0, sizeof data);
      ck_assert_int_eq (bdev_begin (bdev, &io), 0);
      ck_assert_int_eq (bdev_end (bdev, &io), 0);
      ck_assert_uint_eq (io.sector, 5);
      assert_pattern (data, 7, 5, 2);
    }
    ck_assert_int_eq (bdev_write_zeroes (bdev, 60, 10, BDEV_UNMAP), 0);
    ck_assert_int_eq (bdev_discard (bdev, 50, 5, 0), 0);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    ck_assert_int_eq (bdev_extent (bdev, 60, 10, &extent), 0);
    ck_assert (extent.is_hole);
    ck_assert_uint_eq (extent.count, 10);
    bdev_close (bdev);
    ck_assert_uint_eq (fault_bdev_open_count (disk), 0);
    {
      char *text = fault_trace_text (trace, FAULT_WRITE | FAULT_ZERO |
                                              FAULT_DISCARD | FAULT_FLUSH);

      ck_assert_str_eq (text, "disk write 35+2 fua, disk zero 90+10 unmap, "
                              "disk discard 80+5, disk flush");
      free (text);
    }
  }
  bdev = fault_bdev_open (disk, FAULT_OPEN_READ_ONLY);
  ck_assert_int_eq (part_bdev_take (&bdev, 30), 0);
  ck_assert (bdev_is_read_only (bdev));
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    tables_are_taken,
    what_the_kernel_refuses_is_refused,
    tables_of_snapshots_are_taken,
    snapshots_that_the_kernel_refuses_are_refused,
    tables_may_have_several_lines,
    lines_that_do_not_fit_are_refused,
    a_snapshot_has_no_volume,
    other_keys_are_not_beside_it,
    want_of_memory_is_told,
    a_part_is_in_its_place,
    NULL,
  };

  return unit_main ("table", tests);
}
