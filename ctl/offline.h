/* A volume's folder, read while nobody serves it.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMNBD_OFFLINE_H
#define DMNBD_OFFLINE_H

#include <jansson.h>

/* What the volume in DIR remembers, in the shape of the method status, with
 * "offline": true; what only a server knows is 0.  NULL: it cannot be read,
 * which has been said.  Writes and locks nothing.
 */
json_t *offline_status (const char *dir);

#endif /* DMNBD_OFFLINE_H */
