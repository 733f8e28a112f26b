/* Unit tests of the keys of the command line.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "config.h"
#include "size-text.h"
#include "fault-alloc.h"
#include "manifest.h"
#include "target-test.h"

START_TEST (sizes)
{
  static const struct {
    const char *text;
    uint64_t bytes;
  } good[] = {
    { "0", 0 },
    { "1", 1 },
    { "512", 512 },
    { "10b", 10 },
    { "3s", 1536 },
    { "1k", 1024 },
    { "1K", 1024 },
    { "2M", UINT64_C (2) << 20 },
    { "3G", UINT64_C (3) << 30 },
    { "4T", UINT64_C (4) << 40 },
    { "5P", UINT64_C (5) << 50 },
    { "7E", UINT64_C (7) << 60 },
    { "9223372036854775807", INT64_MAX },
    { "007", 7 },
  };
  static const char *const bad[] = {
    "",
    " ",
    "K",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1KB",
    "1KiB",
    "1x",
    "0x10",
    "1.5G",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "8E",
    "16E",
    "9007199254740992K",
    "1kk",
  };
  uint64_t bytes;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (good); ++i) {
    ck_assert_msg (size_parse (good[i].text, &bytes), "%s", good[i].text);
    ck_assert_uint_eq (bytes, good[i].bytes);
  }
  for (i = 0; i < ARRAY_COUNT (bad); ++i)
    ck_assert_msg (!size_parse (bad[i], &bytes), "%s", bad[i]);
}
END_TEST

START_TEST (defaults_are_those_that_are_documented)
{
  struct volume_spec spec;

  volume_spec_init (&spec);
  ck_assert_uint_eq (spec.region_bytes, 2 << 20);
  ck_assert (!spec.has_region_bytes);
  ck_assert_uint_eq (spec.chunk_bytes, 64 << 10);
  ck_assert_uint_eq (spec.size_bytes, 0);
  ck_assert_uint_eq (spec.cow_bytes, 0);
  ck_assert_uint_eq (spec.resync_rate, 0);
  ck_assert_int_eq (spec.sync, SYNC_AUTO);
  ck_assert_int_eq (spec.read_policy, READ_LEAST_PENDING);
  ck_assert_int_eq (spec.direct, DIRECT_AUTO);
  ck_assert_int_eq (spec.on_cow_error, BREAK_SNAPSHOT);
  ck_assert_ptr_null (spec.meta);
  volume_spec_free (&spec);
}
END_TEST

START_TEST (keys_set_what_they_say)
{
  static const char *const keys[][2] = {
    { "leg", "a.img" },
    { "leg", "/dev/b" },
    { "size", "1M" },
    { "meta", "dir" },
    { "region-size", "128K" },
    { "sync", "none" },
    { "read-policy", "round-robin" },
    { "write-mostly", "1" },
    { "direct", "on" },
    { "resync-rate", "5M" },
    { "snapshot", "monday" },
    { "snapshot", "a.b-c_d9" },
    { "discard-snapshot", "sunday" },
    { "chunk-size", "4K" },
    { "cow-size", "3M" },
    { "on-cow-error", "break-guest-write" },
  };
  struct volume_spec spec;
  unsigned i;

  volume_spec_init (&spec);
  for (i = 0; i < ARRAY_COUNT (keys); ++i)
    ck_assert_msg (config_set (&spec, keys[i][0], keys[i][1]) == 0, "%s",
                   keys[i][0]);
  ck_assert_int_eq (config_check (&spec), 0);
  ck_assert_uint_eq (spec.leg_count, 2);
  ck_assert_str_eq (spec.legs[0].path, "a.img");
  ck_assert_str_eq (spec.legs[1].path, "/dev/b");
  ck_assert (!spec.legs[0].is_write_mostly && spec.legs[1].is_write_mostly);
  ck_assert_uint_eq (spec.size_bytes, 1 << 20);
  ck_assert_str_eq (spec.meta, "dir");
  ck_assert_uint_eq (spec.region_bytes, 128 << 10);
  ck_assert (spec.has_region_bytes);
  ck_assert_int_eq (spec.sync, SYNC_NONE);
  ck_assert_int_eq (spec.read_policy, READ_ROUND_ROBIN);
  ck_assert_int_eq (spec.direct, DIRECT_ON);
  ck_assert_uint_eq (spec.resync_rate, 5 << 20);
  ck_assert_uint_eq (spec.snapshot_count, 2);
  ck_assert_str_eq (spec.snapshots[0], "monday");
  ck_assert_str_eq (spec.snapshots[1], "a.b-c_d9");
  ck_assert_uint_eq (spec.discard_count, 1);
  ck_assert_str_eq (spec.discards[0], "sunday");
  ck_assert_uint_eq (spec.chunk_bytes, 4096);
  ck_assert_uint_eq (spec.cow_bytes, 3 << 20);
  ck_assert_int_eq (spec.on_cow_error, BREAK_GUEST_WRITE);
  volume_spec_free (&spec);
}
END_TEST

START_TEST (every_word_has_its_meaning)
{
  static const struct {
    const char *key;
    const char *words[3];
  } keys[] = {
    { "sync", { "auto", "full", "none" } },
    { "read-policy", { "least-pending", "round-robin", "first" } },
    { "direct", { "auto", "on", "off" } },
    { "on-cow-error", { "break-snapshot", "break-guest-write", NULL } },
  };
  static const int meanings[][3] = {
    { SYNC_AUTO, SYNC_FULL, SYNC_NONE },
    { READ_LEAST_PENDING, READ_ROUND_ROBIN, READ_FIRST },
    { DIRECT_AUTO, DIRECT_ON, DIRECT_OFF },
    { BREAK_SNAPSHOT, BREAK_GUEST_WRITE, 0 },
  };
  unsigned k, w;

  for (k = 0; k < ARRAY_COUNT (keys); ++k)
    for (w = 0; w < 3 && keys[k].words[w] != NULL; ++w) {
      struct volume_spec spec;
      int got[4];

      volume_spec_init (&spec);
      ck_assert_int_eq (config_set (&spec, keys[k].key, keys[k].words[w]), 0);
      got[0] = (int) spec.sync;
      got[1] = (int) spec.read_policy;
      got[2] = (int) spec.direct;
      got[3] = (int) spec.on_cow_error;
      ck_assert_int_eq (got[k], meanings[k][w]);
      volume_spec_free (&spec);
    }
}
END_TEST

START_TEST (seconds_become_milliseconds)
{
  struct volume_spec spec;

  volume_spec_init (&spec);
  ck_assert_uint_eq (spec.leg_timeout_ms, 30000);
  ck_assert_int_eq (config_set (&spec, "leg-timeout", "1"), 0);
  ck_assert_uint_eq (spec.leg_timeout_ms, 1000);
  volume_spec_free (&spec);
  volume_spec_init (&spec);
  ck_assert_int_eq (config_set (&spec, "leg-timeout", "86400"), 0);
  ck_assert_uint_eq (spec.leg_timeout_ms, 86400000);
  volume_spec_free (&spec);
}
END_TEST

#define LONG_NAME \
  "0123456789012345678901234567890123456789012345678901234567890123"

/* The server changes its folder before it may have to connect again. */
START_TEST (files_in_uris_become_absolute)
{
  static const struct {
    const char *given;
    const char *kept; /* behind the folder in which we are */
  } uris[] = {
    { "nbd+unix:///?socket=a.sock", "nbd+unix:///?socket=%s/a.sock" },
    { "nbd+unix:///x?a=b&socket=c%20d", "nbd+unix:///x?a=b&socket=%s/c%20d" },
    { "nbds+unix:///?tls-psk-file=k;socket=/s",
      "nbds+unix:///?tls-psk-file=%s/k;socket=/s" },
    { "nbds://h/?tls-certificates=pki#f",
      "nbds://h/?tls-certificates=%s/pki#f" },
    { "nbd+unix:///?socket=%2fs", "nbd+unix:///?socket=%2fs" },
    { "nbd+unix:///?socket=", "nbd+unix:///?socket=" },
    { "nbd+unix:///?xsocket=s", "nbd+unix:///?xsocket=s" },
    { "nbd://host", "nbd://host" },
  };
  char *folder = mkdtemp (strdup ("/tmp/dm-config,XXXXXX"));
  char *before = realpath (".", NULL);
  unsigned i;

  ck_assert_ptr_nonnull (folder);
  ck_assert_int_eq (chdir (folder), 0);
  for (i = 0; i < ARRAY_COUNT (uris); ++i) {
    const char *hole = strstr (uris[i].kept, "%s/");
    char expected[512];
    struct volume_spec spec;

    if (hole == NULL)
      snprintf (expected, sizeof expected, "%s", uris[i].kept);
    else
      snprintf (expected, sizeof expected, "%.*s/tmp/dm-config%%2C%s%s",
                (int) (hole - uris[i].kept), uris[i].kept,
                strchr (folder, ',') + 1, hole + 2);
    volume_spec_init (&spec);
    ck_assert_int_eq (config_set (&spec, "leg", uris[i].given), 0);
    ck_assert_str_eq (spec.legs[0].path, expected);
    volume_spec_free (&spec);
  }
  ck_assert_int_eq (chdir (before), 0);
  ck_assert_int_eq (rmdir (folder), 0);
  free (folder);
  free (before);
}
END_TEST

