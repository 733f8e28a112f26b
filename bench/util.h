/* What the measuring programs share: numbers, time, and how they end.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <stddef.h>

/* Say why on stderr and end with status 2.  main sets the name. */
extern const char *program_name;
__attribute__ ((noreturn, format (printf, 1, 2))) void die (const char *format,
                                                            ...);

/* The number in TEXT, from 1 to MAX; or die, naming the option NAME. */
unsigned parse_number (const char *name, const char *text, unsigned max);

/* Memory for O_DIRECT; never NULL. */
void *aligned_memory (size_t bytes);

/* Of a clock that is never set. */
double seconds_now (void);

/* Processor time of this process, that of the kernel's helper threads for
 * its rings included.
 */
double cpu_seconds (void);

#endif /* BENCH_UTIL_H */
