/* The volume in the kernel's own words.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMNBD_DM_H
#define DMNBD_DM_H

#include <jansson.h>

/* Of the STATUS, a line for each device. */
void dm_print_table (const json_t *status);
void dm_print_status (const json_t *status);

/* The same as an array of objects with name, start, length (in sectors), target
 * and params; the caller's.
 */
json_t *dm_table (const json_t *status);
json_t *dm_status (const json_t *status);

#endif /* DMNBD_DM_H */
