/* The verbs attach and detach: a volume as a block device of this machine.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The connection is negotiated here, and given to the kernel, which does the
 * rest.  Attach stays in the background: when the kernel says that the
 * connection is lost, it tries the server until that is back, and gives the
 * kernel a new one; meanwhile requests wait, and those that were in flight are
 * sent again.  It ends when the device does.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/nbd.h>

#include <libnbd.h>

#include "ctl.h"
#include "log-sink.h"
#include "nbd-netlink.h"

#define DEFAULT_HOLD_SECONDS 600
#define DEFAULT_TIMEOUT_SECONDS 30

/* How often the server is tried while it is gone. */
#define RETRY_MS 200

/* How often it is seen whether the device is still there: no event tells. */
#define LOOK_MS 1000

#define SYSFS_BYTES 64

/*----- names -----------------------------------------------------------*/

/* The number of /dev/nbdN, or -1. */
static int
device_index (const char *device)
{
  char *end;
  long n;

  if (strncmp (device, "/dev/", 5) == 0)
    device += 5;
  if (strncmp (device, "nbd", 3) != 0 || device[3] < '0' || device[3] > '9')
    return -1;
  n = strtol (device + 3, &end, 10);
  return *end == '\0' && n <= 65535 ? (int) n : -1;
}

static int
say_no_device (const char *device)
{
  (void) ctl_error ("'%s' is no nbd device; give one such as /dev/nbd0",
                    device);
  return EXIT_USAGE;
}

/* Is the device attached? */
static bool
is_attached (uint32_t index)
{
  char path[SYSFS_BYTES];

  (void) snprintf (path, sizeof path, "/sys/block/nbd%u/pid", index);
  return access (path, F_OK) == 0;
}

static int
open_kernel (struct nbd_netlink *nl)
{
  int r = nbd_netlink_open (nl);

  if (r == -ENOENT)
    return ctl_errno (r, "the kernel has no nbd: 'modprobe nbd' loads it");
  if (r < 0)
    return ctl_errno (r, "the kernel's nbd cannot be asked: %s",
                      errno_text (r));
  return EXIT_DONE;
}

static int
say_kernel_error (const char *device, const char *what, int r)
{
  if (r == -EPERM)
    return ctl_errno (r, "%s: cannot be %s: only root may do that", device,
                      what);
  if (r == -EBUSY)
    return ctl_errno (r, "%s: is in use; 'dmnbd detach %s' ends that", device,
                      device);
  return ctl_errno (r, "%s: cannot be %s: %s", device, what, errno_text (r));
}

/*----- the server ------------------------------------------------------*/

