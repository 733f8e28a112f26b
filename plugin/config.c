/* The keys of the command line, made into a volume's specification.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "config.h"
#include "exception-store.h"
#include "leg-file.h"
#include "log-sink.h"
#include "manifest.h"
#include "size-text.h"
#include "table-line.h"
#include "table.h"

#define DEFAULT_REGION_BYTES (UINT64_C (2) << 20)
#define DEFAULT_CHUNK_BYTES (UINT64_C (64) << 10)
#define MIN_REGION_BYTES 1024
#define MAX_REGION_BYTES (UINT64_C (1) << 30)
#define DEFAULT_LEG_TIMEOUT_MS 30000
#define MAX_LEG_TIMEOUT 86400 /* seconds: a day */

/* Values quoted in messages are cut to this. */
#define QUOTE "%.80s"

const char config_help[] =
  "[leg=]SPEC             (required) A backing file, block device or NBD URI;\n"
  "                       1 to 9.\n"
  "size=SIZE              Size of the volume; creates legs that are absent.\n"
  "meta=DIR               Folder in which the volume is remembered.\n"
  "control=SOCKET         Socket for dmnbd(1), which shows and steers it.\n"
  "region-size=SIZE       Unit of resync, a power of two (default 2M).\n"
  "sync=auto|full|none    Which legs to trust at start (default auto).\n"
  "read-policy=least-pending|round-robin|first\n"
  "                       Which leg is read (default least-pending).\n"
  "write-mostly=N         Leg N is read only when no other can be.\n"
  "direct=auto|on|off     O_DIRECT: auto is disks yes, files no.\n"
  "resync-rate=RATE       Bytes a second of all copies in the background,\n"
  "                       0 is no limit (default 0).\n"
  "leg-timeout=SECS       A leg silent for so long has failed (default 30\n"
  "                       for NBD servers, none for files and disks).\n"
  "snapshot=NAME          Take this snapshot at start, if it is not there.\n"
  "discard-snapshot=NAME  Give this snapshot up at start.\n"
  "chunk-size=SIZE        Copy-on-write unit of new snapshots, 4K to 1M,\n"
  "                       a power of two (default 64K).\n"
  "cow-size=SIZE          Limit of a new snapshot's store.\n"
  "on-cow-error=break-snapshot|break-guest-write\n"
  "                       When a store is full or fails.\n"
  "table=TABLE            The kernel's table of a mirror instead of legs, or\n"
  "                       of snapshots and their origin.";

void
volume_spec_init (struct volume_spec *spec)
{
  memset (spec, 0, sizeof *spec);
  spec->region_bytes = DEFAULT_REGION_BYTES;
  spec->chunk_bytes = DEFAULT_CHUNK_BYTES;
  spec->leg_timeout_ms = DEFAULT_LEG_TIMEOUT_MS;
}

void
volume_spec_free (struct volume_spec *spec)
{
  unsigned i;

  for (i = 0; i < spec->leg_count; ++i)
    free (spec->legs[i].path);
  for (i = 0; i < spec->snapshot_count; ++i)
    free (spec->snapshots[i]);
  for (i = 0; i < spec->discard_count; ++i)
    free (spec->discards[i]);
  table_lines_free (spec->lines, spec->line_count);
  free (spec->snapshots);
  free (spec->discards);
  free (spec->meta);
  free (spec->log_path);
  free (spec->control);
  memset (spec, 0, sizeof *spec);
}

/*----- values ----------------------------------------------------------*/

static int
set_size (const char *key, const char *value, uint64_t *bytes)
{
  if (size_parse (value, bytes))
    return 0;
  log_error ("%s=" QUOTE ": is not a size; give a number with K, M, G or T, "
             "such as 10G",
             key, value);
  return -EINVAL;
}

/* A size that is a power of two from MIN to MAX. */
static int
set_power_of_2 (const char *key, const char *value, uint64_t min, uint64_t max,
                uint64_t *bytes)
{
  int r = set_size (key, value, bytes);

  if (r < 0)
    return r;
  if (is_power_of_2 (*bytes) && *bytes >= min && *bytes <= max)
    return 0;
  log_error ("%s=" QUOTE ": must be a power of two from %" PRIu64
             "K to %" PRIu64 "K",
             key, value, min >> 10, max >> 10);
  return -EINVAL;
}

