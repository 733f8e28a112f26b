/* The kernel's nbd devices, by netlink.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Functions return 0 or a negative errno, and print nothing.
 */

#ifndef DMNBD_NBD_NETLINK_H
#define DMNBD_NBD_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

struct nbd_netlink {
  int commands, events; /* descriptors; events becomes readable */
  uint16_t family;
};

/* -ENOENT: the kernel has no nbd.  -EPERM: not allowed. */
int nbd_netlink_open (struct nbd_netlink *nl);
void nbd_netlink_close (struct nbd_netlink *nl);

struct nbd_netlink_device {
  uint32_t index; /* of /dev/nbdINDEX */
  uint64_t size_bytes;
  uint64_t server_flags; /* NBD_FLAG_ of linux/nbd.h */
  /* A request without an answer for so long is sent again: on a new
   * connection, as the old one is given up.
   */
  uint64_t request_seconds;
  uint64_t hold_seconds; /* requests wait so long for a new connection */
  int socket;            /* negotiated; the kernel takes a reference */
};

/* Make the device.  -EBUSY: it is in use. */
int nbd_netlink_connect (struct nbd_netlink *nl,
                         const struct nbd_netlink_device *device);

/* Give it another connection in the place of one that is lost.  -EINVAL,
 * -ENODEV: there is no such device any more.
 */
int nbd_netlink_reconnect (struct nbd_netlink *nl, uint32_t index, int socket);

/* End it. */
int nbd_netlink_disconnect (struct nbd_netlink *nl, uint32_t index);

/* Take an event, if there is one.  True if the device INDEX has lost its
 * connection, or may have.
 */
bool nbd_netlink_take_loss (struct nbd_netlink *nl, uint32_t index);

#endif /* DMNBD_NBD_NETLINK_H */
