/* Unit tests of the page pool.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "fault-alloc.h"
#include "page-pool.h"
#include "test-util.h"

static unsigned
list_length (const struct page_list *pl)
{
  unsigned n = 0;

  for (; pl != NULL; pl = pl->next)
    ++n;
  return n;
}

/* True if each page lies right behind the one before. */
static bool
is_contiguous (const struct page_list *pl)
{
  for (; pl->next != NULL; pl = pl->next)
    if ((char *) page_address (pl->next->page) !=
        (char *) page_address (pl->page) + DM_PAGE_SIZE)
      return false;
  return true;
}

START_TEST (create_has_limits)
{
  struct page_pool *pool = NULL;

  ck_assert_int_eq (page_pool_create (0, &pool), -EINVAL);
  ck_assert_int_eq (page_pool_create (PAGE_POOL_MAX + 1, &pool), -EINVAL);
  ck_assert_int_eq (page_pool_create (UINT32_MAX, &pool), -EINVAL);
  ck_assert_ptr_null (pool);
  page_pool_destroy (NULL);
}
END_TEST

START_TEST (create_fails_at_every_allocation)
{
  struct page_pool *pool = NULL;
  unsigned k;
  int r = -ENOMEM;

  for (k = 0; r != 0; ++k) {
    ck_assert_uint_lt (k, 100);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = page_pool_create (100, &pool);
    if (fault_alloc_stop () > 0)
      ck_assert_int_eq (r, -ENOMEM);
    else
      ck_assert_int_eq (r, 0);
  }
  ck_assert_uint_ge (k, 4);
  page_pool_destroy (pool);
}
END_TEST

START_TEST (all_pages_are_whole_and_apart)
{
  const unsigned count = 131; /* not a multiple of a word of the map */
  struct page_pool *pool;
  struct page_list *all, *pl;
  unsigned i;

  ck_assert_int_eq (page_pool_create (count, &pool), 0);
  ck_assert_uint_eq (page_pool_size (pool), count);
  ck_assert_uint_eq (page_pool_free_count (pool), count);
  ck_assert_ptr_null (page_pool_get (pool, count + 1));
  ck_assert_uint_eq (page_pool_free_count (pool), count);

  all = page_pool_get (pool, count);
  ck_assert_uint_eq (list_length (all), count);
  ck_assert_uint_eq (page_pool_free_count (pool), 0);
  ck_assert_ptr_null (page_pool_get (pool, 1));
  ck_assert (is_contiguous (all));
  /* Fill all, then look: pages that overlap would show. */
  for (i = 0, pl = all; pl != NULL; pl = pl->next, ++i) {
    ck_assert_uint_eq ((uintptr_t) page_address (pl->page) % DM_PAGE_SIZE, 0);
    memset (page_address (pl->page), (int) i, DM_PAGE_SIZE);
  }
  for (i = 0, pl = all; pl != NULL; pl = pl->next, ++i)
    assert_all_bytes (page_address (pl->page), (unsigned char) i, DM_PAGE_SIZE);

  page_pool_put (pool, all);
  ck_assert_uint_eq (page_pool_free_count (pool), count);
  ck_assert_uint_eq (page_pool_size (pool), count);
  page_pool_put (pool, NULL);
  page_pool_destroy (pool);
}
END_TEST

START_TEST (put_in_any_order)
{
  struct page_pool *pool;
  struct page_list *parts[10], *all;
  unsigned i;

  ck_assert_int_eq (page_pool_create (100, &pool), 0);
  for (i = 0; i < 10; ++i) {
    parts[i] = page_pool_get (pool, 10);
    ck_assert_uint_eq (list_length (parts[i]), 10);
    ck_assert (is_contiguous (parts[i]));
    ck_assert_uint_eq (page_pool_free_count (pool), 100 - 10 * (i + 1));
  }
  /* Every other part, from the end; one list turned round. */
  for (i = 0; i < 10; i += 2) {
    struct page_list *pl = parts[8 - i], *turned = NULL;

    while (pl != NULL) {
      struct page_list *next = pl->next;

      pl->next = turned;
      turned = pl;
      pl = next;
    }
    page_pool_put (pool, turned);
  }
  ck_assert_uint_eq (page_pool_free_count (pool), 50);
  ck_assert_ptr_null (page_pool_get (pool, 51));
  ck_assert_uint_eq (page_pool_free_count (pool), 50);

  /* What is left is in pieces, in rising order all the same. */
  all = page_pool_get (pool, 50);
  ck_assert_uint_eq (list_length (all), 50);
  ck_assert (!is_contiguous (all));
  for (struct page_list *pl = all; pl->next != NULL; pl = pl->next)
    ck_assert ((uintptr_t) page_address (pl->page) <
               (uintptr_t) page_address (pl->next->page));
  page_pool_put (pool, all);
  for (i = 1; i < 10; i += 2)
    page_pool_put (pool, parts[i]);

  all = page_pool_get (pool, 100);
  ck_assert (is_contiguous (all));
  page_pool_put (pool, all);
  page_pool_destroy (pool);
}
END_TEST

/* Pages owned by different lists are never the same, whatever the
 * history: a fixed, scrambled one of 5,000 steps.
 */
START_TEST (no_page_is_given_twice)
{
  enum { COUNT = 70, LISTS = 16 };
  struct page_list *lists[LISTS] = { NULL };
  unsigned char *first_page;
  int owner[COUNT];
  struct page_pool *pool;
  struct page_list *pl;
  uint32_t x = 1;
  unsigned i, held = 0;

  ck_assert_int_eq (page_pool_create (COUNT, &pool), 0);
  pl = page_pool_get (pool, COUNT);
  first_page = page_address (pl->page);
  page_pool_put (pool, pl);
  for (i = 0; i < COUNT; ++i)
    owner[i] = -1;

  for (i = 0; i < 5000; ++i) {
    int l;
    unsigned count;

    x = x * 1664525 + 1013904223;
    l = (int) (x >> 28);
    count = 1 + (x >> 8) % 12;
    if (lists[l] != NULL) {
      for (pl = lists[l]; pl != NULL; pl = pl->next, --held)
        owner[((unsigned char *) page_address (pl->page) - first_page) /
              DM_PAGE_SIZE] = -1;
      page_pool_put (pool, lists[l]);
      lists[l] = NULL;
    }
    else {
      lists[l] = page_pool_get (pool, count);
      ck_assert_int_eq (lists[l] != NULL, count <= COUNT - held);
      for (pl = lists[l]; pl != NULL; pl = pl->next, ++held) {
        size_t page = (size_t) ((unsigned char *) page_address (pl->page) -
                                first_page) /
                      DM_PAGE_SIZE;

        ck_assert_uint_lt (page, COUNT);
        ck_assert_int_eq (owner[page], -1);
        owner[page] = l;
      }
    }
    ck_assert_uint_eq (page_pool_free_count (pool), COUNT - held);
  }
  for (i = 0; i < LISTS; ++i)
    page_pool_put (pool, lists[i]);
  page_pool_destroy (pool);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    create_has_limits,
    create_fails_at_every_allocation,
    all_pages_are_whole_and_apart,
    put_in_any_order,
    no_page_is_given_twice,
    NULL,
  };

  return unit_main ("page-pool", tests);
}
