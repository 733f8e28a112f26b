/* The volume in the kernel's own words: status --dm, and the verb table.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A line for each device that the kernel would need for the same, in the form
 * of dmsetup: the mirror, the volume above it if there are snapshots, and the
 * snapshots, newest first, each upon the next newer one.  Tables have paths
 * instead of numbers, which dmsetup takes, too; programs that read status
 * lines only take numbers.  Programs can have the same as JSON.
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
print_number (FILE *out, const char *path, unsigned index)
{
  struct stat info;

  if (path[0] == '/' && stat (path, &info) == 0 && S_ISBLK (info.st_mode))
    fprintf (out, "%u:%u", major (info.st_rdev), minor (info.st_rdev));
  else
    fprintf (out, "0:%u", index);
}

static uint64_t
get_sectors (const json_t *object, const char *name)
{
  return get_number (object, name) >> SECTOR_SHIFT;
}

/* A path as a word of a table: white space is escaped. */
static void
print_path (FILE *out, const char *path)
{
  for (; *path != '\0'; ++path)
    fprintf (out, (*path == ' ' || *path == '\\') ? "\\%c" : "%c",
             (unsigned char) *path < ' ' ? '?' : *path);
}

/*----- lines -----------------------------------------------------------*/

/* Lines, as they come or for an array. */
struct lines {
  const json_t *status;
  json_t *array; /* NULL: they are printed */
  char *params;  /* of the line for the array */
  size_t size;
  FILE *out;
};

/* Begin the line of the device NAME; what the target needs is written into
 * what this returns, each word after a space.
 */
static FILE *
begin (struct lines *l, const char *name, const char *target)
{
  uint64_t sectors = get_sectors (json_object_get (l->status, "volume"),
                                  "size");

  if (l->array == NULL) {
    l->out = stdout;
    printf ("%s: 0 %" PRIu64 " %s", name, sectors, target);
    return l->out;
  }
  (void) json_array_append_new (l->array,
                                json_pack ("{s:s, s:i, s:I, s:s}", "name", name,
                                           "start", 0, "length",
                                           (json_int_t) sectors, "target",
                                           target));
  l->out = open_memstream (&l->params, &l->size);
  if (l->out == NULL)
    exit (ctl_error ("out of memory"));
  return l->out;
}

static void
end (struct lines *l)
{
  json_t *line;

  if (l->array == NULL) {
    printf ("\n");
    return;
  }
  if (fclose (l->out) == EOF)
    exit (ctl_error ("out of memory"));
  line = json_array_get (l->array, json_array_size (l->array) - 1);
  (void) json_object_set_new (line, "params",
                              json_string (l->params + (l->params[0] == ' ')));
  free (l->params);
}

static const char *
log_type (const json_t *status)
{
  const char *type = get_text (json_object_get (status, "log"), "type");

  return type[0] != '\0' ? type : "core";
}

static void
print_log_path (FILE *out, const json_t *status)
{
  print_path (out, get_text (json_object_get (status, "volume"), "meta"));
  fprintf (out, "/dirty.log");
}

/*----- tables ----------------------------------------------------------*/

static void
print_mirror_table (struct lines *l)
{
  const json_t *status = l->status, *leg;
  const json_t *legs = json_object_get (status, "legs");
  FILE *out = begin (l, "mirror", "mirror");
  size_t i;

  fprintf (out, " %s ", log_type (status));
  if (strcmp (log_type (status), "disk") == 0) {
    fprintf (out, "2 ");
    print_log_path (out, status);
    fprintf (out, " ");
  }
  else
    fprintf (out, "1 ");
  fprintf (out, "%" PRIu64 " %zu",
           get_sectors (json_object_get (status, "regions"), "size"),
           json_array_size (legs));
  json_array_foreach (legs, i, leg) {
    fprintf (out, " ");
    print_path (out, get_text (leg, "spec"));
    fprintf (out, " 0");
  }
  fprintf (out, " 1 handle_errors");
  end (l);
}

