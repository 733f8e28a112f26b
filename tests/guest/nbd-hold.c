/* Attaches an export to the kernel, and again whenever its server is back.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * usage: nbd-hold INDEX URI SECONDS
 *
 * /dev/nbdINDEX becomes the export of URI.  If the connection is lost the
 * kernel holds requests, new ones and those that were in flight, for SECONDS;
 * meanwhile the server is tried again and again, and when it is there, the
 * kernel gets the new connection and sends what it has held.  Runs until it is
 * killed; the device stays, as long as the connection does.
 *
 * Model: nbd-client(8) makes the device through the same netlink messages, but
 * gives the kernel no time for another connection.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/nbd.h>
#include <linux/netlink.h>

#include <libnbd.h>

/* A request without an answer for so long is sent again: on a new connection,
 * as the old one is given up.  Those that were in flight when the connection
 * was lost wait for it, too.
 */
#define REQUEST_SECONDS 5

#define RETRY_MS 50

static void
die (const char *what)
{
  fprintf (stderr, "nbd-hold: %s: %s\n", what, strerror (errno));
  exit (EXIT_FAILURE);
}

/*----- messages --------------------------------------------------------*/

struct message {
  struct nlmsghdr head;
  struct genlmsghdr genl;
  char attributes[1024];
};

static void
begin (struct message *m, uint16_t family, uint8_t command)
{
  memset (m, 0, sizeof *m);
  m->head.nlmsg_len = NLMSG_LENGTH (GENL_HDRLEN);
  m->head.nlmsg_type = family;
  m->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  m->genl.cmd = command;
  m->genl.version = 1;
}

/* Append an attribute; SIZE bytes of VALUE, or none yet. */
static struct nlattr *
append (struct message *m, unsigned type, const void *value, size_t size)
{
  struct nlattr *a = (struct nlattr *) ((char *) m + m->head.nlmsg_len);

  a->nla_type = (uint16_t) type;
  a->nla_len = (uint16_t) (NLA_HDRLEN + size);
  if (size > 0)
    memcpy ((char *) a + NLA_HDRLEN, value, size);
  m->head.nlmsg_len += NLA_ALIGN (a->nla_len);
  return a;
}

static void
append_u32 (struct message *m, unsigned type, uint32_t value)
{
  (void) append (m, type, &value, sizeof value);
}

static void
append_u64 (struct message *m, unsigned type, uint64_t value)
{
  (void) append (m, type, &value, sizeof value);
}

/* What was appended since A is inside it. */
static void
enclose (struct message *m, struct nlattr *a)
{
  a->nla_type |= NLA_F_NESTED;
  a->nla_len = (uint16_t) ((char *) m + m->head.nlmsg_len - (char *) a);
}

/* The attribute of a type among LENGTH bytes, or NULL. */
static const struct nlattr *
find (const void *attributes, size_t length, unsigned type)
{
  const char *p = attributes;

  while (length >= NLA_HDRLEN) {
    const struct nlattr *a = (const struct nlattr *) p;
    size_t step = NLA_ALIGN (a->nla_len);

    if (a->nla_len < NLA_HDRLEN || step > length)
      return NULL;
    if ((a->nla_type & NLA_TYPE_MASK) == type)
      return a;
    p += step;
    length -= step;
  }
  return NULL;
}

static const void *
value_of (const struct nlattr *a)
{
  return (const char *) a + NLA_HDRLEN;
}

static size_t
attributes_bytes (const struct message *m)
{
  return m->head.nlmsg_len - NLMSG_LENGTH (GENL_HDRLEN);
}

static int
open_netlink (void)
{
  struct sockaddr_nl address = { .nl_family = AF_NETLINK };
  int fd = socket (AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);

  if (fd == -1 ||
      bind (fd, (const struct sockaddr *) &address, sizeof address) == -1)
    die ("netlink");
  return fd;
}

/* Send M, and read up to the acknowledgement.  What comes before it is in
 * REPLY.  Returns 0 or a negative errno.
 */
static int
ask (int fd, struct message *m, struct message *reply)
{
  char buffer[8192] __attribute__ ((aligned (NLMSG_ALIGNTO)));

  if (send (fd, m, m->head.nlmsg_len, 0) == -1)
    die ("sending to the kernel");
  for (;;) {
    ssize_t n = recv (fd, buffer, sizeof buffer, 0);
    const struct nlmsghdr *h = (const struct nlmsghdr *) buffer;
    size_t left = n > 0 ? (size_t) n : 0;

    if (n == -1)
      die ("receiving from the kernel");
    while (NLMSG_OK (h, left)) {
      if (h->nlmsg_type == NLMSG_ERROR)
        return ((const struct nlmsgerr *) NLMSG_DATA (h))->error;
      if (h->nlmsg_len <= sizeof *reply)
        memcpy (reply, h, h->nlmsg_len);
      h = NLMSG_NEXT (h, left);
    }
  }
}

struct family {
  uint16_t id;
  uint32_t events; /* the group */
};

