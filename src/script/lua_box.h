/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lua_box: the Lua of a thread. Its state (the box) is made on first use, is bounded in memory and
 * has nothing in it that reaches the machine; a run is one evaluation in it. Inside knowledge of
 * this folder.
 *
 * What runs may park its fiber in a variable (schema/var.h), while other fibers run on in the same
 * box: each run has its own Lua thread and stands on the stack of its fiber, so neither sees the
 * other.
 */
#include "base/map.h"
#include "schema/var.h"

struct lua_State; /* <lua.h> */

enum {
    LUA_MEMORY_MAX = 32 << 20, /* bytes of a box */
    LUA_CHURN_MAX = 256 << 20, /* bytes one run may allocate, garbage included */
    LUA_CPU_MAX_US = 50000,    /* processor time of one run */
};

struct lua_run;

/* A compiled function that the box keeps: the serial of a lua_fn and its place in the registry. */
struct lua_cell {
    uint64_t serial; /* 0: free */
    int ref;
    unsigned used; /* box.clock when it was used last */
};
enum { LUA_WAYS = 4, LUA_SETS = 256 };

struct lua_box {
    struct lua_State *L;
    /* LuaJIT's own: it knows which addresses it can use. */
    void *(*alloc)(void *arg, void *p, size_t old, size_t size);
    void *alloc_arg;
    size_t used, limit; /* bytes, counted since the libraries are there */
    unsigned running, idle;
    bool retired;         /* goes when its last run ends */
    struct lua_run *runs; /* all */
    struct lua_run *spare;
    struct lua_cell cells[LUA_SETS][LUA_WAYS];
    unsigned clock;
    struct map names; /* struct var by name, in arena */
    struct arena *arena;
};

struct lua_run {
    struct lua_box *box;
    struct lua_State *L; /* its own Lua thread */
    int ref;
    void *subject;
    void (*fn)(struct lua_State *L, void *arg); /* what it does */
    void *arg;
    const char *stack; /* where it stands on the C stack */
    int64_t cpu_start; /* processor time at the first tick of the hook; 0: short so far */
    size_t churn;
    bool cut;              /* has had its time */
    struct arena *scratch; /* of the variable read last whose name is not kept; NULL: none */
    struct lua_run *next_spare;
    struct lua_run *prev, *next;
};

/* The run that this thread is in. */
extern _Thread_local struct lua_run *lua_running;

/* Begin to evaluate for subject. NULL when the system has no memory for it. */
struct lua_run *lua_run_begin(void *subject);
/* Call fn(L, arg) protected, with vars (lua_vars.c) alone on the stack. 0, or a code of lua.h and
 * *why, valid until the end of the run. */
int lua_run_call(struct lua_run *r, void (*fn)(struct lua_State *L, void *arg), void *arg,
                 const char **why);
/* rc: what came of it. */
void lua_run_end(struct lua_run *r, int rc);

/* Microseconds of processor time of this thread. */
int64_t lua_cpu_us(void);

/* ---- lua_env.c ---- */
/* Fill the new state. May throw. */
void lua_env_open(struct lua_State *L);
/* Push an environment of its own for one function: what it sets is its own, what it reads and did
 * not set are the libraries. May throw. */
void lua_env_push(struct lua_State *L);

/* ---- lua_vars.c ---- */
/* Push the metatable of vars, a userdata that holds a struct lua_run pointer. May throw. */
void lua_vars_meta(struct lua_State *L);
