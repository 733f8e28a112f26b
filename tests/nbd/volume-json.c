/* Prints a value of DIR/volume.json, or waits until it is the one wanted.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   volume-json DIR PATH
 *   volume-json --wait SECONDS DIR PATH VALUE
 *
 * Exit status 1: there is no such value, or it did not come in time.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume-watch.h"

int
main (int argc, char *argv[])
{
  char value[4096];

  if (argc == 6 && strcmp (argv[1], "--wait") == 0)
    return volume_wait (argv[3], argv[4], argv[5], atoi (argv[2]) * 1000) == 0
             ? EXIT_SUCCESS
             : EXIT_FAILURE;
  if (argc != 3) {
    fprintf (stderr, "usage: volume-json [--wait SECONDS] DIR PATH [VALUE]\n");
    return 2;
  }
  if (volume_read (argv[1], argv[2], value, sizeof value) == -1) {
    fprintf (stderr, "volume-json: %s\n", value);
    return EXIT_FAILURE;
  }
  puts (value);
  return EXIT_SUCCESS;
}