/* One of COUNT words. */
static int
set_word (const char *key, const char *value, const char *const *words,
          unsigned count, int *chosen)
{
  char all[200] = "";
  unsigned i;

  for (i = 0; i < count; ++i) {
    if (strcmp (value, words[i]) == 0) {
      *chosen = (int) i;
      return 0;
    }
    if (i > 0)
      strncat (all, ", ", sizeof all - strlen (all) - 1);
    strncat (all, words[i], sizeof all - strlen (all) - 1);
  }
  log_error ("%s=" QUOTE ": must be one of %s", key, value, all);
  return -EINVAL;
}

/*----- keys ------------------------------------------------------------*/

static int
set_leg (struct volume_spec *spec, const char *value)
{
  struct volume_leg_spec *leg;

  if (spec->leg_count == MIRROR_MAX_LEGS) {
    log_error ("leg=" QUOTE ": there can be at most %d legs", value,
               MIRROR_MAX_LEGS);
    return -EINVAL;
  }
  if (value[0] == '\0') {
    log_error ("leg=: is empty; give a file, a block device or an NBD URI");
    return -EINVAL;
  }
  leg = &spec->legs[spec->leg_count];
  if (bdev_spec_is_uri (value)) {
    /* It may have to be connected again, from another folder. */
    int r = leg_file_absolute_path (value, &leg->path);

    if (r < 0) {
      log_error ("leg=" QUOTE ": names a file in a folder that cannot be "
                 "found: %s; give absolute names",
                 value, errno_text (r));
      return r;
    }
  }
  else
    leg->path = strdup (value);
  if (leg->path == NULL)
    return -ENOMEM;
  spec->leg_count++;
  return 0;
}

static int
set_write_mostly (struct volume_spec *spec, const char *value)
{
  if (value[0] < '0' || value[0] >= '0' + MIRROR_MAX_LEGS || value[1] != '\0') {
    log_error ("write-mostly=" QUOTE ": must be the number of a leg, from 0 "
               "to %d",
               value, MIRROR_MAX_LEGS - 1);
    return -EINVAL;
  }
  spec->legs[value[0] - '0'].is_write_mostly = true;
  return 0;
}

/* What is a WHAT, such as "a folder". */
static int
set_path (const char *key, const char *what, const char *value, char **path)
{
  if (value[0] == '\0') {
    log_error ("%s=: is empty; give %s", key, what);
    return -EINVAL;
  }
  *path = strdup (value);
  return *path != NULL ? 0 : -ENOMEM;
}

static int
add_name (const char *key, const char *value, char ***names, unsigned *count)
{
  char **p;

  if (!snapshot_name_is_valid (value)) {
    log_error ("%s=" QUOTE ": is not a name for a snapshot; use letters, "
               "digits, '_', '-' and '.', at most %d, not '.' or '-' first, "
               "and no '..'",
               key, value, SNAPSHOT_NAME_MAX);
    return -EINVAL;
  }
  if (*count == MANIFEST_MAX_SNAPSHOTS) {
    log_error ("%s=" QUOTE ": there are too many", key, value);
    return -EINVAL;
  }
  p = realloc (*names, (*count + 1) * sizeof *p);
  if (p == NULL)
    return -ENOMEM;
  *names = p;
  p[*count] = strdup (value);
  if (p[*count] == NULL)
    return -ENOMEM;
  ++*count;
  return 0;
}

static int
set_volume_size (struct volume_spec *spec, const char *value)
{
  int r = set_size ("size", value, &spec->size_bytes);

  if (r < 0)
    return r;
  if (spec->size_bytes % SECTOR_SIZE == 0 && spec->size_bytes > 0)
    return 0;
  log_error ("size=" QUOTE ": must be a multiple of 512 bytes, and not 0",
             value);
  return -EINVAL;
}

