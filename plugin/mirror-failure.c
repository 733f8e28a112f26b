/* What is said of a leg that fails: what has happened, what is to be done.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "bits.h"
#include "log-sink.h"
#include "mirror-impl.h"

const char *
mirror_leg_op_name (enum leg_op op)
{
  switch (op) {
  case LEG_OP_WRITE:
    return "write";
  case LEG_OP_FLUSH:
    return "flush";
  case LEG_OP_ZERO:
    return "zeroing";
  case LEG_OP_RESYNC:
    return "resync write";
  case LEG_OP_READ:
    return "read";
  case LEG_OP_REPAIR:
    return "rewriting";
  case LEG_OP_READ_AGAIN:
  case LEG_OP_VERIFY:
    return "reading again";
  }
  return "?";
}

void
mirror_failure_text (const struct leg_failure *f,
                     char text[MIRROR_FAILURE_BYTES])
{
  const char *op = mirror_leg_op_name (f->op);
  uint64_t bytes = sector_to_bytes (f->count);
  uint64_t at = sector_to_bytes (f->sector);

  if (f->op == LEG_OP_FLUSH)
    snprintf (text, MIRROR_FAILURE_BYTES, "flush failed: %s",
              errno_text (f->error));
  else if (f->op == LEG_OP_VERIFY)
    snprintf (text, MIRROR_FAILURE_BYTES,
              "%" PRIu64 " bytes at %" PRIu64 " were rewritten, but something "
              "else is read there",
              bytes, at);
  else if (f->times > 1)
    snprintf (text, MIRROR_FAILURE_BYTES,
              "%s of %" PRIu64 " bytes at %" PRIu64 " failed: %s; so have "
              "%u others of late",
              op, bytes, at, errno_text (f->error), f->times - 1);
  else
    snprintf (text, MIRROR_FAILURE_BYTES,
              "%s of %" PRIu64 " bytes at %" PRIu64 " failed: %s", op, bytes,
              at, errno_text (f->error));
}

bool
mirror_error_is_gone (int error)
{
  return error == -ENOTCONN || error == -ETIMEDOUT || error == -ENODEV ||
         error == -ENXIO || error == -ESHUTDOWN;
}

/* A server's leg is connected again by itself, ever later. */
static const char *
server_remedy (int error)
{
  if (mirror_error_is_gone (error))
    return "see to its server, which is tried again and again";
  switch (error) {
  case -ENOSPC:
  case -EDQUOT:
  case -EFBIG:
    return "make room on its server, which is tried again and again";
  default:
    return "see to its server's disk; it is tried again and again";
  }
}

static const char *
file_remedy (int error)
{
  if (error == -ETIMEDOUT)
    return "see to its disk; it comes back by itself when it answers";
  if (mirror_error_is_gone (error))
    return "see if the disk is still there, then rejoin it, or replace it";
  switch (error) {
  case -ENOSPC:
    return "make room there, then rejoin it";
  case -EDQUOT:
    return "raise the quota or make room there, then rejoin it";
  case -EFBIG:
    return "raise the server's limit on the size of files (ulimit -f), then "
           "rejoin it";
  case -EROFS:
    return "make it writable again, then rejoin it";
  case -ENOMEM:
    return "free some memory";
  default:
    return "see to its disk, then rejoin it, or replace it";
  }
}

const char *
mirror_failure_remedy (const char *name, int error)
{
  return bdev_spec_is_uri (name) ? server_remedy (error) : file_remedy (error);
}