static struct family
find_family (int fd)
{
  static const char name[] = NBD_GENL_FAMILY_NAME;
  struct message m, reply = { .head.nlmsg_len = NLMSG_LENGTH (GENL_HDRLEN) };
  struct family family;
  const struct nlattr *id, *groups, *first, *group;
  int r;

  begin (&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
  (void) append (&m, CTRL_ATTR_FAMILY_NAME, name, sizeof name);
  r = ask (fd, &m, &reply);
  errno = -r;
  if (r < 0)
    die ("no nbd in the kernel");
  id = find (reply.attributes, attributes_bytes (&reply), CTRL_ATTR_FAMILY_ID);
  groups = find (reply.attributes, attributes_bytes (&reply),
                 CTRL_ATTR_MCAST_GROUPS);
  errno = EPROTO;
  if (id == NULL || groups == NULL)
    die ("nbd of the kernel");
  /* It has one group. */
  first = value_of (groups);
  group = find (value_of (first), first->nla_len - NLA_HDRLEN,
                CTRL_ATTR_MCAST_GRP_ID);
  if (group == NULL)
    die ("events of the kernel's nbd");
  memcpy (&family.id, value_of (id), sizeof family.id);
  memcpy (&family.events, value_of (group), sizeof family.events);
  return family;
}

/*----- the server ------------------------------------------------------*/

/* Connect, and negotiate.  Returns NULL if the server is not there. */
static struct nbd_handle *
connect_server (const char *uri)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL)
    die ("libnbd");
  /* The kernel does not know them. */
  if (nbd_set_request_structured_replies (nbd, false) == -1)
    die (nbd_get_error ());
  if (nbd_connect_uri (nbd, uri) == -1) {
    nbd_close (nbd);
    return NULL;
  }
  return nbd;
}

static uint64_t
server_flags (struct nbd_handle *nbd)
{
  uint64_t flags = NBD_FLAG_HAS_FLAGS;

  if (nbd_is_read_only (nbd) == 1)
    flags |= NBD_FLAG_READ_ONLY;
  if (nbd_can_flush (nbd) == 1)
    flags |= NBD_FLAG_SEND_FLUSH;
  if (nbd_can_fua (nbd) == 1)
    flags |= NBD_FLAG_SEND_FUA;
  if (nbd_can_trim (nbd) == 1)
    flags |= NBD_FLAG_SEND_TRIM;
  return flags;
}

static void
append_socket (struct message *m, struct nbd_handle *nbd)
{
  struct nlattr *sockets = append (m, NBD_ATTR_SOCKETS, NULL, 0);
  struct nlattr *item = append (m, NBD_SOCK_ITEM, NULL, 0);

  append_u32 (m, NBD_SOCK_FD, (uint32_t) nbd_aio_get_fd (nbd));
  enclose (m, item);
  enclose (m, sockets);
}

/* The kernel has the connection: only our descriptor of it goes.  (libnbd
 * would say good-bye to the server.)
 */
static void
forget (struct nbd_handle *nbd)
{
  (void) close (nbd_aio_get_fd (nbd));
}

/*----- the device ------------------------------------------------------*/

static void
attach (int fd, uint16_t family, uint32_t index, const char *uri,
        unsigned seconds)
{
  struct nbd_handle *nbd = connect_server (uri);
  struct message m, reply;
  int r;

  if (nbd == NULL) {
    fprintf (stderr, "nbd-hold: %s\n", nbd_get_error ());
    exit (EXIT_FAILURE);
  }
  begin (&m, family, NBD_CMD_CONNECT);
  append_u32 (&m, NBD_ATTR_INDEX, index);
  append_u64 (&m, NBD_ATTR_SIZE_BYTES, (uint64_t) nbd_get_size (nbd));
  append_u64 (&m, NBD_ATTR_BLOCK_SIZE_BYTES, 512);
  append_u64 (&m, NBD_ATTR_SERVER_FLAGS, server_flags (nbd));
  append_u64 (&m, NBD_ATTR_TIMEOUT, REQUEST_SECONDS);
  append_u64 (&m, NBD_ATTR_DEAD_CONN_TIMEOUT, seconds);
  append_socket (&m, nbd);
  r = ask (fd, &m, &reply);
  errno = -r;
  if (r < 0)
    die ("attaching");
  forget (nbd);
}

/* Give the kernel another connection, as soon as there is a server. */
static void
attach_again (int fd, uint16_t family, uint32_t index, const char *uri)
{
  struct nbd_handle *nbd;
  struct message m, reply;
  int r;

  while ((nbd = connect_server (uri)) == NULL)
    (void) poll (NULL, 0, RETRY_MS);
  begin (&m, family, NBD_CMD_RECONFIGURE);
  append_u32 (&m, NBD_ATTR_INDEX, index);
  append_socket (&m, nbd);
  r = ask (fd, &m, &reply);
  errno = -r;
  if (r < 0)
    die ("attaching again");
  forget (nbd);
}

/* Wait until the kernel says that the device has lost its connection. */
static void
wait_for_loss (int events, uint32_t index)
{
  for (;;) {
    struct message m;
    ssize_t n = recv (events, &m, sizeof m, 0);
    const struct nlattr *a;

    if (n < (ssize_t) NLMSG_LENGTH (GENL_HDRLEN))
      die ("waiting");
    if (m.genl.cmd != NBD_CMD_LINK_DEAD)
      continue;
    a = find (m.attributes, attributes_bytes (&m), NBD_ATTR_INDEX);
    if (a != NULL && memcmp (value_of (a), &index, sizeof index) == 0)
      return;
  }
}

int
main (int argc, char *argv[])
{
  int commands, events;
  struct family family;
  uint32_t index;

  if (argc != 4) {
    fprintf (stderr, "usage: nbd-hold INDEX URI SECONDS\n");
    return 2;
  }
  index = (uint32_t) strtoul (argv[1], NULL, 10);
  commands = open_netlink ();
  family = find_family (commands);
  events = open_netlink ();
  if (setsockopt (events, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &family.events,
                  sizeof family.events) == -1)
    die ("events");
  attach (commands, family.id, index, argv[2],
          (unsigned) strtoul (argv[3], NULL, 10));
  for (;;) {
    wait_for_loss (events, index);
    fprintf (stderr, "nbd-hold: the connection is lost\n");
    attach_again (commands, family.id, index, argv[2]);
    fprintf (stderr, "nbd-hold: attached again\n");
  }
}