static int
set_cow_size (struct volume_spec *spec, const char *value)
{
  int r = set_size ("cow-size", value, &spec->cow_bytes);

  if (r < 0)
    return r;
  if (spec->cow_bytes > 0)
    return 0;
  log_error ("cow-size=0: leave it out for a store that can't be full");
  return -EINVAL;
}

static int
set_meta (struct volume_spec *spec, const char *value)
{
  return set_path ("meta", "a folder", value, &spec->meta);
}

static int
set_control (struct volume_spec *spec, const char *value)
{
  return set_path ("control", "the name of a socket", value, &spec->control);
}

static int
set_region_size (struct volume_spec *spec, const char *value)
{
  spec->has_region_bytes = true;
  return set_power_of_2 ("region-size", value, MIN_REGION_BYTES,
                         MAX_REGION_BYTES, &spec->region_bytes);
}

static int
set_sync (struct volume_spec *spec, const char *value)
{
  static const char *const words[] = { "auto", "full", "none" };
  int chosen = 0;
  int r = set_word ("sync", value, words, ARRAY_COUNT (words), &chosen);

  spec->sync = (enum sync_mode) chosen;
  return r;
}

static int
set_read_policy (struct volume_spec *spec, const char *value)
{
  static const char *const words[] = { "least-pending", "round-robin",
                                       "first" };
  int chosen = 0;
  int r = set_word ("read-policy", value, words, ARRAY_COUNT (words), &chosen);

  spec->read_policy = (enum read_policy) chosen;
  return r;
}

static int
set_direct (struct volume_spec *spec, const char *value)
{
  static const char *const words[] = { "auto", "on", "off" };
  int chosen = 0;
  int r = set_word ("direct", value, words, ARRAY_COUNT (words), &chosen);

  spec->direct = (enum direct_mode) chosen;
  return r;
}

static int
set_on_cow_error (struct volume_spec *spec, const char *value)
{
  static const char *const words[] = { "break-snapshot", "break-guest-write" };
  int chosen = 0;
  int r = set_word ("on-cow-error", value, words, ARRAY_COUNT (words), &chosen);

  spec->on_cow_error = (enum on_cow_error) chosen;
  return r;
}

static int
set_resync_rate (struct volume_spec *spec, const char *value)
{
  return set_size ("resync-rate", value, &spec->resync_rate);
}

static int
set_leg_timeout (struct volume_spec *spec, const char *value)
{
  unsigned seconds = 0;
  const char *p;

  for (p = value; *p >= '0' && *p <= '9' && seconds <= MAX_LEG_TIMEOUT; ++p)
    seconds = seconds * 10 + (unsigned) (*p - '0');
  if (p == value || *p != '\0' || seconds == 0 || seconds > MAX_LEG_TIMEOUT) {
    log_error ("leg-timeout=" QUOTE ": must be a number of seconds, from 1 to "
               "%d",
               value, MAX_LEG_TIMEOUT);
    return -EINVAL;
  }
  spec->leg_timeout_ms = seconds * 1000;
  spec->is_watched = true;
  return 0;
}

static int
set_chunk_size (struct volume_spec *spec, const char *value)
{
  return set_power_of_2 ("chunk-size", value, VOLUME_MIN_CHUNK_BYTES,
                         VOLUME_MAX_CHUNK_BYTES, &spec->chunk_bytes);
}

static int
add_snapshot (struct volume_spec *spec, const char *value)
{
  return add_name ("snapshot", value, &spec->snapshots, &spec->snapshot_count);
}

static int
add_discard (struct volume_spec *spec, const char *value)
{
  return add_name ("discard-snapshot", value, &spec->discards,
                   &spec->discard_count);
}

struct key {
  const char *name;
  bool is_repeatable;
  int (*set) (struct volume_spec *spec, const char *value);
};

