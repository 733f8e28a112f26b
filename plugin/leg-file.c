/* Leg files by name: making new ones, and telling which file a name is.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bits.h"
#include "leg-file.h"

int
leg_file_sync_entry (const char *path)
{
  char *copy = strdup (path);
  int fd, r = 0;

  if (copy == NULL)
    return -ENOMEM;
  fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1 || fsync (fd) == -1)
    r = -errno;
  if (fd >= 0)
    (void) close (fd);
  free (copy);
  return r;
}

int
leg_file_create (const char *path, uint64_t bytes)
{
  int fd, r = 0;

  if (bytes > (uint64_t) INT64_MAX)
    return -EFBIG;
  fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd == -1)
    return -errno;
  if (ftruncate (fd, (off_t) bytes) == -1 || fsync (fd) == -1)
    r = -errno;
  if (close (fd) == -1 && r == 0)
    r = -errno;
  if (r == 0)
    r = leg_file_sync_entry (path);
  if (r < 0)
    (void) unlink (path);
  return r;
}

void
leg_file_remove (const char *path)
{
  (void) unlink (path);
}

/* The parameters of a URI that name a file or folder of this machine. */
static const char *const uri_files[] = {
  "socket",
  "tls-certificates",
  "tls-psk-file",
};

/* Is WORD, name=value, one of them, and its value not absolute? */
static bool
names_relative_file (const char *word)
{
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (uri_files); ++i) {
    size_t n = strlen (uri_files[i]);

    if (strncmp (word, uri_files[i], n) == 0 && word[n] == '=')
      return strchr ("/&;#", word[n + 1]) == NULL &&
             strncasecmp (word + n + 1, "%2f", 3) != 0;
  }
  return false;
}

/* Put FOLDER to the end of TO, as it is written in a URI.  Returns the end. */
static char *
put_encoded (char *to, const char *folder)
{
  static const char digits[] = "0123456789ABCDEF";

  for (; *folder != '\0'; ++folder) {
    unsigned char c = (unsigned char) *folder;

    if (isalnum (c) || strchr ("/-._~", c) != NULL)
      *to++ = (char) c;
    else {
      *to++ = '%';
      *to++ = digits[c >> 4];
      *to++ = digits[c & 15];
    }
  }
  return to;
}

static int
absolute_uri (const char *uri, char **absolute)
{
  const char *from = uri + strcspn (uri, "?#");
  size_t files = 0;
  const char *word;
  char *folder, *to;

  for (word = from; *word == '?' || *word == '&' || *word == ';';
       word += 1 + strcspn (word + 1, "&;#"))
    files += names_relative_file (word + 1);
  folder = files > 0 ? realpath (".", NULL) : strdup ("");
  if (folder == NULL)
    return -errno;
  *absolute = malloc (strlen (uri) + files * (3 * strlen (folder) + 1) + 1);
  if (*absolute == NULL) {
    free (folder);
    return -ENOMEM;
  }
  to = mempcpy (*absolute, uri, (size_t) (from - uri));
  while (*from == '?' || *from == '&' || *from == ';') {
    size_t length = 1 + strcspn (from + 1, "&;#");

    if (names_relative_file (from + 1)) {
      size_t name = 1 + strcspn (from, "=");

      to = mempcpy (to, from, name);
      to = put_encoded (to, folder);
      *to++ = '/';
      to = mempcpy (to, from + name, length - name);
    }
    else
      to = mempcpy (to, from, length);
    from += length;
  }
  strcpy (to, from);
  free (folder);
  return 0;
}

int
leg_file_absolute_path (const char *path, char **absolute)
{
  char *copy = strdup (path);
  const char *slash = strrchr (path, '/');
  const char *base = slash != NULL ? slash + 1 : path;
  char *folder;
  int r = 0;

  if (copy == NULL)
    return -ENOMEM;
  if (bdev_spec_is_uri (path)) {
    free (copy);
    return absolute_uri (path, absolute);
  }
  /* "dir/" and "..": there is no name, so the whole is resolved. */
  if (base[0] == '\0' || strcmp (base, ".") == 0 || strcmp (base, "..") == 0) {
    free (copy);
    *absolute = realpath (path, NULL);
    return *absolute != NULL ? 0 : -errno;
  }
  folder = realpath (dirname (copy), NULL);
  free (copy);
  if (folder == NULL)
    return -errno;
  if (asprintf (absolute, "%s/%s", strcmp (folder, "/") == 0 ? "" : folder,
                base) == -1)
    r = -ENOMEM;
  free (folder);
  return r;
}

/*----- identity --------------------------------------------------------*/

#define WEAK_IDENTITY "disk of "
#define SERVER_IDENTITY "server of "

/* True if ERROR says nothing of what was to be looked at. */
static bool
is_want (int error)
{
  return error == EMFILE || error == ENFILE || error == ENOMEM;
}

/* The first line of a file of sysfs, without the spaces around it.  Returns
 * 1; 0 if there is none, or it is empty; or a negative errno if that cannot be
 * found out.
 */