/* Connect, and negotiate.  NULL: nbd_get_error tells why not. */
static struct nbd_handle *
connect_server (const char *uri)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL)
    return NULL;
  /* The kernel does not know structured replies, nor TLS. */
  if (nbd_set_request_structured_replies (nbd, false) == -1 ||
      nbd_set_uri_allow_tls (nbd, LIBNBD_TLS_DISABLE) == -1 ||
      nbd_connect_uri (nbd, uri) == -1) {
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

/* The kernel has the connection: only our descriptor of it goes.  The handle
 * stays, because libnbd would say good-bye to the server.
 */
static void
forget (struct nbd_handle *nbd)
{
  (void) close (nbd_aio_get_fd (nbd));
}

/*----- attaching -------------------------------------------------------*/

struct attachment {
  const char *device, *uri;
  struct nbd_netlink netlink;
  struct nbd_netlink_device kernel;
};

static int
attach (struct attachment *a)
{
  struct nbd_handle *nbd = connect_server (a->uri);
  int r;

  if (nbd == NULL)
    return ctl_error ("%s: cannot be connected: %s", a->uri, nbd_get_error ());
  a->kernel.size_bytes = (uint64_t) nbd_get_size (nbd);
  a->kernel.server_flags = server_flags (nbd);
  a->kernel.socket = nbd_aio_get_fd (nbd);
  r = nbd_netlink_connect (&a->netlink, &a->kernel);
  if (r < 0) {
    nbd_close (nbd);
    return say_kernel_error (a->device, "attached", r);
  }
  forget (nbd);
  return EXIT_DONE;
}

/* Give the kernel another connection, as soon as there is a server; it must be
 * of a device of the same size.  False: the device is gone.
 */
static bool
attach_again (struct attachment *a)
{
  while (is_attached (a->kernel.index)) {
    struct nbd_handle *nbd = connect_server (a->uri);
    int r = -EINVAL;

    if (nbd != NULL && (uint64_t) nbd_get_size (nbd) == a->kernel.size_bytes)
      r = nbd_netlink_reconnect (&a->netlink, a->kernel.index,
                                 nbd_aio_get_fd (nbd));
    if (r == 0) {
      forget (nbd);
      return true;
    }
    nbd_close (nbd);
    (void) poll (NULL, 0, RETRY_MS);
  }
  return false;
}

/* Until the device is gone. */
static int
hold (struct attachment *a)
{
  struct pollfd fd = { .fd = a->netlink.events, .events = POLLIN };

  while (is_attached (a->kernel.index)) {
    if (poll (&fd, 1, LOOK_MS) <= 0 ||
        !nbd_netlink_take_loss (&a->netlink, a->kernel.index))
      continue;
    (void) ctl_error ("%s: the connection is lost", a->device);
    if (attach_again (a))
      (void) ctl_error ("%s: is connected again", a->device);
  }
  return EXIT_DONE;
}

/* Go on in the background: the parent ends, the device is there. */
static int
hold_in_background (struct attachment *a)
{
  pid_t pid = fork ();
  int null;

  if (pid == -1)
    return ctl_error ("%s: is attached, but nobody will attach it again: %s",
                      a->device, strerror (errno));
  if (pid > 0)
    return EXIT_DONE;
  (void) setsid ();
  (void) signal (SIGHUP, SIG_IGN);
  if (chdir ("/") == -1)
    _exit (EXIT_FAILED);
  null = open ("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    (void) dup2 (null, STDIN_FILENO);
    (void) dup2 (null, STDOUT_FILENO);
    (void) dup2 (null, STDERR_FILENO);
  }
  _exit (hold (a));
}

int
run_attach (struct ctl *ctl, const struct verb *verb,
            const struct verb_values *values)
{
  struct attachment a = {
    .device = verb_value (verb, values, "DEVICE"),
    .uri = verb_value (verb, values, "URI"),
    .kernel = {
      .hold_seconds =
        verb_number (verb, values, "--hold", DEFAULT_HOLD_SECONDS),
      .request_seconds =
        verb_number (verb, values, "--timeout", DEFAULT_TIMEOUT_SECONDS),
    },
  };
  int index = device_index (a.device), r;

  if (index < 0)
    return say_no_device (a.device);
  if (a.kernel.request_seconds == 0) {
    /* 0 would be for ever, and what is in flight be lost with a connection. */
    (void) ctl_error ("attach: --timeout must be at least 1");
    return EXIT_USAGE;
  }
  a.kernel.index = (uint32_t) index;
  r = open_kernel (&a.netlink);
  if (r != EXIT_DONE)
    return r;
  r = attach (&a);
  if (r == EXIT_DONE)
    r = verb_value (verb, values, "--foreground") != NULL
          ? hold (&a)
          : hold_in_background (&a);
  nbd_netlink_close (&a.netlink);
  if (r == EXIT_DONE && ctl->is_json)
    r = ctl_print_changed (ctl, true, "%s: has been attached", a.device);
  return r;
}

int
run_detach (struct ctl *ctl, const struct verb *verb,
            const struct verb_values *values)
{
  const char *device = verb_value (verb, values, "DEVICE");
  int index = device_index (device), fd, r;
  struct nbd_netlink nl;

  if (index < 0)
    return say_no_device (device);
  r = open_kernel (&nl);
  if (r != EXIT_DONE)
    return r;
  if (!is_attached ((uint32_t) index)) {
    nbd_netlink_close (&nl);
    return ctl_print_changed (ctl, false, "%s: is not attached", device);
  }
  /* What is cached goes to the server first; and nobody may have it open, such
   * as a file system.
   */
  fd = open (device, O_RDWR | O_EXCL | O_CLOEXEC);
  if (fd == -1 && errno == EROFS)
    fd = open (device, O_RDONLY | O_EXCL | O_CLOEXEC);
  if (fd == -1)
    r = errno == EBUSY
          ? ctl_error ("%s: is mounted, or else in use; unmount it first",
                       device)
          : ctl_error ("%s: cannot be opened: %s", device, strerror (errno));
  else if (fsync (fd) == -1)
    r = ctl_error ("%s: what is cached cannot be written: %s", device,
                   strerror (errno));
  else {
    r = nbd_netlink_disconnect (&nl, (uint32_t) index);
    r = r < 0 ? say_kernel_error (device, "detached", r) : EXIT_DONE;
  }
  if (fd >= 0)
    (void) close (fd);
  nbd_netlink_close (&nl);
  if (r == EXIT_DONE && ctl->is_json)
    r = ctl_print_changed (ctl, true, "%s: has been detached", device);
  return r;
}
