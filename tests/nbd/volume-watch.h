/* Reading DIR/volume.json of a running server, and waiting for it to change.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A path is keys and indexes joined by dots: legs.1.state, clean, generation.
 * The path "insync" means: is the state of every leg "insync"?
 */

#ifndef DM_TEST_VOLUME_WATCH_H
#define DM_TEST_VOLUME_WATCH_H

#include <stddef.h>

/* Stores the value at the path as text ("true", "12", "failed"; a container as
 * JSON).  Returns 0, or -1 with a message in value: no such file, not JSON, no
 * such path.
 */
extern int volume_read (const char *dir, const char *path, char *value,
                        size_t value_size);

/* Waits until the value at the path is `wanted`.  Returns 0, or -1 when
 * timeout_ms have passed.  The wait is for the folder's events, not for time.
 */
extern int volume_wait (const char *dir, const char *path, const char *wanted,
                        int timeout_ms);

#endif /* DM_TEST_VOLUME_WATCH_H */
