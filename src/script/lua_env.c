/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lua_env: what a function may use. A list of what is allowed, not of what is not: a library that
 * grows does not grow into here.
 *
 * Left out, besides what reaches files, processes, memory and other code: coroutines (a function
 * answers at once), xpcall (its handler runs where the hook does not), string.dump, and what
 * changes environments or collects garbage.
 */
#include "script/lua_box.h"

#include "base/assert.h"
#include "base/hash.h"

#include <lauxlib.h>
#include <lualib.h>

/*
 * How deep on the C stack functions may be that call back into Lua: string.gsub() takes 9 KB for
 * each level, and a fiber has 64.
 */
#define CALLBACK_DEPTH 12288

/* Key of the registry: the metatable of all environments. */
static const char globals_key;

static const struct library {
    const char *name;    /* NULL: the base library */
    const char *allowed; /* names, each followed by a blank; a star before it: calls back */
} libraries[] = {
    {NULL, "assert error getmetatable ipairs next pairs pcall rawequal rawget select setmetatable "
           "tonumber *tostring type unpack "},
    {"string", "byte char find *format gmatch *gsub len lower match rep reverse sub upper "},
    {"table", "concat insert maxn move remove *sort "},
    {"math", "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 "
             "max min modf pi pow rad random sin sinh sqrt tan tanh "},
    {"bit", "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex "},
    {"os", "clock date time "},
};

/* Calls the function that is its upvalue, where the C stack has room for what that may call. */
static int call_back(lua_State *L)
{
    const char *here = __builtin_frame_address(0);
    const int n = lua_gettop(L);

    if (lua_running != NULL && lua_running->stack - here > CALLBACK_DEPTH) {
        return luaL_error(L, "C stack overflow");
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    return lua_gettop(L);
}

static int refuse_write(lua_State *L)
{
    return luaL_error(L, "libraries cannot be changed");
}

/* Replace the table on top by one that reads through to it and cannot be changed. */
static void make_readonly(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_write);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

/* Copy the allowed members of the table at `from` to that at `to`. */
static void copy_allowed(lua_State *L, int from, int to, const char *allowed)
{
    struct str rest = str_c(allowed), name;

    while (str_split(&rest, ' ', &name) && name.n > 0) {
        const bool calls = name.p[0] == '*';
        name = str_skip(name, calls);
        lua_pushlstring(L, name.p, name.n);
        lua_pushvalue(L, -1);
        lua_gettable(L, from);
        ASSERT(!lua_isnil(L, -1));
        if (calls) {
            lua_pushcclosure(L, call_back, 1);
        }
        lua_settable(L, to);
    }
}

/* ("x"):upper() goes through the metatable of strings. The library's copy is on top. */
static void set_string_methods(lua_State *L)
{
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

static void open_libraries(lua_State *L)
{
    static const lua_CFunction openers[] = {luaopen_base, luaopen_string, luaopen_table,
                                            luaopen_math, luaopen_bit,    luaopen_os};

    for (size_t i = 0; i < LENGTH_OF(openers); i++) {
        lua_pushcfunction(L, openers[i]);
        lua_call(L, 0, 0);
    }
    /* Each thread and start its own sequence, as the reference's workers have. */
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushnumber(L, (double)(random_u64() >> 11));
    lua_call(L, 1, 0);
    lua_settop(L, 0);
}

void lua_env_open(lua_State *L)
{
    open_libraries(L);
    lua_newtable(L); /* 1: what functions see */
    for (size_t i = 0; i < LENGTH_OF(libraries); i++) {
        const struct library *lib = &libraries[i];
        if (lib->name == NULL) {
            copy_allowed(L, LUA_GLOBALSINDEX, 1, lib->allowed);
            continue;
        }
        lua_getglobal(L, lib->name);
        lua_newtable(L);
        copy_allowed(L, 2, 3, lib->allowed);
        make_readonly(L);
        if (i == 1) {
            set_string_methods(L);
        }
        lua_setfield(L, 1, lib->name);
        lua_settop(L, 1);
    }
    lua_pushliteral(L, "Lua 5.1");
    lua_setfield(L, 1, "_VERSION");

    lua_createtable(L, 0, 2); /* the metatable of all environments */
    lua_insert(L, 1);
    lua_setfield(L, 1, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, 1, "__metatable");
    lua_pushlightuserdata(L, (void *)(uintptr_t)&globals_key);
    lua_insert(L, 1);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void lua_env_push(lua_State *L)
{
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "_G");
    lua_pushlightuserdata(L, (void *)(uintptr_t)&globals_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
}
