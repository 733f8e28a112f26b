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

/* Compare the legs in the background, and with SCRUB_REPAIR rewrite what
 * differs (mirror_scrub_start).  Progress is in mirror_get_status.
 * 1: a scrub is running already.  -EINVAL: fewer than two legs are in sync.
 */
int volume_scrub_start (struct volume *v, enum scrub_mode mode,
                        struct volume_why *why);

/* Stop that.  1: none is running. */
int volume_scrub_stop (struct volume *v, struct volume_why *why);

#endif /* DM_VOLUME_ADMIN_H */
