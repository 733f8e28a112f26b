/* What seeds of all kinds choose alike: faults, load, crashes, scheduling.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_LIFE_IMPL_H
#define SIM_LIFE_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "disk-sim.h"

#define LIFE_MAX_CLIENTS 4

/* True if clients of SEED ask where holes are. */
bool life_asks_extents (uint64_t seed);

/* How fibers are chosen. */
void life_choose_policy (void);

/* What is wrong in the next life, with the disks that there are; and with one
 * that comes: for sim_files_on_new_disk.
 */
void life_choose_faults (bool has_faults);
void life_set_up_disk (struct sim_disk *disk);

/* When the machine crashes: soon, or later, or not. */
void life_choose_crash (bool is_last);

/* What the clients of this life ask for, so many times. */
void life_choose_load (unsigned requests);

#endif /* SIM_LIFE_IMPL_H */
