/* SPDX-License-Identifier: Apache-2.0 */
/* lua_vars: the `vars` that functions get: the variables of a request by name. */
#include "script/lua_box.h"

#include <lauxlib.h>

enum {
    NAME_MAX_BYTES = 1024, /* longer ones are missing */
    NAMES_MAX = 512,       /* names a box keeps compiled; a function may also put names together */
    NEST_MAX = 4,          /* lists in lists */
    SCRATCH_BYTES = 256,
};

/* Key of the registry: the metatable. */
static const char meta_key;

/* The compiled name; valid until the next one of this run. */
static struct var var_of(struct lua_run *r, struct str name)
{
    struct lua_box *b = r->box;
    struct var *v = map_get(&b->names, name);

    if (v != NULL) {
        return *v;
    }
    if (b->names.n < NAMES_MAX) {
        v = ARENA_NEW(b->arena, struct var);
        *v = var_compile(b->arena, name);
        map_put(&b->names, name, v);
        return *v;
    }
    if (r->scratch == NULL) {
        r->scratch = arena_new(SCRATCH_BYTES);
    }
    arena_reset(r->scratch);
    return var_compile(r->scratch, name);
}

static void push_value(lua_State *L, const struct value *v, int depth)
{
    switch (v->kind) {
    case VALUE_NONE:
        lua_pushnil(L);
        return;
    case VALUE_STR:
        lua_pushlstring(L, v->s.p, v->s.n);
        return;
    case VALUE_NUM:
        lua_pushnumber(L, v->num);
        return;
    case VALUE_BOOL:
        lua_pushboolean(L, v->num != 0);
        return;
    case VALUE_LIST:
        break;
    }
    lua_newtable(L);
    for (size_t i = 0; i < v->n && depth < NEST_MAX; i++) {
        push_value(L, &v->list[i], depth + 1);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/*
 * vars[name]. Reading may park this fiber (a variable in the body), and others then run in the same
 * box. Their time is not this run's.
 */
static int vars_index(lua_State *L)
{
    struct lua_run *r = *(struct lua_run **)lua_touserdata(L, 1);

    if (r != lua_running) {
        return luaL_error(L, "these variables are of another request");
    }
    if (lua_type(L, 2) != LUA_TSTRING || lua_objlen(L, 2) > NAME_MAX_BYTES) {
        lua_pushnil(L);
        return 1;
    }
    struct str name = {.p = lua_tostring(L, 2), .n = lua_objlen(L, 2)};
    const struct var var = var_of(r, name);
    const int64_t left = r->cpu_start != 0 ? lua_cpu_us() : 0;

    lua_running = NULL;
    const struct value v = var_get(r->subject, &var);
    lua_running = r;
    if (r->cpu_start != 0) {
        r->cpu_start += lua_cpu_us() - left;
    }
    push_value(L, &v, 0);
    return 1;
}

void lua_vars_meta(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)&meta_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (!lua_isnil(L, -1)) {
        return;
    }
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, vars_index);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pushlightuserdata(L, (void *)(uintptr_t)&meta_key);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}
