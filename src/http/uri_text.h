/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* uri_text: percent-encoding. The functions plugins use are declared in http/req.h; here is what
 * they are made of. */
#include "base/arena.h"

/* The value of a hexadecimal digit, -1 for another byte. */
int hex_digit(char c);
