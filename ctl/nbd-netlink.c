/* The kernel's nbd devices, by netlink.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: nbd-client(8) makes devices through the same messages, but gives the
 * kernel no time for another connection.
 */

#include <config.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>

#include "nbd-netlink.h"

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
  int fd = socket (AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
  int r;

  if (fd == -1)
    return -errno;
  if (bind (fd, (const struct sockaddr *) &address, sizeof address) == 0)
    return fd;
  r = -errno;
  (void) close (fd);
  return r;
}

/* Send M, and read up to the acknowledgement.  What comes before it is in
 * REPLY.  Returns 0 or a negative errno.
 */
static int
ask (int fd, struct message *m, struct message *reply)
{
  char buffer[8192] __attribute__ ((aligned (NLMSG_ALIGNTO)));

  if (send (fd, m, m->head.nlmsg_len, 0) == -1)
    return -errno;
  for (;;) {
    ssize_t n = recv (fd, buffer, sizeof buffer, 0);
    const struct nlmsghdr *h = (const struct nlmsghdr *) buffer;
    size_t left = n > 0 ? (size_t) n : 0;

    if (n == -1 && errno == EINTR)
      continue;
    if (n <= 0)
      return n == 0 ? -EPROTO : -errno;
    while (NLMSG_OK (h, left)) {
      if (h->nlmsg_type == NLMSG_ERROR)
        return ((const struct nlmsgerr *) NLMSG_DATA (h))->error;
      if (h->nlmsg_len <= sizeof *reply)
        memcpy (reply, h, h->nlmsg_len);
      h = NLMSG_NEXT (h, left);
    }
  }
}

/*----- the family ------------------------------------------------------*/

/* What the kernel calls its nbd, and the group of its events. */
static int
find_family (int fd, uint16_t *family, uint32_t *events)
{
  static const char name[] = NBD_GENL_FAMILY_NAME;
  struct message m, reply = { .head.nlmsg_len = NLMSG_LENGTH (GENL_HDRLEN) };
  const struct nlattr *id, *groups, *first, *group;
  int r;

  begin (&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
  (void) append (&m, CTRL_ATTR_FAMILY_NAME, name, sizeof name);
  r = ask (fd, &m, &reply);
  if (r < 0)
    return r;
  id = find (reply.attributes, attributes_bytes (&reply), CTRL_ATTR_FAMILY_ID);
  groups = find (reply.attributes, attributes_bytes (&reply),
                 CTRL_ATTR_MCAST_GROUPS);
  if (id == NULL || groups == NULL)
    return -EPROTO;
  /* It has one group. */
  first = value_of (groups);
  group = find (value_of (first), first->nla_len - NLA_HDRLEN,
                CTRL_ATTR_MCAST_GRP_ID);
  if (group == NULL)
    return -EPROTO;
  memcpy (family, value_of (id), sizeof *family);
  memcpy (events, value_of (group), sizeof *events);
  return 0;
}

int
nbd_netlink_open (struct nbd_netlink *nl)
{
  uint32_t group;
  int r;

  nl->events = -1;
  nl->commands = open_netlink ();
  if (nl->commands < 0)
    return nl->commands;
  r = find_family (nl->commands, &nl->family, &group);
  if (r == 0) {
    nl->events = open_netlink ();
    r = nl->events < 0 ? nl->events : 0;
  }
  if (r == 0 && setsockopt (nl->events, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP,
                            &group, sizeof group) == -1)
    r = -errno;
  if (r < 0)
    nbd_netlink_close (nl);
  return r;
}

void
nbd_netlink_close (struct nbd_netlink *nl)
{
  if (nl->commands >= 0)
    (void) close (nl->commands);
  if (nl->events >= 0)
    (void) close (nl->events);
  nl->commands = nl->events = -1;
}

/*----- devices ---------------------------------------------------------*/

static void
append_socket (struct message *m, int socket)
{
  struct nlattr *sockets = append (m, NBD_ATTR_SOCKETS, NULL, 0);
  struct nlattr *item = append (m, NBD_SOCK_ITEM, NULL, 0);

  append_u32 (m, NBD_SOCK_FD, (uint32_t) socket);
  enclose (m, item);
  enclose (m, sockets);
}

int
nbd_netlink_connect (struct nbd_netlink *nl,
                     const struct nbd_netlink_device *device)
{
  struct message m, reply;

  begin (&m, nl->family, NBD_CMD_CONNECT);
  append_u32 (&m, NBD_ATTR_INDEX, device->index);
  append_u64 (&m, NBD_ATTR_SIZE_BYTES, device->size_bytes);
  append_u64 (&m, NBD_ATTR_BLOCK_SIZE_BYTES, 512);
  append_u64 (&m, NBD_ATTR_SERVER_FLAGS, device->server_flags);
  append_u64 (&m, NBD_ATTR_TIMEOUT, device->request_seconds);
  append_u64 (&m, NBD_ATTR_DEAD_CONN_TIMEOUT, device->hold_seconds);
  append_socket (&m, device->socket);
  return ask (nl->commands, &m, &reply);
}

int
nbd_netlink_reconnect (struct nbd_netlink *nl, uint32_t index, int socket)
{
  struct message m, reply;

  begin (&m, nl->family, NBD_CMD_RECONFIGURE);
  append_u32 (&m, NBD_ATTR_INDEX, index);
  append_socket (&m, socket);
  return ask (nl->commands, &m, &reply);
}

int
nbd_netlink_disconnect (struct nbd_netlink *nl, uint32_t index)
{
  struct message m, reply;

  begin (&m, nl->family, NBD_CMD_DISCONNECT);
  append_u32 (&m, NBD_ATTR_INDEX, index);
  return ask (nl->commands, &m, &reply);
}

bool
nbd_netlink_take_loss (struct nbd_netlink *nl, uint32_t index)
{
  struct message m;
  ssize_t n = recv (nl->events, &m, sizeof m, MSG_DONTWAIT);
  const struct nlattr *a;

  if (n == -1)
    return errno == ENOBUFS; /* events are lost: perhaps this one */
  if (n < (ssize_t) NLMSG_LENGTH (GENL_HDRLEN) ||
      m.genl.cmd != NBD_CMD_LINK_DEAD)
    return false;
  a = find (m.attributes, (size_t) n - NLMSG_LENGTH (GENL_HDRLEN),
            NBD_ATTR_INDEX);
  return a != NULL && memcmp (value_of (a), &index, sizeof index) == 0;
}