static int
read_attribute (const char *folder, const char *name, char *value, size_t size)
{
  char path[128];
  char *p;
  ssize_t n;
  int fd;

  if (snprintf (path, sizeof path, "%s/%s", folder, name) >= (int) sizeof path)
    return 0;
  fd = open (path, O_RDONLY | O_CLOEXEC);
  if (fd == -1)
    return is_want (errno) ? -errno : 0;
  n = read (fd, value, size - 1);
  (void) close (fd);
  if (n <= 0)
    return 0;
  value[n] = '\0';
  value[strcspn (value, "\n")] = '\0';
  p = value + strspn (value, " ");
  memmove (value, p, strlen (p) + 1);
  for (p = value + strlen (value); p > value && p[-1] == ' '; --p)
    p[-1] = '\0';
  return value[0] != '\0' ? 1 : 0;
}

/* What the kernel knows of the disk MAJOR:MINOR that outlives a reboot.
 * Returns 1, 0 if it knows nothing, or a negative errno if that cannot be found
 * out: without it one disk is as good as another, and a leg would not be known
 * any more.
 */
static int
read_disk_serial (unsigned major_number, unsigned minor_number,
                  char serial[LEG_IDENTITY_BYTES / 2])
{
  static const char *const names[] = {
    "wwid",    "device/wwid", "device/serial", "serial",
    "dm/uuid", "dm/name",     "md/uuid",       "loop/backing_file",
  };
  char folder[64], partition[16] = "";
  char value[LEG_IDENTITY_BYTES / 2 - sizeof partition - 1];
  unsigned i;
  int r;

  snprintf (folder, sizeof folder, "/sys/dev/block/%u:%u", major_number,
            minor_number);
  /* A partition is its disk's, and its number. */
  r = read_attribute (folder, "partition", partition, sizeof partition);
  if (r > 0)
    snprintf (folder, sizeof folder, "/sys/dev/block/%u:%u/..", major_number,
              minor_number);
  for (i = 0; r >= 0 && i < ARRAY_COUNT (names); ++i) {
    r = read_attribute (folder, names[i], value, sizeof value);
    if (r <= 0)
      continue;
    snprintf (serial, LEG_IDENTITY_BYTES / 2, "%s%s%s", value,
              partition[0] != '\0' ? " " : "", partition);
    return 1;
  }
  return MIN_OF (r, 0);
}

int
leg_file_identity (struct block_device *bdev, char identity[LEG_IDENTITY_BYTES])
{
  uint64_t bytes = sector_to_bytes (bdev_sectors (bdev));
  char serial[LEG_IDENTITY_BYTES / 2];
  struct bdev_identity id;
  int r = bdev_identity (bdev, &id);

  if (r < 0 && r != -EOPNOTSUPP)
    return r;
  if (r == -EOPNOTSUPP)
    snprintf (identity, LEG_IDENTITY_BYTES, SERVER_IDENTITY "%" PRIu64, bytes);
  else if (!id.is_disk)
    snprintf (identity, LEG_IDENTITY_BYTES,
              "file %" PRIu64 " %" PRId64 ".%09" PRIu32, id.inode,
              id.birth_seconds, id.birth_ns);
  else {
    r = read_disk_serial (major (id.device), minor (id.device), serial);
    if (r < 0)
      return r;
    if (r > 0)
      snprintf (identity, LEG_IDENTITY_BYTES, "disk %s of %" PRIu64, serial,
                bytes);
    else
      snprintf (identity, LEG_IDENTITY_BYTES, WEAK_IDENTITY "%" PRIu64, bytes);
  }
  return 0;
}

bool
leg_identity_is_weak (const char *identity)
{
  return strncmp (identity, WEAK_IDENTITY, strlen (WEAK_IDENTITY)) == 0 ||
         strncmp (identity, SERVER_IDENTITY, strlen (SERVER_IDENTITY)) == 0;
}

void
leg_file_stamp (struct block_device *bdev, char stamp[LEG_STAMP_BYTES])
{
  struct bdev_identity id;

  stamp[0] = '\0';
  if (bdev_identity (bdev, &id) == 0 && !id.is_disk)
    snprintf (stamp, LEG_STAMP_BYTES, "%" PRId64 ".%09" PRIu32,
              id.modified_seconds, id.modified_ns);
}

enum leg_file_place
leg_file_place (const char *path, const struct bdev_identity *id)
{
  struct stat st;

  if (stat (path, &st) == -1)
    return errno == ENOENT || errno == ENOTDIR ? LEG_FILE_GONE : LEG_FILE_THERE;
  if (id->is_disk)
    return S_ISBLK (st.st_mode) && st.st_rdev == id->device ? LEG_FILE_THERE
                                                            : LEG_FILE_OTHER;
  return S_ISREG (st.st_mode) && st.st_dev == id->device &&
             st.st_ino == id->inode
           ? LEG_FILE_THERE
           : LEG_FILE_OTHER;
}
