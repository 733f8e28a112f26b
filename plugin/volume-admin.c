/* The frame of what an administrator does to a volume.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>

#include "volume-admin.h"

int
volume_why (struct volume_why *why, int result, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  (void) vsnprintf (why->text, sizeof why->text, format, args);
  va_end (args);
  return result;
}
