/* A simulated file system, inside: its nodes.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * file-tree.c has the nodes, and what is lost of them; file-calls.c takes
 * the calls of the plugin.
 */

#ifndef SIM_FILE_SIM_IMPL_H
#define SIM_FILE_SIM_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file-sim.h"

#define NAME_BYTES 64
#define MAX_ENTRIES 64
#define MAX_PENDING 64

struct node;

struct entry {
  char name[NAME_BYTES];
  struct node *node;
};

struct entries {
  unsigned count;
  struct entry list[MAX_ENTRIES];
};

/* One change of a folder: NODE (if any) is called SET, REMOVE is gone. */
struct change {
  char set[NAME_BYTES];
  char remove[NAME_BYTES];
  struct node *node;
};

struct folder {
  struct entries seen;
  struct entries durable;
  unsigned pending_count;
  struct change pending[MAX_PENDING];
  bool is_locked;
};

struct text {
  size_t length;
  char *bytes;
};

struct node {
  struct node *next;
  uint64_t number;
  char name[NAME_BYTES];
  struct folder *folder; /* it is one */
  struct node *parent;   /* of a folder */
  struct sim_disk *disk; /* it is one */
  bool is_exclusive;
  struct text text, durable_text;
};

/* One with no name in any folder yet. */
struct node *node_new (const char *name, bool is_folder);

/* NODE is a disk from now on. */
void node_make_disk (struct node *node, sector_t sectors);

/* The entry NAME, or NULL. */
struct entry *folder_find (struct entries *e, const char *name);

/* NODE (if any) is called SET in DIR, REMOVE (if not "") is gone: not durably
 * before folder_sync.
 */
void folder_change (struct node *dir, const char *set, struct node *node,
                    const char *remove);
void folder_sync (struct folder *f);

struct node *tree_root (void);

/* What PATH, below DIR, names.  *PARENT and *NAME: where it is or would
 * be.  tree_find: below the root.
 */
struct node *tree_find_below (struct node *dir, const char *path,
                              struct node **parent, const char **name);
struct node *tree_find (const char *path);

/* LENGTH bytes, those of FROM and then zeroes. */
void text_set (struct text *to, const struct text *from, size_t length);

#endif /* SIM_FILE_SIM_IMPL_H */