START_TEST (bad_values_are_refused_by_key)
{
  static const struct {
    const char *key, *value, *said;
  } bad[] = {
    { "leg", "", "leg=: is empty" },
    { "size", "0", "size=0: must be a multiple of 512" },
    { "size", "513", "size=513: must be a multiple of 512" },
    { "size", "big", "size=big: is not a size" },
    { "size", "", "size=: is not a size" },
    { "size", "-1", "size=-1: is not a size" },
    { "size", "18446744073709551616", "is not a size" },
    { "meta", "", "meta=: is empty" },
    { "region-size", "3M", "region-size=3M: must be a power of two" },
    { "region-size", "0", "region-size=0: must be a power of two" },
    { "region-size", "512", "region-size=512: must be a power of two" },
    { "region-size", "2G", "must be a power of two" },
    { "region-size", "x", "region-size=x: is not a size" },
    { "sync", "maybe", "sync=maybe: must be one of auto, full, none" },
    { "sync", "", "sync=: must be one of" },
    { "read-policy", "last",
      "must be one of least-pending, round-robin, first" },
    { "write-mostly", "9", "write-mostly=9: must be the number of a leg" },
    { "write-mostly", "-1", "write-mostly=-1: must be the number" },
    { "write-mostly", "10", "write-mostly=10: must be the number" },
    { "write-mostly", "", "write-mostly=: must be the number" },
    { "direct", "yes", "direct=yes: must be one of auto, on, off" },
    { "leg-timeout", "0", "leg-timeout=0: must be a number of seconds" },
    { "leg-timeout", "", "leg-timeout=: must be a number of seconds" },
    { "leg-timeout", "86401", "from 1 to 86400" },
    { "leg-timeout", "4294967297", "from 1 to 86400" },
    { "leg-timeout", "1.5", "leg-timeout=1.5: must be a number" },
    { "resync-rate", "fast", "resync-rate=fast: is not a size" },
    { "chunk-size", "2K", "chunk-size=2K: must be a power of two" },
    { "chunk-size", "2M", "chunk-size=2M: must be a power of two" },
    { "chunk-size", "5000", "chunk-size=5000: must be a power of two" },
    { "cow-size", "0", "cow-size=0: leave it out" },
    { "cow-size", "x", "cow-size=x: is not a size" },
    { "snapshot", "", "snapshot=: is not a name for a snapshot" },
    { "snapshot", "a/b", "snapshot=a/b: is not a name" },
    { "snapshot", "..", "is not a name" },
    { "snapshot", "a..b", "is not a name" },
    { "snapshot", ".a", "is not a name" },
    { "snapshot", "-a", "is not a name" },
    { "snapshot", "a b", "is not a name" },
    { "snapshot", "\xc3\xa9", "is not a name" },
    { "snapshot", "%s%n", "snapshot=%s%n: is not a name" },
    { "snapshot", LONG_NAME "4", "is not a name" },
    { "discard-snapshot", "../x", "discard-snapshot=../x: is not a name" },
    { "on-cow-error", "panic",
      "must be one of break-snapshot, break-guest-write" },
    { "color", "red", "color=: is not a key of this plugin" },
    { "", "", "is not a key of this plugin" },
    { "LEG", "a", "LEG=: is not a key" },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (bad); ++i) {
    struct volume_spec spec;

    volume_spec_init (&spec);
    capture_messages ();
    ck_assert_msg (config_set (&spec, bad[i].key, bad[i].value) == -EINVAL,
                   "%s=%s", bad[i].key, bad[i].value);
    assert_said (bad[i].said);
    volume_spec_free (&spec);
  }
}
END_TEST

