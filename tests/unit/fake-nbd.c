/* An NBD server in the test's own process, which misbehaves as told.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bits.h"
#include "fake-nbd.h"
#include "list.h"
#include "test-util.h"

#define CONNECTIONS_MAX 4096
#define OPS_MAX 8

/* Those that have come and gone keep their place, for their thread. */
struct fake_connection {
  struct fake_nbd *fake;
  int fd; /* -1: closed */
  size_t sent;
  size_t cut;
  struct fake_options options;
  struct thread thread;
};

struct fake_nbd {
  char folder[TEST_PATH_BYTES];
  char uri[TEST_PATH_BYTES + 64];
  struct sockaddr_un address;
  int listener;
  struct thread thread;
  unsigned char *disk;

  struct mutex lock;
  struct cond changed;
  struct fake_options options;
  bool is_ending;
  unsigned held_ops, held;
  unsigned error_ops;
  uint32_t error;
  struct fake_connection *connections[CONNECTIONS_MAX];
  unsigned connection_count, open_count;
  unsigned unaligned;
  struct {
    unsigned count;
    unsigned with_flag[8];
    uint32_t longest;
  } seen[OPS_MAX];
};

/* Memory, which a test that lets allocations fail does not mean. */
static void *
fake_alloc (size_t bytes)
{
  void *memory = aligned_alloc (16, (bytes + 16) / 16 * 16);

  must (memory != NULL);
  return memory;
}

/*----- bytes -----------------------------------------------------------*/

void
fake_send (int fd, const void *data, size_t length)
{
  const char *at = data;

  while (length > 0) {
    ssize_t n = send (fd, at, length, MSG_NOSIGNAL);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return;
    at += n;
    length -= (size_t) n;
  }
}

static bool
receive (int fd, void *data, size_t length)
{
  char *at = data;

  while (length > 0) {
    ssize_t n = recv (fd, at, length, 0);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    at += n;
    length -= (size_t) n;
  }
  return true;
}

void
fake_answer (int fd, uint64_t cookie, uint32_t error)
{
  struct __attribute__ ((packed)) {
    uint32_t magic, error;
    uint64_t cookie;
  } reply = { htobe32 (0x67446698), htobe32 (error), htobe64 (cookie) };

  fake_send (fd, &reply, sizeof reply);
}

void
fake_chunk (int fd, uint64_t cookie, unsigned flags, unsigned type,
            uint32_t length)
{
  struct __attribute__ ((packed)) {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie;
    uint32_t length;
  } chunk = { htobe32 (0x668e33ef), htobe16 ((uint16_t) flags),
              htobe16 ((uint16_t) type), htobe64 (cookie), htobe32 (length) };

  fake_send (fd, &chunk, sizeof chunk);
}

/*----- the handshake ---------------------------------------------------*/

/* Part of it, up to the cut.  False: that was all. */
static bool
say (struct fake_connection *c, const void *data, size_t length)
{
  if (c->cut > 0 && c->sent + length > c->cut) {
    fake_send (c->fd, data, c->cut - c->sent);
    return false;
  }
  fake_send (c->fd, data, length);
  c->sent += length;
  return true;
}

static bool
say_option (struct fake_connection *c, uint32_t option, uint32_t type,
            const void *data, uint32_t length)
{
  struct __attribute__ ((packed)) {
    uint64_t magic;
    uint32_t option, type, length;
  } reply = { htobe64 (0x3e889045565a9), htobe32 (option), htobe32 (type),
              htobe32 (length) };

  return say (c, &reply, sizeof reply) && say (c, data, length);
}

static bool
say_export (struct fake_connection *c, uint32_t option)
{
  const struct fake_options *o = &c->options;
  struct __attribute__ ((packed)) {
    uint16_t type;
    uint64_t bytes;
    uint16_t flags;
  } export = { 0, htobe64 (o->told_bytes != 0 ? o->told_bytes : o->bytes),
               htobe16 ((uint16_t) (o->flags | 1)) };
  struct __attribute__ ((packed)) {
    uint16_t type;
    uint32_t minimum, preferred, maximum;
  } blocks = { htobe16 (3), htobe32 (o->block_bytes),
               htobe32 (o->preferred_bytes), htobe32 (o->max_bytes) };

  return say_option (c, option, 3, &export, sizeof export) &&
         (o->block_bytes == 0 ||
          say_option (c, option, 3, &blocks, sizeof blocks)) &&
         say_option (c, option, 1, NULL, 0);
}

