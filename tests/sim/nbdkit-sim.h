/* The part of nbdkit that plugin.c calls, for the simulator.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_NBDKIT_SIM_H
#define SIM_NBDKIT_SIM_H

/* The export that the plugin is asked for next, by this fiber.  NAME must
 * live until then.
 */
void sim_nbdkit_set_export (const char *name);

#endif /* SIM_NBDKIT_SIM_H */
