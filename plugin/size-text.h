/* Sizes as people write them.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_SIZE_TEXT_H
#define DM_SIZE_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes out of a number with a unit: K M G T P E (of 1024), s (sectors),
 * or b (bytes).  Returns false if it is no such thing or does not fit in
 * 63 bits.
 */
bool size_parse (const char *text, uint64_t *bytes);

#endif /* DM_SIZE_TEXT_H */