static bool
shake_hands (struct fake_connection *c)
{
  struct __attribute__ ((packed)) {
    uint64_t magic, option_magic;
    uint16_t flags;
  } hello = { htobe64 (0x4e42444d41474943), htobe64 (0x49484156454f5054),
              htobe16 (3) };
  struct __attribute__ ((packed)) {
    uint64_t magic;
    uint32_t option, length;
  } request;
  struct __attribute__ ((packed)) {
    uint32_t id;
    char name[15];
  } context = { htobe32 (1), "base:allocation" };
  char data[8192];
  uint32_t client_flags;

  if (!say (c, &hello, sizeof hello) ||
      !receive (c->fd, &client_flags, sizeof client_flags))
    return false;
  for (;;) {
    uint32_t option;
    bool ok;

    if (!receive (c->fd, &request, sizeof request) ||
        be32toh (request.length) > sizeof data ||
        !receive (c->fd, data, be32toh (request.length)))
      return false;
    option = be32toh (request.option);
    switch (option) {
    case 7: /* go */
      return say_export (c, option);
    case 8: /* structured replies */
      ok = say_option (c, option, c->options.is_plain ? 0x80000001 : 1, NULL,
                       0);
      break;
    case 10: /* contexts */
      ok = (!c->options.has_contexts ||
            say_option (c, option, 4, &context, sizeof context)) &&
           say_option (c, option, 1, NULL, 0);
      break;
    default:
      ok = say_option (c, option, 0x80000001, NULL, 0);
    }
    if (!ok)
      return false;
  }
}

/*----- requests --------------------------------------------------------*/

static unsigned
op_index (unsigned op)
{
  return (unsigned) __builtin_ctz (op);
}

/* Count it, wait if it is to be held; returns its error. */
static uint32_t
admit (struct fake_nbd *fake, const struct fake_request *request)
{
  uint32_t error;
  unsigned i, op = op_index (request->op);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  fake->seen[op].count++;
  for (i = 0; i < 8; ++i)
    if (request->flags & (1U << i))
      fake->seen[op].with_flag[i]++;
  fake->seen[op].longest = MAX_OF (fake->seen[op].longest, request->length);
  if (fake->held_ops & request->op) {
    fake->held++;
    cond_broadcast (&fake->changed);
    while ((fake->held_ops & request->op) && !fake->is_ending)
      cond_wait (&fake->changed, &fake->lock);
    fake->held--;
  }
  error = fake->error_ops & request->op ? fake->error : 0;
  cond_broadcast (&fake->changed);
  return error;
}

static void
answer_read (struct fake_connection *c, const struct fake_request *request)
{
  uint64_t offset = htobe64 (request->offset);
  void *data = fake_alloc (request->length);

  mutex_lock (&c->fake->lock);
  memcpy (data, c->fake->disk + request->offset, request->length);
  mutex_unlock (&c->fake->lock);

  if (c->options.is_plain)
    fake_answer (c->fd, request->cookie, 0);
  else {
    fake_chunk (c->fd, request->cookie, 1, 1,
                request->length + (uint32_t) sizeof offset);
    fake_send (c->fd, &offset, sizeof offset);
  }
  fake_send (c->fd, data, request->length);
  free (data);
}

static void
answer_status (struct fake_connection *c, const struct fake_request *request)
{
  uint32_t id = htobe32 (1);
  unsigned i;

  fake_chunk (c->fd, request->cookie, 1, 5,
              (uint32_t) (sizeof id + 8 * c->options.extent_count));
  fake_send (c->fd, &id, sizeof id);
  for (i = 0; i < c->options.extent_count; ++i) {
    uint32_t entry[2] = { htobe32 (c->options.extents[i].length),
                          htobe32 (c->options.extents[i].flags) };

    fake_send (c->fd, entry, sizeof entry);
  }
}

