/* What is said of a leg that cannot be had: why, and what is to be done.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>

#include "volume-impl.h"

/* What is to be done if a server cannot be a leg. */
static const char *
server_remedy (int error)
{
  switch (error) {
  case -EPROTONOSUPPORT:
    return "this build has no such protocol; give a file or a block device";
  case -EINVAL:
    return "its export must be a multiple of 512 bytes, and the URI right";
  case -ETIMEDOUT:
    return "see if the server hangs, or give more time with leg-timeout=";
  case -EROFS:
    return "the server must allow writing";
  default:
    return "check the URI, and that the server runs";
  }
}

/* What is wrong with a file or a disk, and what is to be done, where the text
 * of the error would not say it; else NULL.
 */
static const char *
special_error_text (int error)
{
  switch (error) {
  case -EISDIR:
    return "is a directory; give a file or a block device";
  case -ENOTBLK:
    return "is neither a file nor a block device; give one";
  case -EINVAL:
    return "its size is not a multiple of 512 bytes; make it one with "
           "'truncate -s %512 FILE'";
  case -EBUSY:
    return "is in use by another process; stop that first, two writers would "
           "destroy the data";
  case -EOPNOTSUPP:
    return "O_DIRECT is not possible there; use direct=off";
  case -EEXIST:
    return "is a link to nothing; remove it, or make what it points to";
  default:
    return NULL;
  }
}

/* Nothing of that name. */
static const char *
absence_remedy (enum leg_role role)
{
  switch (role) {
  case LEG_GIVEN:
  case LEG_CREATED:
    return "check the name, or give size= to have it created";
  case LEG_COMING:
    return "check the name, or make it with 'truncate -s SIZE FILE'";
  case LEG_RETURNING:
    return "put it back, or replace it";
  }
  return "";
}

static const char *
file_remedy (enum leg_role role, int error)
{
  switch (error) {
  case -ENOENT:
    return absence_remedy (role);
  case -EACCES:
  case -EPERM:
  case -EROFS:
    return "check the mode and owner of it and its folder";
  case -ENOSPC:
  case -EDQUOT:
  case -EFBIG:
    return role == LEG_CREATED ? "give a smaller size=, or make room"
                               : "make room";
  case -ENODEV:
  case -ENXIO:
  case -EIO:
    return "see if the disk is there, and well";
  default:
    return "check the name";
  }
}

/* What is short in this process or machine, and has nothing to do with the
 * leg.  The text of the error itself says which limit it is.
 */
static const char *
want_remedy (enum leg_role role, int error)
{
  bool is_start = role == LEG_GIVEN || role == LEG_CREATED;

  switch (error) {
  case -EMFILE:
  case -ENFILE:
    return is_start ? "then start again" : "then try again";
  case -ENOMEM:
    return "free some memory";
  default:
    return NULL;
  }
}

void
volume_leg_error_text (const char *path, enum leg_role role, int error,
                       char text[LOG_MESSAGE_BYTES])
{
  bool is_uri = bdev_spec_is_uri (path);
  const char *special = is_uri ? NULL : special_error_text (error);
  const char *remedy = want_remedy (role, error);

  if (special != NULL) {
    snprintf (text, LOG_MESSAGE_BYTES, "%s", special);
    return;
  }
  if (remedy == NULL)
    remedy = is_uri ? server_remedy (error) : file_remedy (role, error);
  snprintf (text, LOG_MESSAGE_BYTES, "cannot be %s: %s; %s",
            is_uri                ? "connected"
            : role == LEG_CREATED ? "created"
                                  : "opened",
            errno_text (error), remedy);
}
