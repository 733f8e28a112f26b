/* The volume in the kernel's own words: status --dm, and the verb table.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A line for each device that the kernel would need for the same, in the form
 * of dmsetup: the mirror, the volume above it if there are snapshots, and the
 * snapshots, newest first, each upon the next newer one.  Tables have paths
 * instead of numbers, which dmsetup takes, too; programs that read status
 * lines only take numbers.
 *
 * Model: Linux 6.1 dm-raid1.c mirror_status(), dm-snap.c snapshot_status().
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "client.h"
#include "dm.h"
#include "sector.h"
#include "show.h"

/* The number of a block device.  What is none has 0, which no device has, and
 * INDEX, to tell one from the other; so has what is named from another folder,
 * which may not be ours.
 */
static void
print_number (const char *path, unsigned index)
{
  struct stat info;

  if (path[0] == '/' && stat (path, &info) == 0 && S_ISBLK (info.st_mode))
    printf ("%u:%u", major (info.st_rdev), minor (info.st_rdev));
  else
    printf ("0:%u", index);
}

static uint64_t
get_sectors (const json_t *object, const char *name)
{
  return get_number (object, name) >> SECTOR_SHIFT;
}

/* A path as a word of a table: white space is escaped. */
static void
print_path (const char *path)
{
  for (; *path != '\0'; ++path)
    printf ((*path == ' ' || *path == '\\') ? "\\%c" : "%c",
            (unsigned char) *path < ' ' ? '?' : *path);
}

static void
begin (const json_t *status, const char *name, const char *target)
{
  printf ("%s: 0 %" PRIu64 " %s", name,
          get_sectors (json_object_get (status, "volume"), "size"), target);
}

static const char *
log_type (const json_t *status)
{
  const char *type = get_text (json_object_get (status, "log"), "type");

  return type[0] != '\0' ? type : "core";
}

static void
print_log_path (const json_t *status)
{
  print_path (get_text (json_object_get (status, "volume"), "meta"));
  printf ("/dirty.log");
}

/*----- tables ----------------------------------------------------------*/

static void
print_mirror_table (const json_t *status)
{
  const json_t *legs = json_object_get (status, "legs"), *leg;
  size_t i;

  begin (status, "mirror", "mirror");
  printf (" %s ", log_type (status));
  if (strcmp (log_type (status), "disk") == 0) {
    printf ("2 ");
    print_log_path (status);
    printf (" ");
  }
  else
    printf ("1 ");
  printf ("%" PRIu64 " %zu",
          get_sectors (json_object_get (status, "regions"), "size"),
          json_array_size (legs));
  json_array_foreach (legs, i, leg) {
    printf (" ");
    print_path (get_text (leg, "spec"));
    printf (" 0");
  }
  printf (" 1 handle_errors\n");
}

void
dm_print_table (const json_t *status)
{
  const json_t *snapshots = json_object_get (status, "snapshots"), *s;
  size_t i;

  print_mirror_table (status);
  if (json_array_size (snapshots) == 0)
    return;
  begin (status, "volume", "snapshot-origin");
  printf (" mirror\n");
  json_array_foreach (snapshots, i, s) {
    const char *origin = get_text (s, "origin");

    begin (status, get_text (s, "name"), "snapshot");
    printf (" %s ", origin[0] != '\0' ? origin : "mirror");
    if (is_transient (s))
      printf ("unnamed N"); /* no path leads to its file */
    else {
      print_path (get_text (json_object_get (status, "volume"), "meta"));
      printf ("/%s.cow P", get_text (s, "name"));
    }
    printf (" %" PRIu64 "\n", get_sectors (s, "chunk_size"));
  }
}

/*----- status ----------------------------------------------------------*/

/* The worst that has happened to a leg. */
static char
leg_letter (const json_t *leg)
{
  const json_t *errors = json_object_get (leg, "errors");
  const char *state = get_text (leg, "state");

  if (get_number (errors, "flush") > 0)
    return 'F';
  if (get_number (errors, "write") > 0 || strcmp (state, "failed") == 0 ||
      strcmp (state, "missing") == 0)
    return 'D';
  return get_number (errors, "read") > 0 ? 'R' : 'A';
}

static void
print_mirror_status (const json_t *status)
{
  const json_t *legs = json_object_get (status, "legs"), *leg;
  const json_t *regions = json_object_get (status, "regions");
  size_t i;

  begin (status, "mirror", "mirror");
  printf (" %zu", json_array_size (legs));
  json_array_foreach (legs, i, leg) {
    printf (" ");
    print_number (get_text (leg, "spec"), (unsigned) i);
  }
  printf (" %" PRIu64 "/%" PRIu64 " 1 ", get_number (regions, "insync"),
          get_number (regions, "total"));
  json_array_foreach (legs, i, leg)
    printf ("%c", leg_letter (leg));
  if (strcmp (log_type (status), "disk") == 0) {
    /* The log is a file in DIR. */
    printf (" 3 disk 0:%zu %c\n", json_array_size (legs),
            get_bool (json_object_get (status, "log"), "lost") ? 'D' : 'A');
  }
  else
    printf (" 1 core\n");
}

static void
print_snapshot_status (const json_t *s)
{
  const char *state = get_text (s, "state");

  if (strcmp (state, "invalid") == 0 || strcmp (state, "removing") == 0)
    printf (" Invalid\n");
  else if (strcmp (state, "overflow") == 0)
    printf (" Overflow\n");
  else
    printf (" %" PRIu64 "/%" PRIu64 " %" PRIu64 "\n",
            get_sectors (s, "used_bytes"), get_sectors (s, "store_bytes"),
            get_sectors (s, "metadata_bytes"));
}

void
dm_print_status (const json_t *status)
{
  const json_t *snapshots = json_object_get (status, "snapshots"), *s;
  size_t i;

  print_mirror_status (status);
  if (json_array_size (snapshots) == 0)
    return;
  begin (status, "volume", "snapshot-origin");
  printf ("\n");
  json_array_foreach (snapshots, i, s) {
    begin (status, get_text (s, "name"),
           strcmp (get_text (s, "state"), "merging") == 0 ? "snapshot-merge"
                                                          : "snapshot");
    print_snapshot_status (s);
  }
}