static void
do_request (struct fake_connection *c, const struct fake_request *request,
            const void *payload)
{
  unsigned char *disk = c->fake->disk + request->offset;

  /* Under the lock, for the test that looks at the disk. */
  mutex_lock (&c->fake->lock);
  if (request->op == FAKE_WRITE)
    memcpy (disk, payload, request->length);
  if (request->op == FAKE_ZERO || request->op == FAKE_TRIM)
    memset (disk, 0, request->length);
  mutex_unlock (&c->fake->lock);
  if (request->op == FAKE_READ)
    answer_read (c, request);
  else if (request->op == FAKE_BLOCK_STATUS)
    answer_status (c, request);
  else
    fake_answer (c->fd, request->cookie, 0);
}

/* One request.  False: hang up. */
static bool
serve (struct fake_connection *c)
{
  struct __attribute__ ((packed)) {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t length;
  } wire;
  struct fake_request request;
  enum fake_verdict verdict = FAKE_NORMAL;
  void *payload = NULL;
  uint32_t error;

  if (!receive (c->fd, &wire, sizeof wire))
    return false;
  must (be32toh (wire.magic) == 0x25609513);
  request = (struct fake_request){
    .op = 1U << be16toh (wire.type),
    .flags = be16toh (wire.flags),
    .cookie = be64toh (wire.cookie),
    .offset = be64toh (wire.offset),
    .length = be32toh (wire.length),
  };
  if (request.op == FAKE_WRITE) {
    payload = fake_alloc (request.length);
    if (!receive (c->fd, payload, request.length)) {
      free (payload);
      return false;
    }
  }
  if (c->options.block_bytes > 0 &&
      (request.offset | request.length) % c->options.block_bytes != 0) {
    mutex_lock (&c->fake->lock);
    c->fake->unaligned++;
    mutex_unlock (&c->fake->lock);
  }
  error = admit (c->fake, &request);
  if (request.op == FAKE_DISC)
    verdict = FAKE_HANG_UP;
  else if (c->options.hook != NULL)
    verdict = c->options.hook (c->options.context, c->fd, &request);
  if (verdict == FAKE_NORMAL) {
    if (error != 0 && !c->options.is_plain &&
        (request.op == FAKE_READ || request.op == FAKE_BLOCK_STATUS)) {
      struct __attribute__ ((packed)) {
        uint32_t error;
        uint16_t length;
      } body = { htobe32 (error), 0 };

      fake_chunk (c->fd, request.cookie, 1, 0x8001, sizeof body);
      fake_send (c->fd, &body, sizeof body);
    }
    else if (error != 0)
      fake_answer (c->fd, request.cookie, error);
    else {
      must (request.offset + request.length <= c->options.bytes);
      do_request (c, &request, payload);
    }
  }
  free (payload);
  return verdict != FAKE_HANG_UP;
}

static void
connection_main (void *arg)
{
  struct fake_connection *c = arg;
  struct fake_nbd *fake = c->fake;
  char byte;

  if (c->options.is_mute)
    (void) receive (c->fd, &byte, 1);
  else if (shake_hands (c))
    while (!c->options.leaves && serve (c))
      ;
  mutex_lock (&fake->lock);
  must (close (c->fd) == 0);
  c->fd = -1;
  fake->open_count--;
  cond_broadcast (&fake->changed);
  mutex_unlock (&fake->lock);
}

static void
listen_main (void *arg)
{
  struct fake_nbd *fake = arg;

  for (;;) {
    int fd = accept (fake->listener, NULL, NULL);
    struct fake_connection *c;

    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
    if (fd == -1 || fake->is_ending) {
      if (fd != -1)
        (void) close (fd);
      return;
    }
    if (fake->options.connections_max > 0 &&
        fake->open_count >= fake->options.connections_max) {
      (void) close (fd);
      continue;
    }
    must (fake->connection_count < CONNECTIONS_MAX);
    c = fake_alloc (sizeof *c);
    *c = (struct fake_connection){
      .fake = fake,
      .fd = fd,
      .cut = fake->options.handshake_cut,
      .options = fake->options,
    };
    fake->connections[fake->connection_count++] = c;
    fake->open_count++;
    /* The same for threads. */
    if (thread_start (&c->thread, "fake-nbd", connection_main, c) < 0)
      must (thread_start (&c->thread, "fake-nbd", connection_main, c) == 0);
    cond_broadcast (&fake->changed);
  }
}

