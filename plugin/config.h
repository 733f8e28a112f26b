/* The keys of the command line, made into a volume's specification.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is wrong is said to the log, naming the key and the remedy.
 */

#ifndef DM_CONFIG_H
#define DM_CONFIG_H

#include "volume.h"

/* All keys unset, all defaults. */
void volume_spec_init (struct volume_spec *spec);
void volume_spec_free (struct volume_spec *spec);

/* Take one key.  Returns 0, or -EINVAL (unknown key or bad value), -ENOMEM. */
int config_set (struct volume_spec *spec, const char *key, const char *value);

/* After the last key: do they make sense together?  0 or -EINVAL. */
int config_check (const struct volume_spec *spec);

/* The keys for --help, a line each. */
extern const char config_help[];

#endif /* DM_CONFIG_H */
