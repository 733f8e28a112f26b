/* What an administrator does to a volume while it is served.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each call does one thing completely, durably, and while clients go on, or
 * changes nothing.  They may come from any thread that serves no request of
 * a client, and wait for each other (admin_lock, outside all other locks of
 * the volume).  Long work goes on in the background after they return.
 *
 * They return
 *   0   done,
 *   1   nothing had to be done: it was so already (WHY says what),
 *   a negative errno, and then WHY is a message for people that names the
 *   thing, what is wrong with it, and the remedy.
 */

#ifndef DM_VOLUME_ADMIN_H
#define DM_VOLUME_ADMIN_H

#include "log-sink.h"
#include "volume.h"

struct volume_why {
  char text[LOG_MESSAGE_BYTES];
};

/* Set the text; returns RESULT, for "return volume_why (why, -EINVAL, ...)".
 */
int volume_why (struct volume_why *why, int result, const char *format, ...)
  __attribute__ ((format (printf, 3, 4)));

/*----- legs ------------------------------------------------------------*/

/* Legs have numbers, from 0.  A leg keeps its number as long as the server
 * runs; a new one gets the lowest that is free.  What is done here is
 * done without waiting for the resync, which follows in the background.
 *
 * Errors of all: -EINVAL (no such leg), -EROFS (the volume is read-only),
 * those of writing the manifest.
 */

/* Use leg LEG no more.  1: it has failed already.  -EBUSY: it is the last in
 * sync.
 */
int volume_leg_fail (struct volume *v, unsigned leg, struct volume_why *why);

/* Use leg LEG again, which has failed: what it has missed is copied.  Of a file
 * or a disk, it must be the same one.  An NBD server is connected to again.
 * 1: it is in use.  -ESTALE: it is another file now.  -EBUSY: a write that
 * was sent to a server may still land.  Those of opening it.
 */
int volume_leg_rejoin (struct volume *v, unsigned leg, struct volume_why *why);

/* Add the file, disk or URI SPEC as a leg; *LEG is its number.  All is copied
 * to it.  -EEXIST: it is a leg already, or in the volume's folder.  -E2BIG:
 * too many.  -EINVAL: it is too small.  Those of opening it.
 */
int volume_leg_add (struct volume *v, const char *spec, unsigned *leg,
                    struct volume_why *why);

/* Put SPEC in the place of leg LEG, which is given up at once.  As
 * volume_leg_add, and -EBUSY: LEG is the last in sync.
 */
int volume_leg_replace (struct volume *v, unsigned leg, const char *spec,
                        struct volume_why *why);

/* Remove leg LEG; what it holds is left as it is.  -EBUSY: it is the last in
 * sync.
 */
int volume_leg_remove (struct volume *v, unsigned leg, struct volume_why *why);

/*----- resync ----------------------------------------------------------*/

/* Go on with the resync now: if it is paused, or waits for another try.  1:
 * all is in sync.
 */
int volume_resync_start (struct volume *v, struct volume_why *why);

/* Pause it after the region it is at, until resume or start, or the end of the
 * server.  1: it was so already.
 */
int volume_resync_pause (struct volume *v, struct volume_why *why);
int volume_resync_resume (struct volume *v, struct volume_why *why);

/* Bytes a second, for resync and scrub; 0: no limit.  1: it was so already. */
int volume_resync_set_rate (struct volume *v, uint64_t bytes_per_second,
                            struct volume_why *why);

/*----- scrub -----------------------------------------------------------*/

/* Compare the legs in the background, and with SCRUB_REPAIR rewrite what
 * differs (mirror_scrub_start).  Progress is in mirror_get_status.
 * 1: a scrub is running already.  -EINVAL: fewer than two legs are in sync.
 */
int volume_scrub_start (struct volume *v, enum scrub_mode mode,
                        struct volume_why *why);

/* Stop that.  1: none is running. */
int volume_scrub_stop (struct volume *v, struct volume_why *why);

#endif /* DM_VOLUME_ADMIN_H */
