/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lua_fn: a condition written as a Lua function, `function(vars) ... end`, as in `filter_func`.
 *
 * Immutable once made, in its arena; any thread may evaluate. Each thread that does has a Lua state
 * of its own, made on first use and freed when the thread ends. A function has the language, the
 * libraries string, table, math and bit, and os.time, os.date and os.clock; 32 MB of memory with
 * all others of its thread; and 50 ms of processor time. See docs/internals/script.md.
 */
#include "base/arena.h"
#include "base/err.h"

struct lua_fn;
/*
 * Compile. property and owner are for messages ("filter_func", "route 1"). NULL with e set to the
 * reference's words: `failed to load 'filter_func' string: LUAERR` or `'filter_func' should be a
 * function`. The compiler is deep: not on the stack of a request's fiber.
 */
struct lua_fn *lua_fn_new(struct arena *a, const char *property, struct str owner,
                          struct str source, struct err *e);
/*
 * fn(vars), where vars reads the $variables of subject (schema/var.h) by name: anything but nil and
 * false is true. An error is false and goes to the error log. Parks when a variable does.
 */
bool lua_fn_eval(const struct lua_fn *f, void *subject);
