/* The part of nbdkit that plugin.c calls, for the simulator.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_NBDKIT_SIM_H
#define SIM_NBDKIT_SIM_H

#include <stdbool.h>
#include <stdint.h>

/* The export that the plugin is asked for next, by this fiber.  NAME must
 * live until then.
 */
void sim_nbdkit_set_export (const char *name);

/* Called with each export that the plugin names when it is asked for all. */
struct nbdkit_exports {
  void (*found) (const char *name, const char *description);
};

/* An answer of the plugin, from the begin of the export on. */
struct nbdkit_extents {
  uint64_t end; /* of what has been told */
  unsigned unit_bytes;
  bool *is_hole; /* each unit */
};

#endif /* SIM_NBDKIT_SIM_H */
