/* Reads status lines of "dmnbd status --dm" as libdevmapper does.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * usage: libdm-status < LINES
 *
 * Prints what libdevmapper has found in each, and fails on the first line that
 * it does not take.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libdevmapper.h>

static int
show_mirror (struct dm_pool *pool, const char *params)
{
  static const char health[] = {
    [DM_STATUS_MIRROR_ALIVE] = 'A',
    [DM_STATUS_MIRROR_FLUSH_FAILED] = 'F',
    [DM_STATUS_MIRROR_WRITE_FAILED] = 'D',
    [DM_STATUS_MIRROR_SYNC_FAILED] = 'S',
    [DM_STATUS_MIRROR_READ_FAILED] = 'R',
    [DM_STATUS_MIRROR_UNCLASSIFIED] = 'U',
  };
  struct dm_status_mirror *s;
  unsigned i;

  if (!dm_get_status_mirror (pool, params, &s))
    return -1;
  printf ("mirror %llu of %llu regions, legs",
          (unsigned long long) s->insync_regions,
          (unsigned long long) s->total_regions);
  for (i = 0; i < s->dev_count; ++i)
    printf (" %u:%u %c", s->devs[i].major, s->devs[i].minor,
            health[s->devs[i].health]);
  printf (", log %s", s->log_type);
  for (i = 0; i < s->log_count; ++i)
    printf (" %u:%u %c", s->logs[i].major, s->logs[i].minor,
            health[s->logs[i].health]);
  printf ("\n");
  return 0;
}

static int
show_snapshot (struct dm_pool *pool, const char *params)
{
  struct dm_status_snapshot *s;

  if (!dm_get_status_snapshot (pool, params, &s))
    return -1;
  if (s->invalid || s->overflow || s->merge_failed)
    printf ("snapshot %s\n", s->invalid    ? "invalid"
                             : s->overflow ? "overflow"
                                           : "merge failed");
  else
    printf ("snapshot %llu of %llu sectors, %llu of them metadata\n",
            (unsigned long long) s->used_sectors,
            (unsigned long long) s->total_sectors,
            (unsigned long long) s->metadata_sectors);
  return 0;
}

int
main (void)
{
  struct dm_pool *pool = dm_pool_create ("status", 1024);
  char line[4096];
  int status = EXIT_SUCCESS;

  while (status == EXIT_SUCCESS && fgets (line, sizeof line, stdin) != NULL) {
    char target[32];
    int used = 0;

    line[strcspn (line, "\n")] = '\0';
    if (sscanf (line, "%*[^:]: %*u %*u %31s %n", target, &used) != 1) {
      fprintf (stderr, "not a line of dmsetup: %s\n", line);
      status = EXIT_FAILURE;
    }
    else if ((strcmp (target, "mirror") == 0 &&
              show_mirror (pool, line + used) == -1) ||
             (strcmp (target, "snapshot") == 0 &&
              show_snapshot (pool, line + used) == -1)) {
      fprintf (stderr, "libdevmapper does not take: %s\n", line);
      status = EXIT_FAILURE;
    }
  }
  dm_pool_destroy (pool);
  return status;
}
