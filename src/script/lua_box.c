/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lua_box: states, their limits, and runs.
 *
 * The compiler to machine code stays off: compiled code does not look at the hook that ends endless
 * loops, and functions that decide about a request are short.
 */
#include "script/lua_box.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"

#include <lauxlib.h>
#include <luajit.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum {
    TICK = 1000,              /* instructions between two looks at the clock */
    RUNS_MAX = 4096,          /* at one time in a box; each has a Lua stack */
    SPARE_MAX = 64,           /* runs kept for the next */
    NAMES_BYTES = 512,        /* block of the arena of names */
    RECOVERY_BYTES = 1 << 20, /* collecting garbage needs a little memory itself */
};

_Thread_local struct lua_run *lua_running;
static _Thread_local struct lua_box *box_now;
static pthread_key_t thread_key; /* its value is box_now, so that it goes with the thread */

int64_t lua_cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- limits ---- */

/*
 * LuaJIT's allocator with a limit. What shrinks is never refused: Lua does not expect it. Garbage
 * counts too while a run makes it, because copying has its price in time and the hook sees
 * instructions only.
 */
static void *bounded_alloc(void *arg, void *p, size_t old, size_t size)
{
    struct lua_box *b = arg;
    struct lua_run *r = lua_running;

    if (size > old) {
        const size_t more = size - old;
        if (b->used + more > b->limit) {
            return NULL;
        }
        if (r != NULL && r->box == b) {
            if (r->churn > LUA_CHURN_MAX) {
                return NULL;
            }
            r->churn += size;
        }
    }
    void *q = b->alloc(b->alloc_arg, p, old, size);
    if (q != NULL || size == 0) {
        /* What was there before this allocator was is not counted. */
        b->used = b->used + size > old ? b->used + size - old : 0;
    }
    return q;
}

/*
 * Every TICK instructions. A function may catch the error (pcall), so once the time is over
 * each instruction of it raises another one.
 */
static void on_tick(lua_State *L, lua_Debug *ar)
{
    struct lua_run *r = lua_running;

    (void)ar;
    if (r == NULL) {
        return;
    }
    const int64_t now = lua_cpu_us();
    if (r->cpu_start == 0) {
        r->cpu_start = now;
    } else if (r->cut || now - r->cpu_start > LUA_CPU_MAX_US) {
        r->cut = true;
        lua_sethook(L, on_tick, LUA_MASKCOUNT, 1);
        luaL_error(L, "runs longer than %d ms", LUA_CPU_MAX_US / 1000);
    }
}

/* ---- boxes ---- */

static int on_panic(lua_State *L)
{
    (void)L;
    ASSERT(!"an error in Lua outside of a protected call");
    return 0;
}

static int open_box(lua_State *L)
{
    lua_env_open(L);
    return 0;
}

static void box_free(struct lua_box *b)
{
    lua_setallocf(b->L, b->alloc, b->alloc_arg); /* lua_close() frees its memory as a whole */
    lua_close(b->L);
    for (struct lua_run *r = b->runs; r != NULL;) {
        struct lua_run *next = r->next;
        arena_free(r->scratch);
        free(r);
        r = next;
    }
    map_fini(&b->names);
    arena_free(b->arena);
    free(b);
}

static void thread_end(void *box)
{
    struct lua_box *b = box;

    if (b->running == 0) {
        box_free(b);
    }
}

static void thread_key_make(void)
{
    const int rc = pthread_key_create(&thread_key, thread_end);
    ASSERT(rc == 0);
}

static void box_set(struct lua_box *b)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, thread_key_make);
    box_now = b;
    pthread_setspecific(thread_key, b);
}

static struct lua_box *box_new(void)
{
    lua_State *L = luaL_newstate();

    if (L == NULL) {
        return NULL;
    }
    struct lua_box *b = mem_alloc(sizeof(*b));
    b->L = L;
    b->arena = arena_new(NAMES_BYTES);
    b->limit = LUA_MEMORY_MAX;
    b->alloc = lua_getallocf(L, &b->alloc_arg);
    lua_atpanic(L, on_panic);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    if (lua_cpcall(L, open_box, NULL) != 0) {
        box_free(b);
        return NULL;
    }
    lua_setallocf(L, bounded_alloc, b);
    lua_sethook(L, on_tick, LUA_MASKCOUNT, TICK);
    return b;
}

/* Leave it to the runs that are in it. */
static void box_retire(struct lua_box *b)
{
    if (box_now == b) {
        box_set(NULL);
    }
    b->retired = true;
    if (b->running == 0) {
        box_free(b);
    }
}

