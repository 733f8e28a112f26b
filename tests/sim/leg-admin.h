/* The administrator: changes the legs of a volume beside its clients.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_LEG_ADMIN_H
#define SIM_LEG_ADMIN_H

/* Do up to CHANGES things to the legs of now.volume, in a fiber of its own;
 * and wait until that is over.
 */
void leg_admin_start (unsigned changes);
void leg_admin_join (void);

/* Add a leg to it, now. */
void leg_admin_add (void);

/* Nothing has been written to a leg since it was removed, in this life. */
void leg_admin_check_removed (void);

#endif /* SIM_LEG_ADMIN_H */
