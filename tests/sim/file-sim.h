/* A simulated file system: the folder of the volume, and its legs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Everything below /sim is here.  plugin/meta-dir.c and plugin/leg-file.c
 * are the production ones; the system calls that they make are wrapped at
 * link time (-Wl,--wrap).  lib/bdev-file.c is replaced: bdev_open and
 * bdev_open_fd make a device of the simulated disk that a file is.
 *
 * A file that was given a size is a disk (disk-sim.h), one that was written
 * is text.  When the power fails, a text that was not synced is what it was
 * when it last was, or is, or a part of that; a folder loses any of the
 * changes made since it was last synced.
 */

#ifndef SIM_FILE_SIM_H
#define SIM_FILE_SIM_H

#include "disk-sim.h"

#define SIM_ROOT "/sim"

/* What a disk is called that has no name in any folder. */
#define SIM_UNNAMED "unnamed"

/* An empty file system; and its end, when nothing is open. */
void sim_files_begin (void);
void sim_files_end (void);

/* One in so many calls that change something fails; 0: none. */
void sim_files_set_faults (unsigned one_in);

/* Of the syncs of folders that are to come number WHICH fails, counted from 1,
 * and what it was to make durable may be on the disk or not; 0: none.
 */
void sim_files_fail_sync (unsigned which);

/* While one only looks at the files nothing becomes durable. */
void sim_files_only_look (bool is_on);

/* Calls that have failed for that, since the program began. */
extern uint64_t sim_files_failed;

/* Called with each disk that comes into being. */
void sim_files_on_new_disk (void (*fn) (struct sim_disk *disk));

/* Make a folder, durably. */
void sim_files_add_folder (const char *path);

/* Put a file that is a disk there, durably; take one away. */
struct sim_disk *sim_files_add_disk (const char *path, sector_t sectors);
void sim_files_remove (const char *path);

bool sim_files_exists (const char *path);

/* True if PATH, a text, would be the same after a power failure. */
bool sim_files_is_durable (const char *path);

/* The disk that a file is, or NULL. */
struct sim_disk *sim_files_disk (const char *path);

/* Call FN with all disks. */
void sim_files_each_disk (void (*fn) (struct sim_disk *disk));

void sim_files_crash (enum sim_crash how);

/* Files and devices that are open: none, once a program has ended. */
unsigned sim_files_open_count (void);

#endif /* SIM_FILE_SIM_H */
