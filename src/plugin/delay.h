/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* delay: holding a request back on purpose. */
#include "http/req.h"

/* The longest there is: ten years stand for ever. */
#define DELAY_MAX_US (INT64_C(315360000) * 1000000)

/* Park r's fiber for us microseconds (a millisecond is the least). DONE when the client went away
 * meanwhile: there is nobody to answer. */
enum verdict req_await_delay(struct req *r, int64_t us);
/* Seconds of a conf as microseconds, at most DELAY_MAX_US. */
int64_t delay_us_of(double seconds);
