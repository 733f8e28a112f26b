/* The verbs attach and detach, in a build without libnbd.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "ctl.h"

int
run_attach (struct ctl *ctl, const struct verb *verb,
            const struct verb_values *values)
{
  (void) ctl;
  (void) values;
  return ctl_error ("%s: this build has no NBD client; use nbd-client",
                    verb->name);
}

int
run_detach (struct ctl *ctl, const struct verb *verb,
            const struct verb_values *values)
{
  return run_attach (ctl, verb, values);
}
