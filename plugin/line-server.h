/* Serves lines of text on a Unix socket, to the same user and to root.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One thread polls all clients and never blocks on one.  It knows nothing
 * of what the lines mean.  Everything that a client drives is bounded:
 * their number, the length of a line, the output that waits, and the time
 * for which a line may stay half sent, or an answer unread.
 *
 * The socket's file is made so that nobody can put another one in its way:
 * no link is followed, nothing that is no socket is touched, the socket of a
 * server that still answers is left alone, and the new one appears under its
 * name when it is already being listened to.
 */

#ifndef DM_LINE_SERVER_H
#define DM_LINE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_SERVER_MAX_CLIENTS 32
#define LINE_SERVER_MAX_LINE 65536 /* bytes, the newline included */

/* Output that waits: from the first bound on no new line of the client is
 * looked at; a line that would pass the second ends the client.
 */
#define LINE_SERVER_BUSY_BYTES (64U << 10)
#define LINE_SERVER_MAX_OUTPUT (4U << 20)

/* Within these a line must be whole, and some of an answer be read. */
#define LINE_SERVER_LINE_SECONDS 5
#define LINE_SERVER_READ_SECONDS 30

/* At the end clients have so long to take what is waiting for them. */
#define LINE_SERVER_END_MS 500

struct line_server;

/* A client, known by a number that no other ever has. */
typedef uint64_t line_client_t;

enum line_result {
  LINE_DONE,    /* answered by line_server_send, or needs no answer */
  LINE_PENDING, /* line_server_end_line comes later; until then this client's
                 * other lines wait
                 */
};

/* All are called on the server's thread, and may call line_server_send. */
struct line_server_ops {
  /* A line, without its newline, NUL-terminated (but it may contain NUL). */
  enum line_result (*line) (void *opaque, line_client_t client, char *line,
                            size_t length);

  /* There is room for more, after a line_server_wake, or after what was sent
   * has gone: for what is pushed.  Sends some, or nothing.
   */
  void (*room) (void *opaque, line_client_t client);

  /* True if the client may be silent, and not read, as long as it likes. */
  bool (*is_patient) (void *opaque, line_client_t client);

  /* The client has gone.  Nothing of it comes any more. */
  void (*gone) (void *opaque, line_client_t client);

  /* Lines, newline included, for those that are turned away. */
  const char *too_many_line, *too_long_line, *stranger_line;
};

/* Look if a socket may be made at PATH, without changing anything: for a
 * mistake to be known early.  Absent folders are no error here.  Errors, of
 * which the log says more: -EADDRINUSE (a server answers), -EEXIST (something
 * that is no socket, or a link), -EPERM (of another user, or in a folder that
 * anybody may write to), -EINVAL (no name), and those of the system.
 */
int line_server_check (const char *path);

/* Make the socket.  Clients may connect from now on, and wait.  OPS and
 * OPAQUE must outlive the server.  Starts no thread, so it may come before a
 * fork.  Errors: as line_server_check, and -ENOENT (no such folder).
 */
int line_server_create (const char *path, const struct line_server_ops *ops,
                        void *opaque, struct line_server **server);

/* Start the thread.  Returns 0 or -EAGAIN. */
int line_server_start (struct line_server *server);

/* Stop the thread, after a last try to send what is waiting. */
void line_server_stop (struct line_server *server);

/* Stop, close all, and remove the socket's file if it is still ours.  NULL
 * is ignored.
 */
void line_server_destroy (struct line_server *server);

/* The absolute path of the socket. */
const char *line_server_path (const struct line_server *server);

/* Any thread, from here on. */

/* Queue TEXT, lines with their newlines, for a client; one that has gone is
 * no error.
 */
void line_server_send (struct line_server *server, line_client_t client,
                       const char *text, size_t length);

/* The line that was LINE_PENDING has been answered. */
void line_server_end_line (struct line_server *server, line_client_t client);

/* Have ROOM called for every client.  Never blocks: for callers that hold
 * locks.
 */
void line_server_wake (struct line_server *server);

/* Clients that are connected now, and those turned away or dropped. */
struct line_server_counts {
  unsigned clients;
  uint64_t accepted, refused, dropped;
};

void line_server_get_counts (struct line_server *server,
                             struct line_server_counts *counts);

#endif /* DM_LINE_SERVER_H */
