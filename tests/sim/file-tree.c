/* A simulated file system: the tree, what of it is durable, and its losses.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Files are never freed before the end: there are few.
 */

#include <config.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "file-sim-impl.h"
#include "sim.h"

static struct node *nodes;
static struct node *root;
static void (*on_new_disk) (struct sim_disk *disk);

/*----- folders ---------------------------------------------------------*/

static void
set_name (char to[NAME_BYTES], const char *from)
{
  if (snprintf (to, NAME_BYTES, "%s", from) >= NAME_BYTES)
    abort ();
}

struct node *
node_new (const char *name, bool is_folder)
{
  struct node *n = calloc (1, sizeof *n);

  if (n == NULL)
    abort ();
  set_name (n->name, name);
  n->number = nodes != NULL ? nodes->number + 1 : 1;
  if (is_folder) {
    n->folder = calloc (1, sizeof *n->folder);
    if (n->folder == NULL)
      abort ();
  }
  n->next = nodes;
  nodes = n;
  return n;
}

void
node_make_disk (struct node *node, sector_t sectors)
{
  node->disk = sim_disk_create (node->name, node->number, sectors);
  if (on_new_disk != NULL)
    on_new_disk (node->disk);
}

struct entry *
folder_find (struct entries *e, const char *name)
{
  unsigned i;

  for (i = 0; i < e->count; ++i)
    if (strcmp (e->list[i].name, name) == 0)
      return &e->list[i];
  return NULL;
}

static void
apply_change (struct entries *e, const struct change *c)
{
  struct entry *entry;

  if (c->remove[0] != '\0') {
    entry = folder_find (e, c->remove);
    if (entry != NULL)
      *entry = e->list[--e->count];
  }
  if (c->node == NULL)
    return;
  entry = folder_find (e, c->set);
  if (entry == NULL) {
    assert (e->count < MAX_ENTRIES);
    entry = &e->list[e->count++];
    set_name (entry->name, c->set);
  }
  entry->node = c->node;
}

void
folder_change (struct node *dir, const char *set, struct node *node,
               const char *remove)
{
  struct folder *f = dir->folder;
  struct change *c;

  if (f->pending_count == MAX_PENDING) { /* it got there by itself */
    apply_change (&f->durable, &f->pending[0]);
    memmove (f->pending, f->pending + 1,
             (MAX_PENDING - 1) * sizeof f->pending[0]);
    f->pending_count--;
  }
  c = &f->pending[f->pending_count++];
  set_name (c->set, set);
  set_name (c->remove, remove);
  c->node = node;
  apply_change (&f->seen, c);
}

void
folder_sync (struct folder *f)
{
  unsigned i;

  for (i = 0; i < f->pending_count; ++i)
    apply_change (&f->durable, &f->pending[i]);
  f->pending_count = 0;
}

struct node *
tree_find_below (struct node *dir, const char *path, struct node **parent,
                 const char **name)
{
  const char *slash;
  struct entry *e;

  if (path[0] == '/') {
    path += strlen (SIM_ROOT);
    path += path[0] == '/';
    dir = root;
  }
  *parent = dir;
  *name = path;
  if (path[0] == '\0' || strcmp (path, ".") == 0)
    return dir;
  if (strcmp (path, "..") == 0)
    return dir->parent;
  slash = strchr (path, '/');
  if (slash != NULL) {
    char first[NAME_BYTES] = "";

    memcpy (first, path, MIN_OF ((size_t) (slash - path), NAME_BYTES - 1U));
    e = folder_find (&dir->folder->seen, first);
    if (e == NULL || e->node->folder == NULL) {
      *parent = NULL;
      return NULL;
    }
    return tree_find_below (e->node, slash + 1, parent, name);
  }
  e = folder_find (&dir->folder->seen, path);
  return e != NULL ? e->node : NULL;
}

struct node *
tree_root (void)
{
  return root;
}

struct node *
tree_find (const char *path)
{
  struct node *parent;
  const char *name;

  return tree_find_below (root, path, &parent, &name);
}

/*----- texts -----------------------------------------------------------*/

void
text_set (struct text *to, const struct text *from, size_t length)
{
  free (to->bytes);
  to->length = length;
  to->bytes = malloc (length + 1);
  if (to->bytes == NULL)
    abort ();
  memset (to->bytes, 0, length);
  if (length > 0 && from->length > 0)
    memcpy (to->bytes, from->bytes, MIN_OF (length, from->length));
}

