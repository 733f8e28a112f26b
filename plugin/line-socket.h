/* The file of a listening Unix socket: made safely, and removed again.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_LINE_SOCKET_H
#define DM_LINE_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

struct line_socket {
  int folder;       /* descriptor of the folder, or -1 */
  int fd;           /* listens, does not block; or -1 */
  char *path;       /* absolute */
  const char *name; /* its last part */
  dev_t device;     /* which file we made */
  ino_t inode;
};

/* See line_server_check and line_server_create. */
int line_socket_check (const char *path);
int line_socket_create (const char *path, struct line_socket *socket);

/* Close it, and remove the file if it is still the one that we made. */
void line_socket_destroy (struct line_socket *socket);

/* Take the next connection, if there is one.  *IS_STRANGER: the peer is
 * neither of our user nor root.  Returns a descriptor that does not block, or
 * a negative errno: -EAGAIN when there is none.
 */
int line_socket_accept (struct line_socket *socket, bool *is_stranger);

#endif /* DM_LINE_SOCKET_H */
