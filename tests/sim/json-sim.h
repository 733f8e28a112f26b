/* JSON faster than jansson: a writer of the same text, and memory.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_JSON_SIM_H
#define SIM_JSON_SIM_H

/* Call it first, once. */
void sim_json_begin (void);

/* Nothing may be left of what JSON used. */
void sim_json_end_seed (void);

#endif /* SIM_JSON_SIM_H */