/*----- losing ----------------------------------------------------------*/

static void
lose_text (struct node *node)
{
  struct text *text = &node->text;

  switch (sim_choose (4)) {
  case 0:
    text_set (text, &node->durable_text, node->durable_text.length);
    break;
  case 1: /* the size has come to the disk, the data has not */
    if (text->length > 0)
      memset (text->bytes, 0, text->length);
    break;
  case 2:
    text->length = sim_below ((unsigned) text->length + 1);
    break;
  }
}

static void
lose_changes (struct folder *f)
{
  unsigned i;

  for (i = 0; i < f->pending_count; ++i)
    if (sim_choose (2) == 0)
      apply_change (&f->durable, &f->pending[i]);
  f->pending_count = 0;
  f->seen = f->durable;
}

static bool
text_is_durable (const struct node *node)
{
  return node->text.length == node->durable_text.length &&
         (node->text.length == 0 ||
          memcmp (node->text.bytes, node->durable_text.bytes,
                  node->text.length) == 0);
}

void
sim_files_crash (enum sim_crash how)
{
  struct node *n;

  for (n = nodes; n != NULL; n = n->next) {
    if (n->disk != NULL)
      sim_disk_crash (n->disk, how);
    if (how == SIM_KILLED)
      continue;
    if (n->folder != NULL)
      lose_changes (n->folder);
    else if (n->disk == NULL && !text_is_durable (n))
      lose_text (n);
    if (n->folder == NULL && n->disk == NULL)
      text_set (&n->durable_text, &n->text, n->text.length);
  }
}

/*----- life ------------------------------------------------------------*/

void
sim_files_begin (void)
{
  assert (nodes == NULL);
  root = node_new ("", true);
  root->parent = root;
}

void
sim_files_end (void)
{
  struct node *n = nodes;

  while (n != NULL) {
    struct node *next = n->next;

    if (n->disk != NULL)
      sim_disk_destroy (n->disk);
    free (n->folder);
    free (n->text.bytes);
    free (n->durable_text.bytes);
    free (n);
    n = next;
  }
  nodes = root = NULL;
}

void
sim_files_on_new_disk (void (*fn) (struct sim_disk *disk))
{
  on_new_disk = fn;
}

void
sim_files_add_folder (const char *path)
{
  struct node *parent, *node;
  const char *name;

  (void) tree_find_below (root, path, &parent, &name);
  node = node_new (name, true);
  node->parent = parent;
  folder_change (parent, name, node, "");
  folder_sync (parent->folder);
}

struct sim_disk *
sim_files_add_disk (const char *path, sector_t sectors)
{
  struct node *parent, *node;
  const char *name;

  (void) tree_find_below (root, path, &parent, &name);
  node = node_new (name, false);
  node_make_disk (node, sectors);
  folder_change (parent, name, node, "");
  folder_sync (parent->folder);
  return node->disk;
}

void
sim_files_remove (const char *path)
{
  struct node *parent;
  const char *name;

  (void) tree_find_below (root, path, &parent, &name);
  folder_change (parent, "", NULL, name);
  folder_sync (parent->folder);
}

bool
sim_files_exists (const char *path)
{
  return tree_find (path) != NULL;
}

bool
sim_files_is_durable (const char *path)
{
  struct node *parent, *node;
  const char *name;
  const struct change *c;
  unsigned i;

  node = tree_find_below (root, path, &parent, &name);
  if (node == NULL || !text_is_durable (node))
    return false;
  for (i = 0; i < parent->folder->pending_count; ++i) {
    c = &parent->folder->pending[i];
    if (strcmp (c->set, name) == 0 || strcmp (c->remove, name) == 0)
      return false;
  }
  return parent == root || parent->parent->folder->pending_count == 0;
}

struct sim_disk *
sim_files_disk (const char *path)
{
  const struct node *node = tree_find (path);

  return node != NULL ? node->disk : NULL;
}

void
sim_files_each_disk (void (*fn) (struct sim_disk *disk))
{
  const struct node *n;

  for (n = nodes; n != NULL; n = n->next)
    if (n->disk != NULL)
      fn (n->disk);
}
