/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lua_fn: functions from source to answer.
 *
 * Source is compiled to LuaJIT's byte code once, where the configuration is checked: the compiler
 * recurses as deep as its source nests, and the stack of a request has no room for that. A thread
 * loads the byte code when it first needs the function and keeps what is used.
 */
#include "script/lua_fn.h"

#include "base/buf.h"
#include "base/log.h"
#include "script/lua_box.h"

#include <lauxlib.h>
#include <stdatomic.h>

enum { CODE_MAX = 8 << 20 };

struct lua_fn {
    uint64_t serial; /* unique in this process */
    struct str code;
    const char *property;
    struct str owner;
};

/* ---- from source to code ---- */

struct compile {
    struct str source; /* "return " and the function */
    struct buf code;
    bool is_function;
};

static int add_code(lua_State *L, const void *p, size_t n, void *arg)
{
    struct compile *c = arg;

    (void)L;
    buf_add(&c->code, str_of(p, n));
    return c->code.overflow;
}

/* Leave the value of the code on top: the function. May throw. */
static void evaluate_code(lua_State *L)
{
    lua_env_push(L);
    lua_setfenv(L, -2);
    lua_call(L, 0, 1);
}

/* The source is its own name in messages, as in the reference. */
static void compile(lua_State *L, void *arg)
{
    struct compile *c = arg;

    if (luaL_loadbufferx(L, c->source.p, c->source.n, c->source.p, "t") != 0) {
        lua_error(L);
    }
    if (lua_dump(L, add_code, c) != 0) {
        luaL_error(L, "too long");
    }
    evaluate_code(L);
    c->is_function = lua_isfunction(L, -1);
}

static int compile_checked(struct compile *c, const char *property, struct err *e)
{
    struct lua_run *r = lua_run_begin(NULL);
    const char *why = "no memory for Lua";
    int rc = LUA_ERRMEM;

    if (r != NULL) {
        rc = lua_run_call(r, compile, c, &why);
    }
    if (rc != 0) {
        err_set(e, "failed to load '%s' string: %s", property, why);
    } else if (!c->is_function) {
        err_set(e, "'%s' should be a function", property);
    }
    if (r != NULL) {
        lua_run_end(r, rc);
    }
    return rc == 0 && c->is_function ? 0 : -1;
}

struct lua_fn *lua_fn_new(struct arena *a, const char *property, struct str owner,
                          struct str source, struct err *e)
{
    static _Atomic uint64_t last;
    struct lua_fn *f = NULL;
    struct arena *scratch = arena_new(1024);
    struct compile c = {
        .source = arena_cat(scratch, STR("return "), source),
        .code = BUF_INIT(CODE_MAX),
    };

    if (compile_checked(&c, property, e) == 0) {
        f = ARENA_NEW(a, struct lua_fn);
        f->serial = atomic_fetch_add(&last, 1) + 1;
        f->code = arena_str(a, buf_str(&c.code));
        f->property = property;
        f->owner = arena_str(a, owner);
    }
    buf_fini(&c.code);
    arena_free(scratch);
    return f;
}

/* ---- the functions a thread keeps ---- */

/* The cell of a function, or the one of its set that was not used for longest. */
static struct lua_cell *cell_of(struct lua_box *b, uint64_t serial)
{
    struct lua_cell *set = b->cells[serial % LUA_SETS], *oldest = set;

    b->clock++;
    for (int i = 0; i < LUA_WAYS; i++) {
        if (set[i].serial == serial) {
            set[i].used = b->clock;
            return &set[i];
        }
        if (b->clock - set[i].used > b->clock - oldest->used) {
            oldest = &set[i];
        }
    }
    return oldest;
}

/* Push the function. May throw. */
static void push_function(lua_State *L, struct lua_box *b, const struct lua_fn *f)
{
    struct lua_cell *cell = cell_of(b, f->serial);

    if (cell->serial == f->serial) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, cell->ref);
        return;
    }
    if (luaL_loadbufferx(L, f->code.p, f->code.n, f->property, "b") != 0) {
        lua_error(L);
    }
    evaluate_code(L);
    if (!lua_isfunction(L, -1)) {
        luaL_error(L, "'%s' should be a function", f->property);
    }
    if (cell->serial != 0) {
        luaL_unref(L, LUA_REGISTRYINDEX, cell->ref);
        cell->serial = 0;
    }
    lua_pushvalue(L, -1);
    cell->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    cell->used = b->clock;
    cell->serial = f->serial;
}

/* ---- evaluating ---- */

struct evaluation {
    const struct lua_fn *fn;
    bool answer;
};

static void evaluate(lua_State *L, void *arg)
{
    struct evaluation *v = arg;

    push_function(L, lua_running->box, v->fn);
    lua_insert(L, 1); /* before vars */
    lua_call(L, 1, 1);
    v->answer = lua_toboolean(L, -1);
}

bool lua_fn_eval(const struct lua_fn *f, void *subject)
{
    struct evaluation v = {.fn = f};
    struct lua_run *r = lua_run_begin(subject);
    const char *why = "no memory for Lua";
    int rc = LUA_ERRMEM;

    if (r != NULL) {
        rc = lua_run_call(r, evaluate, &v, &why);
    }
    if (rc != 0) {
        LOG_RATE(ERROR, "%s of %.*s is taken as false: %s", f->property, STR_ARG(f->owner), why);
    }
    if (r != NULL) {
        lua_run_end(r, rc);
    }
    return rc == 0 && v.answer;
}
