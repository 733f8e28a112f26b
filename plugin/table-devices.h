/* The devices of a kernel's table of snapshots, without a volume.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A snapshot is served as the kernel's target of that name would show it: what
 * its store has, and the origin elsewhere.  Writes go to the store.  An origin
 * is written only where a line serves it, as snapshot-origin or
 * snapshot-merge: then what is overwritten is first copied to all snapshots of
 * it that are in the table.  Otherwise it is opened for reading only, and
 * nobody may write to it meanwhile.
 *
 * What is wrong is said to the log, naming the thing and the remedy; the
 * functions return 0 or a negative errno.
 */

#ifndef DM_TABLE_DEVICES_H
#define DM_TABLE_DEVICES_H

#include <stdbool.h>

#include "volume.h"

struct table_devices;

/* Open the origins and stores of the lines in SPEC, check everything, and then
 * make the stores that are new; otherwise nothing is written.  SPEC outlives
 * the devices.  Starts no thread.  A store that is marked invalid is opened,
 * and its device shown, but no client can have it.
 */
int table_devices_open (const struct volume_spec *spec,
                        struct table_devices **devices);

/* Flush what clients have written.  Nothing is in flight. */
void table_devices_stop (struct table_devices *devices);

/* Free everything.  NULL is ignored. */
void table_devices_close (struct table_devices *devices);

/* As for a volume (volume.h).  Errors of opening: -ENOENT, -EIO (the snapshot
 * is invalid), and those of starting a thread and of flushing the store.
 */
int table_device_open (struct table_devices *devices, const char *name,
                       bool may_write, struct volume_device **device);
int table_devices_each_export (struct table_devices *devices,
                               volume_export_fn fn, void *opaque);

/* The device as the kernel's "dmsetup table" and "dmsetup status" tell of it:
 *   START LENGTH snapshot|snapshot-merge ORIGIN COW P|PO|N CHUNK: STATUS
 *   START LENGTH snapshot-origin ORIGIN
 * where STATUS is Invalid, Merge failed, Overflow, or USED/TOTAL METADATA in
 * sectors.
 */
void table_device_describe (const struct volume_device *device,
                            char text[VOLUME_DESCRIPTION_BYTES]);

#endif /* DM_TABLE_DEVICES_H */