static struct lua_box *box_take(void)
{
    if (box_now != NULL && box_now->running >= RUNS_MAX) {
        box_retire(box_now);
    }
    if (box_now == NULL) {
        box_set(box_new());
    }
    return box_now;
}

/* ---- runs ---- */

/* The function at the bottom of each run's stack; its upvalue is vars. */
static int run_body(lua_State *L)
{
    struct lua_run *r = lua_running;

    lua_pushvalue(L, lua_upvalueindex(1));
    r->fn(L, r->arg);
    return 0;
}

/* The Lua side of a new run. On the box's own Lua thread. */
static int run_open(lua_State *L)
{
    struct lua_run *r = lua_touserdata(L, 1);

    r->L = lua_newthread(L);
    struct lua_run **vars = lua_newuserdata(L, sizeof(struct lua_run *));
    *vars = r;
    lua_vars_meta(L);
    lua_setmetatable(L, -2);
    lua_pushcclosure(L, run_body, 1);
    lua_xmove(L, r->L, 1);
    r->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static struct lua_run *run_new(struct lua_box *b)
{
    struct lua_run *r = mem_alloc(sizeof(*r));

    r->box = b;
    r->ref = LUA_NOREF;
    if (lua_cpcall(b->L, run_open, r) != 0) {
        lua_settop(b->L, 0);
        free(r);
        return NULL;
    }
    r->next = b->runs;
    if (b->runs != NULL) {
        b->runs->prev = r;
    }
    b->runs = r;
    return r;
}

static void run_free(struct lua_run *r)
{
    struct lua_box *b = r->box;

    if (r->prev != NULL) {
        r->prev->next = r->next;
    } else {
        b->runs = r->next;
    }
    if (r->next != NULL) {
        r->next->prev = r->prev;
    }
    luaL_unref(b->L, LUA_REGISTRYINDEX, r->ref);
    arena_free(r->scratch);
    free(r);
}

static struct lua_run *run_take(struct lua_box *b)
{
    struct lua_run *r = b->spare;

    if (r == NULL) {
        return run_new(b);
    }
    b->spare = r->next_spare;
    b->idle--;
    return r;
}

struct lua_run *lua_run_begin(void *subject)
{
    struct lua_box *b = box_take();
    struct lua_run *r = b != NULL ? run_take(b) : NULL;

    if (r == NULL && b != NULL) {
        box_retire(b); /* full */
        b = box_take();
        r = b != NULL ? run_take(b) : NULL;
    }
    if (r == NULL) {
        return NULL;
    }
    b->running++;
    r->subject = subject;
    r->stack = __builtin_frame_address(0);
    r->cpu_start = 0;
    r->churn = 0;
    r->cut = false;
    lua_running = r;
    return r;
}

int lua_run_call(struct lua_run *r, void (*fn)(lua_State *L, void *arg), void *arg,
                 const char **why)
{
    lua_State *L = r->L;

    r->fn = fn;
    r->arg = arg;
    lua_pushvalue(L, 1);
    const int rc = lua_pcall(L, 0, 0, 0);
    if (rc == LUA_ERRMEM) {
        *why = "uses too much memory";
    } else if (rc != 0) {
        /* Another conversion could throw. */
        *why = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is no text";
    }
    return rc;
}

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/*
 * LuaJIT does not collect garbage where an allocation fails: it is done here, before the next run.
 * And a function that keeps what it allocates must not starve the others: they get a new box.
 */
static void box_recover(struct lua_box *b)
{
    b->limit = LUA_MEMORY_MAX + RECOVERY_BYTES;
    const int rc = lua_cpcall(b->L, collect, NULL);
    b->limit = LUA_MEMORY_MAX;
    if (rc != 0 || b->used > LUA_MEMORY_MAX / 2) {
        lua_settop(b->L, 0);
        LOG_RATE(WARN, "Lua functions keep too much memory; their state begins anew");
        box_retire(b);
    }
}

void lua_run_end(struct lua_run *r, int rc)
{
    struct lua_box *b = r->box;

    lua_settop(r->L, 1);
    lua_running = NULL;
    if (r->cut) {
        lua_sethook(b->L, on_tick, LUA_MASKCOUNT, TICK);
    }
    r->subject = NULL;
    if (b->idle < SPARE_MAX) {
        r->next_spare = b->spare;
        b->spare = r;
        b->idle++;
    } else {
        run_free(r);
    }
    b->running--;
    if (b->retired && b->running == 0) {
        box_free(b);
    } else if (!b->retired && (rc == LUA_ERRMEM || b->used > LUA_MEMORY_MAX / 2)) {
        box_recover(b);
    }
}
