/* The kernel's table, made into a specification: that of a mirror.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "table.h"
#include "table-snapshot.h"
#include "table-words.h"

#define MIN_LEGS 2
#define MIN_REGION_SECTORS 2

/*----- parts -----------------------------------------------------------*/

/* The log and its arguments, of which there must be as many as it says. */
static int
take_log (struct volume_spec *spec, struct table_words *t, uint64_t sectors)
{
  char quote[LOG_QUOTE_BYTES];
  bool is_disk = table_words_next_is (t, "disk");
  unsigned least = is_disk ? 2 : 1, end;
  uint64_t count, region;
  int r;

  if (!is_disk && !table_words_next_is (t, "core")) {
    log_error ("table=: '%s' is not a log that is known here; give core or "
               "disk",
               log_quote (table_words_next (t), quote));
    return -EINVAL;
  }
  if (table_words_number (t, "the number of the log's arguments", least + 1,
                          &count) < 0)
    return -EINVAL;
  end = t->next + (unsigned) count;
  if (count < least) {
    log_error ("table=: the log %s needs %u arguments at least",
               is_disk ? "disk" : "core", least);
    return -EINVAL;
  }
  if (is_disk) {
    r = table_words_path (t, "the log's file or disk", &spec->log_path);
    if (r < 0)
      return r;
  }
  if (table_words_number (t, "the size of a region in sectors", sectors,
                          &region) < 0)
    return -EINVAL;
  if (region < MIN_REGION_SECTORS || !is_power_of_2 (region)) {
    log_error ("table=: regions of %" PRIu64 " sectors: must be a power of "
               "two from %d to the length, %" PRIu64,
               region, MIN_REGION_SECTORS, sectors);
    return -EINVAL;
  }
  spec->region_bytes = sector_to_bytes (region);
  spec->has_region_bytes = true;
  if (count > least) {
    if (table_words_next_is (t, "sync"))
      spec->sync = SYNC_FULL;
    else if (table_words_next_is (t, "nosync"))
      spec->sync = SYNC_NONE;
  }
  if (t->next == end)
    return 0;
  log_error ("table=: '%s' is not an argument of a log; give sync, nosync, or "
             "nothing, and their number before",
             log_quote (table_words_next (t), quote));
  return -EINVAL;
}

static int
take_legs (struct volume_spec *spec, struct table_words *t, uint64_t sectors)
{
  uint64_t count, offset;
  unsigned i;

  if (table_words_number (t, "the number of legs", MIRROR_MAX_LEGS, &count) < 0)
    return -EINVAL;
  if (count < MIN_LEGS) {
    log_error ("table=: %" PRIu64 " legs: a mirror has from %d to %d", count,
               MIN_LEGS, MIRROR_MAX_LEGS);
    return -EINVAL;
  }
  for (i = 0; i < count; ++i) {
    const char *path = table_words_next (t);

    if (path[0] == '\0') {
      log_error ("table=: ends where the path of leg %u should be", i);
      return -EINVAL;
    }
    if (table_words_number (t, "where the leg begins on its device",
                            SECTOR_MAX - sectors, &offset) < 0)
      return -EINVAL;
    spec->legs[i].path = strdup (path);
    if (spec->legs[i].path == NULL)
      return -ENOMEM;
    spec->legs[i].offset = offset;
    spec->leg_count = i + 1;
  }
  return 0;
}

static int
take_features (struct table_words *t)
{
  char quote[LOG_QUOTE_BYTES];
  bool handles_errors = false, keeps_log = false;
  uint64_t count, i;

  if (t->next == t->count)
    return 0;
  if (table_words_number (t, "the number of features", 2, &count) < 0)
    return -EINVAL;
  for (i = 0; i < count; ++i) {
    if (table_words_next_is (t, "handle_errors"))
      handles_errors = true;
    else if (table_words_next_is (t, "keep_log"))
      keeps_log = true;
    else {
      log_error ("table=: '%s' is not a feature of a mirror; give "
                 "handle_errors, keep_log, or nothing",
                 log_quote (table_words_next (t), quote));
      return -EINVAL;
    }
  }
  if (keeps_log && !handles_errors) {
    log_error ("table=: keep_log needs handle_errors, too");
    return -EINVAL;
  }
  return table_words_end (t);
}

static int
take_mirror (struct volume_spec *spec, struct table_words *t, uint64_t sectors)
{
  int r = take_log (spec, t, sectors);

  if (r == 0)
    r = take_legs (spec, t, sectors);
  if (r == 0)
    r = take_features (t);
  if (r == 0)
    spec->size_bytes = sector_to_bytes (sectors);
  return r;
}

/* True if TEXT, all of it, is the table of a mirror. */
static bool
is_mirror (const char *text)
{
  static const char blanks[] = " \t\n", word[] = "mirror";
  unsigned i;

  for (i = 0; i < 2; ++i) {
    text += strspn (text, blanks);
    text += strcspn (text, blanks);
  }
  text += strspn (text, blanks);
  return strncmp (text, word, strlen (word)) == 0 &&
         strcspn (text, blanks) == strlen (word);
}

int
table_set (struct volume_spec *spec, const char *text)
{
  struct table_words t;
  uint64_t sectors;
  int r;

  if (spec->leg_count > 0) {
    log_error ("table=: legs were given already; give the table, or the legs");
    return -EINVAL;
  }
  if (is_mirror (text)) {
    r = table_words_split (&t, text, strlen (text));
    if (r == 0)
      r = table_words_range (&t, &sectors);
    if (r == 0 && table_words_next_is (&t, "mirror"))
      r = take_mirror (spec, &t, sectors);
    table_words_free (&t);
  }
  else
    r = table_snapshots_set (spec, text);
  if (r == 0)
    spec->is_table = true;
  return r;
}
