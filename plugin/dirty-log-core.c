/* The core log: a dirty log that is in memory only.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "dirty-log-impl.h"

static void
core_destroy (struct dirty_log *log)
{
  dirty_log_fini (log);
  free (log);
}

static const struct dirty_log_ops core_ops = {
  .name = "core",
  .destroy = core_destroy,
};

int
dirty_log_core_create (uint64_t regions, bool is_clean, struct dirty_log **log)
{
  struct dirty_log *l = calloc (1, sizeof *l);
  int r;

  if (l == NULL)
    return -ENOMEM;
  r = dirty_log_init (l, &core_ops, regions, is_clean);
  if (r < 0) {
    free (l);
    return r;
  }
  *log = l;
  return 0;
}