static void
print_snapshot_table (struct lines *l, const json_t *s)
{
  const char *origin = get_text (s, "origin");
  FILE *out = begin (l, get_text (s, "name"), "snapshot");

  fprintf (out, " %s ", origin[0] != '\0' ? origin : "mirror");
  if (is_transient (s))
    fprintf (out, "unnamed N"); /* no path leads to its file */
  else {
    print_path (out, get_text (json_object_get (l->status, "volume"), "meta"));
    fprintf (out, "/%s.cow P", get_text (s, "name"));
  }
  fprintf (out, " %" PRIu64, get_sectors (s, "chunk_size"));
  end (l);
}

static void
print_tables (struct lines *l)
{
  const json_t *snapshots = json_object_get (l->status, "snapshots"), *s;
  size_t i;

  print_mirror_table (l);
  if (json_array_size (snapshots) == 0)
    return;
  fprintf (begin (l, "volume", "snapshot-origin"), " mirror");
  end (l);
  json_array_foreach (snapshots, i, s)
    print_snapshot_table (l, s);
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
print_mirror_status (struct lines *l)
{
  const json_t *status = l->status, *leg;
  const json_t *legs = json_object_get (status, "legs");
  const json_t *regions = json_object_get (status, "regions");
  FILE *out = begin (l, "mirror", "mirror");
  size_t i;

  fprintf (out, " %zu", json_array_size (legs));
  json_array_foreach (legs, i, leg) {
    fprintf (out, " ");
    print_number (out, get_text (leg, "spec"), (unsigned) i);
  }
  fprintf (out, " %" PRIu64 "/%" PRIu64 " 1 ", get_number (regions, "insync"),
           get_number (regions, "total"));
  json_array_foreach (legs, i, leg)
    fprintf (out, "%c", leg_letter (leg));
  if (strcmp (log_type (status), "disk") == 0) {
    /* The log is a file in DIR. */
    fprintf (out, " 3 disk 0:%zu %c", json_array_size (legs),
             get_bool (json_object_get (status, "log"), "lost") ? 'D' : 'A');
  }
  else
    fprintf (out, " 1 core");
  end (l);
}

static void
print_snapshot_status (struct lines *l, const json_t *s)
{
  const char *state = get_text (s, "state");
  FILE *out = begin (l, get_text (s, "name"),
                     strcmp (state, "merging") == 0 ? "snapshot-merge"
                                                    : "snapshot");

  if (strcmp (state, "invalid") == 0 || strcmp (state, "removing") == 0)
    fprintf (out, " Invalid");
  else if (strcmp (state, "overflow") == 0)
    fprintf (out, " Overflow");
  else
    fprintf (out, " %" PRIu64 "/%" PRIu64 " %" PRIu64,
             get_sectors (s, "used_bytes"), get_sectors (s, "store_bytes"),
             get_sectors (s, "metadata_bytes"));
  end (l);
}

static void
print_states (struct lines *l)
{
  const json_t *snapshots = json_object_get (l->status, "snapshots"), *s;
  size_t i;

  print_mirror_status (l);
  if (json_array_size (snapshots) == 0)
    return;
  (void) begin (l, "volume", "snapshot-origin");
  end (l);
  json_array_foreach (snapshots, i, s)
    print_snapshot_status (l, s);
}

/*----- both ------------------------------------------------------------*/

void
dm_print_table (const json_t *status)
{
  print_tables (&(struct lines){ .status = status });
}

void
dm_print_status (const json_t *status)
{
  print_states (&(struct lines){ .status = status });
}

json_t *
dm_table (const json_t *status)
{
  struct lines l = { .status = status, .array = json_array () };

  print_tables (&l);
  return l.array;
}

json_t *
dm_status (const json_t *status)
{
  struct lines l = { .status = status, .array = json_array () };

  print_states (&l);
  return l.array;
}