/*----- for the test ----------------------------------------------------*/

struct fake_nbd *
fake_nbd_create (const struct fake_options *options)
{
  struct fake_nbd *fake = test_alloc (sizeof *fake);
  int n;

  memset (fake, 0, sizeof *fake);
  make_test_folder (NULL, fake->folder);
  fake->address.sun_family = AF_UNIX;
  n = snprintf (fake->address.sun_path, sizeof fake->address.sun_path, "%s/nbd",
                fake->folder);
  must (n < (int) sizeof fake->address.sun_path);
  (void) snprintf (fake->uri, sizeof fake->uri, "nbd+unix:///?socket=%s",
                   fake->address.sun_path);
  fake->disk = test_alloc (options->bytes);
  memset (fake->disk, 0, options->bytes);
  mutex_init (&fake->lock);
  cond_init (&fake->changed);
  fake->options = *options;
  fake->listener = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  must (fake->listener != -1);
  must (bind (fake->listener, (struct sockaddr *) &fake->address,
              sizeof fake->address) == 0);
  must (listen (fake->listener, 64) == 0);
  must (thread_start (&fake->thread, "fake-nbd", listen_main, fake) == 0);
  return fake;
}

void
fake_nbd_destroy (struct fake_nbd *fake)
{
  unsigned i;

  mutex_lock (&fake->lock);
  fake->is_ending = true;
  cond_broadcast (&fake->changed);
  mutex_unlock (&fake->lock);
  must (shutdown (fake->listener, SHUT_RDWR) == 0);
  thread_join (&fake->thread);
  fake_nbd_hang_up (fake);
  for (i = 0; i < fake->connection_count; ++i) {
    thread_join (&fake->connections[i]->thread);
    free (fake->connections[i]);
  }
  must (close (fake->listener) == 0);
  remove_test_folder (fake->folder);
  cond_destroy (&fake->changed);
  mutex_destroy (&fake->lock);
  free (fake->disk);
  free (fake);
}

const char *
fake_nbd_uri (const struct fake_nbd *fake)
{
  return fake->uri;
}

unsigned char *
fake_nbd_disk (struct fake_nbd *fake)
{
  return fake->disk;
}

void
fake_nbd_set_options (struct fake_nbd *fake, const struct fake_options *options)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  fake->options = *options;
}

void
fake_nbd_set_error (struct fake_nbd *fake, unsigned ops, uint32_t error)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  fake->error_ops = ops;
  fake->error = error;
}

void
fake_nbd_hold (struct fake_nbd *fake, unsigned ops)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  fake->held_ops = ops;
  cond_broadcast (&fake->changed);
}

void
fake_nbd_wait_held (struct fake_nbd *fake, unsigned n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  while (fake->held < n)
    cond_wait (&fake->changed, &fake->lock);
}

unsigned
fake_nbd_count (struct fake_nbd *fake, unsigned ops, unsigned flags)
{
  unsigned i, count = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  for (i = 0; i < OPS_MAX; ++i)
    if (ops & (1U << i))
      count += flags == 0 ? fake->seen[i].count
                          : fake->seen[i].with_flag[op_index (flags)];
  return count;
}

uint32_t
fake_nbd_longest (struct fake_nbd *fake, unsigned ops)
{
  uint32_t longest = 0;
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  for (i = 0; i < OPS_MAX; ++i)
    if (ops & (1U << i))
      longest = MAX_OF (longest, fake->seen[i].longest);
  return longest;
}

unsigned
fake_nbd_unaligned (struct fake_nbd *fake)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  return fake->unaligned;
}

unsigned
fake_nbd_connections (struct fake_nbd *fake)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  return fake->open_count;
}

unsigned
fake_nbd_connections_ever (struct fake_nbd *fake)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  return fake->connection_count;
}

void
fake_nbd_wait_connections (struct fake_nbd *fake, unsigned n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  while (fake->open_count != n)
    cond_wait (&fake->changed, &fake->lock);
}

void
fake_nbd_hang_up (struct fake_nbd *fake)
{
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fake->lock);
  for (i = 0; i < fake->connection_count; ++i)
    if (fake->connections[i]->fd != -1)
      (void) shutdown (fake->connections[i]->fd, SHUT_RDWR);
}