START_TEST (what_comes_too_often_is_refused)
{
  struct volume_spec spec;
  char name[16];
  unsigned i;

  volume_spec_init (&spec);
  capture_messages ();
  for (i = 0; i < MIRROR_MAX_LEGS; ++i)
    ck_assert_int_eq (config_set (&spec, "leg", "a"), 0);
  ck_assert_int_eq (config_set (&spec, "leg", "tenth"), -EINVAL);
  assert_said ("leg=tenth: there can be at most 9 legs");
  ck_assert_int_eq (config_set (&spec, "meta", "one"), 0);
  ck_assert_int_eq (config_set (&spec, "meta", "two"), -EINVAL);
  assert_said ("meta=two: was given already");
  ck_assert_str_eq (spec.meta, "one");
  for (i = 0; i < MANIFEST_MAX_SNAPSHOTS; ++i) {
    (void) snprintf (name, sizeof name, "s%u", i);
    if (config_set (&spec, "snapshot", name) != 0)
      ck_abort_msg ("%s", name);
  }
  ck_assert_int_eq (config_set (&spec, "snapshot", "more"), -EINVAL);
  assert_said ("snapshot=more: there are too many");
  volume_spec_free (&spec);
  ck_assert_uint_eq (spec.leg_count, 0);
  volume_spec_free (&spec); /* once more does no harm */
}
END_TEST

