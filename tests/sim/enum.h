/* Every crash of short stories: at each event, all that may be left.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_ENUM_H
#define SIM_ENUM_H

#include <stdbool.h>

/* Go through the stories whose name begins with NAME, each with SEEDS
 * seeds, and print how many states that were.  What is wrong ends the
 * program.  Returns false if there is no such story.
 */
bool enum_run (const char *name, unsigned seeds, bool is_traced);

#endif /* SIM_ENUM_H */
