/* One request to an NBD server, as libnbd wants it.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "checked-math.h"
#include "nbd-command.h"

struct nbd_command *
nbd_command_create (size_t data_bytes)
{
  struct nbd_command *command = calloc (1, sizeof *command);

  if (command == NULL)
    return NULL;
  if (data_bytes > 0) {
    command->data = malloc (data_bytes);
    if (command->data == NULL) {
      free (command);
      return NULL;
    }
  }
  list_init (&command->link);
  list_init (&command->done_link);
  atomic_init (&command->references, 1);
  return command;
}

void
nbd_command_get (struct nbd_command *command)
{
  atomic_fetch_add (&command->references, 1);
}

void
nbd_command_put (struct nbd_command *command)
{
  if (atomic_fetch_sub (&command->references, 1) > 1)
    return;
  free (command->read_map);
  free (command->data);
  free (command);
}

bool
nbd_command_is_change (const struct nbd_command *command)
{
  return command->op == NBD_COMMAND_WRITE || command->op == NBD_COMMAND_ZERO;
}

/*----- what libnbd calls -----------------------------------------------*/

/* The errors that the protocol has; to our callers others mean other
 * things.
 */
static int
errno_of_answer (int error)
{
  switch (error) {
  case 0:
  case EPERM:
  case EIO:
  case ENOMEM:
  case EINVAL:
  case ENOSPC:
  case EOVERFLOW:
  case EOPNOTSUPP:
  case ESHUTDOWN:
    return -error;
  default:
    return -EIO;
  }
}

/* The command has been answered, or will not be any more. */
static int
on_completion (void *data, int *error)
{
  struct nbd_command *command = data;

  command->answer = errno_of_answer (*error);
  if (command->answer == 0)
    command->answer = command->read_error;
  /* An answer that leaves out a part of the data is none. */
  if (command->answer == 0 && command->op == NBD_COMMAND_READ &&
      command->read_bytes != command->length)
    command->answer = -EIO;
  if (command->answer == 0 && command->op == NBD_COMMAND_BLOCK_STATUS &&
      command->extent_length == 0)
    command->answer = -EIO;
  nbd_command_get (command);
  list_remove (&command->link);
  list_push_back (command->answered, &command->link);
  return 1; /* libnbd need not remember it */
}

static void
on_free (void *data)
{
  nbd_command_put (data);
}

/* Note COUNT bytes behind the first SKIP.  If one comes twice another one may
 * not have come, and be what the memory held before.
 */
static void
map_read (struct nbd_command *command, uint64_t skip, uint64_t count)
{
  uint64_t i;

  for (i = skip; i < skip + count; ++i) {
    unsigned char *byte = &command->read_map[i / 8];
    unsigned char bit = (unsigned char) (1U << i % 8);

    if (*byte & bit) {
      command->read_error = -EIO;
      return;
    }
    *byte |= bit;
  }
}

/* The same, for which a map is needed only if the parts do not come in order,
 * as those of nearly all servers do.
 */
static void
note_read (struct nbd_command *command, uint64_t skip, uint64_t count)
{
  if (command->read_map == NULL && skip != command->read_bytes) {
    command->read_map = calloc (1, div_round_up (command->length, 8));
    if (command->read_map == NULL) {
      command->read_error = -ENOMEM;
      return;
    }
    map_read (command, 0, command->read_bytes);
  }
  if (command->read_map != NULL)
    map_read (command, skip, count);
  command->read_bytes += count;
}

/* A part of the data has come, or the news that it is zeroes. */
static int
on_chunk (void *data, const void *buffer, size_t count, uint64_t offset,
          unsigned status, int *error)
{
  struct nbd_command *command = data;

  (void) buffer;
  (void) error;
  if (status == LIBNBD_READ_ERROR || command->read_error < 0)
    return 0;
  if (offset < command->offset ||
      !range_is_inside (offset - command->offset, count, command->length))
    command->read_error = -EIO;
  else
    note_read (command, offset - command->offset, count);
  return 0;
}

/* The extents from the start of the range on: pairs of length and flags.
 * Those at the start that are of one kind count as one.
 */
static int
on_extents (void *data, const char *context, uint64_t offset, uint32_t *entries,
            size_t entry_count, int *error)
{
  struct nbd_command *command = data;
  size_t i;

  (void) error;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
      offset != command->offset || command->extent_length > 0)
    return 0;
  for (i = 0; i + 1 < entry_count; i += 2) {
    /* What is not allocated may yet read as anything. */
    bool is_hole = (~entries[i + 1] &
                    (LIBNBD_STATE_HOLE | LIBNBD_STATE_ZERO)) == 0;

    if (i == 0)
      command->extent_is_hole = is_hole;
    if (entries[i] == 0 || is_hole != command->extent_is_hole)
      break;
    /* At most 2^26 of them in an answer: this cannot wrap. */
    command->extent_length += entries[i];
  }
  command->extent_length = MIN_OF (command->extent_length, command->length);
  return 0;
}

/*----- issuing ---------------------------------------------------------*/

static uint32_t
libnbd_flags (const struct nbd_command *command)
{
  return (command->flags & NBD_COMMAND_FUA ? LIBNBD_CMD_FLAG_FUA : 0) |
         (command->flags & NBD_COMMAND_NO_HOLE ? LIBNBD_CMD_FLAG_NO_HOLE : 0) |
         (command->flags & NBD_COMMAND_FAST ? LIBNBD_CMD_FLAG_FAST_ZERO : 0);
}

int
nbd_command_issue (struct nbd_command *command, struct nbd_handle *nbd)
{
  nbd_completion_callback completion = {
    .callback = on_completion,
    .user_data = command,
    .free = on_free,
  };
  nbd_chunk_callback chunk = { .callback = on_chunk, .user_data = command };
  nbd_extent_callback extent = { .callback = on_extents, .user_data = command };
  uint32_t flags = libnbd_flags (command);
  int64_t cookie = -1;

  /* Dropped by on_free, also if libnbd refuses the command. */
  nbd_command_get (command);
  switch (command->op) {
  case NBD_COMMAND_READ:
    cookie = nbd_aio_pread_structured (nbd, command->data, command->length,
                                       command->offset, chunk, completion,
                                       flags);
    break;
  case NBD_COMMAND_WRITE:
    cookie = nbd_aio_pwrite (nbd, command->data, command->length,
                             command->offset, completion, flags);
    break;
  case NBD_COMMAND_FLUSH:
    cookie = nbd_aio_flush (nbd, completion, flags);
    break;
  case NBD_COMMAND_ZERO:
    cookie = nbd_aio_zero (nbd, command->length, command->offset, completion,
                           flags);
    break;
  case NBD_COMMAND_BLOCK_STATUS:
    cookie = nbd_aio_block_status (nbd, command->length, command->offset,
                                   extent, completion, flags);
    break;
  }
  if (cookie != -1)
    return 0;
  return nbd_get_errno () != 0 ? -nbd_get_errno () : -EIO;
}
