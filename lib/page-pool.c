/* A fixed reserve of aligned pages: one slab and a map of what is free.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariants:
 * (1) bit i of the map is set if and only if page i is free;
 * (2) nodes[i].page is page i for the pool's whole life.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "bits.h"
#include "page-pool.h"

#define MAP_BITS 64U

struct page_pool {
  unsigned page_count;
  unsigned free_count;
  char *slab;
  struct page_list *nodes;
  uint64_t *map;
};

int
page_pool_create (unsigned page_count, struct page_pool **pool)
{
  struct page_pool *p;
  unsigned words = (unsigned) div_round_up (page_count, MAP_BITS);
  unsigned i;
  void *slab;

  if (page_count == 0 || page_count > PAGE_POOL_MAX)
    return -EINVAL;
  p = calloc (1, sizeof *p);
  if (p == NULL)
    return -ENOMEM;
  p->nodes = calloc (page_count, sizeof p->nodes[0]);
  p->map = calloc (words, sizeof p->map[0]);
  if (p->nodes == NULL || p->map == NULL)
    goto err_free_arrays;
  if (posix_memalign (&slab, DM_PAGE_SIZE,
                      (size_t) page_count * DM_PAGE_SIZE) != 0)
    goto err_free_arrays;
  p->slab = slab;
  for (i = 0; i < page_count; ++i) {
    p->nodes[i].page = page_of_address (p->slab + (size_t) i * DM_PAGE_SIZE);
    p->map[i / MAP_BITS] |= UINT64_C (1) << i % MAP_BITS;
  }
  p->page_count = p->free_count = page_count;
  *pool = p;
  return 0;

err_free_arrays:
  free (p->map);
  free (p->nodes);
  free (p);
  return -ENOMEM;
}

void
page_pool_destroy (struct page_pool *pool)
{
  if (pool == NULL)
    return;
  assert (pool->free_count == pool->page_count);
  free (pool->slab);
  free (pool->map);
  free (pool->nodes);
  free (pool);
}

struct page_list *
page_pool_get (struct page_pool *pool, unsigned count)
{
  struct page_list *first = NULL;
  struct page_list **tail = &first;
  unsigned word;

  assert (count > 0);
  if (count > pool->free_count)
    return NULL;
  pool->free_count -= count;

  /* The lowest free pages: those that were freed together come out
   * together, and the top of the slab stays cold.
   */
  for (word = 0; count > 0; ++word) {
    while (pool->map[word] != 0 && count > 0) {
      unsigned bit = (unsigned) __builtin_ctzll (pool->map[word]);
      struct page_list *node = &pool->nodes[word * MAP_BITS + bit];

      pool->map[word] &= pool->map[word] - 1;
      *tail = node;
      tail = &node->next;
      --count;
    }
  }
  *tail = NULL;
  return first;
}

void
page_pool_put (struct page_pool *pool, struct page_list *pages)
{
  while (pages != NULL) {
    struct page_list *next = pages->next;
    size_t i = (size_t) (pages - pool->nodes);

    assert (i < pool->page_count);
    assert ((pool->map[i / MAP_BITS] >> i % MAP_BITS & 1) == 0);
    pool->map[i / MAP_BITS] |= UINT64_C (1) << i % MAP_BITS;
    pool->free_count++;
    pages = next;
  }
}

unsigned
page_pool_size (const struct page_pool *pool)
{
  return pool->page_count;
}

unsigned
page_pool_free_count (const struct page_pool *pool)
{
  return pool->free_count;
}
