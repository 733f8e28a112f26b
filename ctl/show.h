/* How numbers, tables and progress are shown to people.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMNBD_SHOW_H
#define DMNBD_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* BYTES as "64.0 MiB". */
#define SHOW_SIZE_BYTES 16
const char *show_size (uint64_t bytes, char buffer[SHOW_SIZE_BYTES]);

/* SECONDS as "1:02:03". */
#define SHOW_TIME_BYTES 24
const char *show_time (uint64_t seconds, char buffer[SHOW_TIME_BYTES]);

/* "[#####-----] 50 %", WIDTH cells wide. */
#define SHOW_BAR_BYTES 80
const char *show_bar (uint64_t done, uint64_t total, unsigned width,
                      char buffer[SHOW_BAR_BYTES]);

/* How wide, and how high, the terminal FD is. */
unsigned show_columns (int fd);
unsigned show_rows (int fd);

/* How many of the LENGTH bytes of TEXT fit into so many COLUMNS. */
size_t show_fit (const char *text, size_t length, unsigned columns);

/* A table: columns as wide as what is in them.  The first row is its head.
 */
#define TABLE_MAX_COLUMNS 9

struct table;

struct table *table_create (unsigned columns);

/* Add a cell, the next of its row.  It is aligned to the right if its column
 * is of numbers, which begins with '>' in the head.
 */
void table_add (struct table *table, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));

/* Print it into OUT, and free it. */
void table_print (struct table *table, FILE *out);

/* Members of an object of a server, which need not be there. */
uint64_t get_number (const json_t *object, const char *name);
const char *get_text (const json_t *object, const char *name);
bool get_bool (const json_t *object, const char *name);

/* True if a snapshot, as the server describes it, ends with the server. */
bool is_transient (const json_t *snapshot);

/* TEXT without what could steer a terminal; for free(), never NULL. */
char *show_plain (const char *text);

/* True if TEXT is UTF-8, so that JSON can have it. */
bool show_is_utf8 (const char *text);

#endif /* DMNBD_SHOW_H */