static const struct key keys[] = {
  { "leg", true, set_leg },
  { "size", false, set_volume_size },
  { "meta", false, set_meta },
  { "region-size", false, set_region_size },
  { "sync", false, set_sync },
  { "read-policy", false, set_read_policy },
  { "write-mostly", true, set_write_mostly },
  { "direct", false, set_direct },
  { "resync-rate", false, set_resync_rate },
  { "leg-timeout", false, set_leg_timeout },
  { "snapshot", true, add_snapshot },
  { "discard-snapshot", true, add_discard },
  { "chunk-size", false, set_chunk_size },
  { "cow-size", false, set_cow_size },
  { "on-cow-error", false, set_on_cow_error },
  { "control", false, set_control },
  { "table", false, table_set },
};

int
config_set (struct volume_spec *spec, const char *key, const char *value)
{
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (keys); ++i) {
    uint32_t bit = UINT32_C (1) << i;

    if (strcmp (key, keys[i].name) != 0)
      continue;
    if (!keys[i].is_repeatable && (spec->keys_seen & bit)) {
      log_error ("%s=" QUOTE ": was given already; give it once", key, value);
      return -EINVAL;
    }
    spec->keys_seen |= bit;
    return keys[i].set (spec, value);
  }
  log_error (QUOTE "=: is not a key of this plugin; 'nbdkit dm --help' "
                   "lists them",
             key);
  return -EINVAL;
}

/* A table says all that these keys say. */
static int
check_table (const struct volume_spec *spec)
{
  static const char *const others[] = { "leg", "size", "region-size", "sync" };
  unsigned i, j;

  for (i = 0; i < ARRAY_COUNT (keys); ++i)
    for (j = 0; j < ARRAY_COUNT (others); ++j)
      if ((spec->keys_seen >> i & 1) && strcmp (keys[i].name, others[j]) == 0) {
        log_error ("%s=: the table says that; leave one of them out",
                   others[j]);
        return -EINVAL;
      }
  if (spec->meta == NULL)
    return 0;
  if (spec->log_path != NULL) {
    log_error ("table=: with meta=DIR the log is in that folder; give core "
               "instead of disk");
    return -EINVAL;
  }
  for (i = 0; i < spec->leg_count; ++i)
    if (spec->legs[i].offset != 0) {
      log_error ("table=: leg %u begins at sector %" PRIu64 " of its device, "
                 "which meta=DIR does not remember; leave meta= out",
                 i, spec->legs[i].offset);
      return -EINVAL;
    }
  return 0;
}

/* Beside a table of snapshots there is no volume that keys could be for. */
static int
check_lines (const struct volume_spec *spec)
{
  static const char *const useful[] = { "table", "direct", "leg-timeout" };
  unsigned i, j;

  for (i = 0; i < ARRAY_COUNT (keys); ++i) {
    bool is_useful = !(spec->keys_seen >> i & 1);

    for (j = 0; j < ARRAY_COUNT (useful); ++j)
      is_useful |= strcmp (keys[i].name, useful[j]) == 0;
    if (is_useful)
      continue;
    log_error ("%s=: is for a volume, and the table is one of snapshots; "
               "leave one of them out",
               keys[i].name);
    return -EINVAL;
  }
  return 0;
}

int
config_check (const struct volume_spec *spec)
{
  unsigned i;

  if (spec->line_count > 0)
    return check_lines (spec);
  if (spec->is_table && check_table (spec) < 0)
    return -EINVAL;
  if (spec->leg_count == 0) {
    log_error ("no leg was given; name at least one file or block device, "
               "such as 'nbdkit dm a.img b.img'");
    return -EINVAL;
  }
  for (i = spec->leg_count; i < MIRROR_MAX_LEGS; ++i) {
    if (spec->legs[i].is_write_mostly) {
      log_error ("write-mostly=%u: there is no such leg; they are numbered "
                 "from 0 to %u",
                 i, spec->leg_count - 1);
      return -EINVAL;
    }
  }
  if (spec->meta == NULL && spec->discard_count > 0) {
    log_error ("discard-snapshot=" QUOTE ": without meta=DIR there is none; "
               "give the folder that it is in",
               spec->discards[0]);
    return -EINVAL;
  }
  return 0;
}