START_TEST (keys_must_make_sense_together)
{
  struct volume_spec spec;

  volume_spec_init (&spec);
  capture_messages ();
  ck_assert_int_eq (config_check (&spec), -EINVAL);
  assert_said ("no leg was given; name at least one file");
  ck_assert_int_eq (config_set (&spec, "leg", "a"), 0);
  ck_assert_int_eq (config_check (&spec), 0);
  ck_assert_int_eq (config_set (&spec, "write-mostly", "1"), 0);
  ck_assert_int_eq (config_check (&spec), -EINVAL);
  assert_said ("write-mostly=1: there is no such leg");
  ck_assert_int_eq (config_set (&spec, "leg", "b"), 0);
  ck_assert_int_eq (config_check (&spec), 0);
  ck_assert_int_eq (config_set (&spec, "snapshot", "monday"), 0);
  ck_assert_int_eq (config_check (&spec), 0);
  ck_assert_int_eq (config_set (&spec, "discard-snapshot", "x"), 0);
  ck_assert_int_eq (config_check (&spec), -EINVAL);
  assert_said ("discard-snapshot=x: without meta=DIR there is none");
  ck_assert_int_eq (config_set (&spec, "meta", "dir"), 0);
  ck_assert_int_eq (config_check (&spec), 0);
  volume_spec_free (&spec);
}
END_TEST

START_TEST (want_of_memory_is_told)
{
  static const char *const keys[][2] = {
    { "leg", "a.img" },
    { "meta", "dir" },
    { "snapshot", "monday" },
    { "discard-snapshot", "monday" },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (keys); ++i) {
    unsigned k, failed = 1;

    for (k = 0; failed > 0; ++k) {
      struct volume_spec spec;
      int r;

      volume_spec_init (&spec);
      fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
      r = config_set (&spec, keys[i][0], keys[i][1]);
      failed = fault_alloc_stop ();
      ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
      ck_assert_uint_eq (spec.leg_count + spec.snapshot_count +
                           spec.discard_count + (spec.meta != NULL),
                         r == 0);
      volume_spec_free (&spec);
    }
    ck_assert_uint_ge (k, 2);
  }
}
END_TEST

/* Every key that works is in the help, in a line of its own. */
START_TEST (help_names_every_key)
{
  static const char *const keys[] = {
    "[leg=]SPEC",
    "\nsize=",
    "\nmeta=",
    "\nregion-size=",
    "\nsync=",
    "\nread-policy=",
    "\nwrite-mostly=",
    "\ndirect=",
    "\nresync-rate=",
    "\nsnapshot=",
    "\ndiscard-snapshot=",
    "\nchunk-size=",
    "\ncow-size=",
    "\non-cow-error=",
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (keys); ++i)
    ck_assert_msg (strstr (config_help, keys[i]) != NULL, "%s", keys[i]);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    sizes,
    defaults_are_those_that_are_documented,
    keys_set_what_they_say,
    every_word_has_its_meaning,
    seconds_become_milliseconds,
    files_in_uris_become_absolute,
    bad_values_are_refused_by_key,
    what_comes_too_often_is_refused,
    keys_must_make_sense_together,
    want_of_memory_is_told,
    help_names_every_key,
    NULL,
  };

  return unit_main ("config", tests);
}
